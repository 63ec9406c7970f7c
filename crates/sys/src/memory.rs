//! How much memory a process may have, and a clear end where it gets none.
//!
//! A limit (`LimitAS=`, `LimitDATA=`) does not slow a process down: allocations fail, and Rust aborts. So what can be refused
//! is refused before it allocates ([`is_left`]), and the rest ends with a line that names the limit ([`Allocator`]).
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::process::{Resource, getrlimit};
use rustix::thread::gettid;

/// The stack of a thread that is started without a size, as the standard library has it, with its guard page.
pub const STACK: usize = (2 << 20) + (64 << 10);

/// The limits, as a unit and a shell name them.
const LIMITS: [(Resource, &str); 2] = [
    (Resource::As, "LimitAS=, ulimit -v"),
    (Resource::Data, "LimitDATA=, ulimit -d"),
];

/// Called once memory has run out, before the process aborts.
static LAST_WORDS: OnceLock<fn()> = OnceLock::new();

/// Memory for these words.
static KEPT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
const WORDS: usize = 64 << 10;

/// The thread that found no memory first; 0 if there is memory.
static FIRST: AtomicI32 = AtomicI32::new(0);

/// Long enough for the words of another thread.
const A_MOMENT: Duration = Duration::from_secs(1);

/// Up to this size, an allocation is made of memory that the process has already, if some of that is free.
const IN_HEAP: usize = 120 << 10;

/// Whether the process may have this many bytes more, in one piece. They are not used, so this costs no memory.
#[must_use]
pub fn is_left(bytes: usize) -> bool {
    if bytes > IN_HEAP {
        return may_map(bytes);
    }
    let Ok(layout) = Layout::from_size_align(bytes.max(1), 1) else {
        return false;
    };
    // SAFETY: the layout is not empty. The compiler may not assume that it succeeds.
    let memory = std::hint::black_box(unsafe { System.alloc(layout) });
    if memory.is_null() {
        return false;
    }
    // SAFETY: allocated above, with this layout.
    unsafe { System.dealloc(memory, layout) };
    true
}

fn may_map(bytes: usize) -> bool {
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: the kernel chooses an address at which nothing is mapped.
    let Ok(mapped) = (unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, flags) }) else {
        return false;
    };
    // SAFETY: mapped above, with this length, and nobody else knows the address.
    let _ = unsafe { munmap(mapped, bytes) };
    true
}

/// The limits in force, for a message: "the memory limit of 48 MiB (LimitAS=, ulimit -v)".
#[must_use]
pub fn limit() -> String {
    let mut text = String::new();
    for (resource, names) in LIMITS {
        if let Some(bytes) = getrlimit(resource).current {
            let and = if text.is_empty() {
                "the memory limit"
            } else {
                " and that"
            };
            let _ = write!(text, "{and} of {} MiB ({names})", bytes >> 20);
        }
    }
    match text.is_empty() {
        true => "the system's memory".to_owned(),
        false => text,
    }
}

/// Has the C library keep all threads' memory in one place if it is limited. glibc reserves 64 MiB of addresses for each
/// thread that allocates, which `LimitAS=` counts as if they were used. Call it before a second thread starts.
pub fn spare_addresses() {
    #[cfg(target_env = "gnu")]
    if LIMITS
        .iter()
        .any(|(resource, _)| getrlimit(*resource).current.is_some())
    {
        // SAFETY: sets a number in the allocator; no other thread allocates.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// From now on calls this before the process aborts because there is no memory left, and keeps some for it. Only the first
/// call counts.
pub fn before_the_end(last_words: fn()) {
    if LAST_WORDS.set(last_words).is_ok()
        && let Ok(mut kept) = KEPT.lock()
    {
        kept.reserve(WORDS);
    }
}

/// The system's allocator for a program: a failure ends the process with the words of [`before_the_end`], since the
/// standard library's do not name the limit, and go to a standard error that an engine may have closed.
#[derive(Debug)]
pub struct Allocator;

impl Allocator {
    #[cold]
    fn out() {
        let Some(last_words) = LAST_WORDS.get() else {
            return;
        };
        let this = gettid().as_raw_nonzero().get();
        match FIRST.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => {
                if let Ok(mut kept) = KEPT.try_lock() {
                    drop(std::mem::take(&mut *kept));
                }
                last_words();
                std::process::abort();
            }
            // The words themselves have found no memory.
            Err(first) if first == this => {}
            Err(_) => std::thread::sleep(A_MOMENT),
        }
    }
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() {
            Self::out();
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if memory.is_null() {
            Self::out();
        }
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on; `memory` came from the same allocator.
        let memory = unsafe { System.realloc(memory, layout, size) };
        if memory.is_null() {
            Self::out();
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from the same allocator, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_left_and_no_more() {
        assert!(is_left(0) && is_left(IN_HEAP) && is_left(IN_HEAP + 1));
        assert!(!is_left(usize::MAX >> 2));
    }
}
