//! How much memory a process may have, and a clear end where it gets none.
//!
//! A limit (`LimitAS=`, `LimitDATA=`) does not slow a process down: allocations fail, and Rust aborts. So what can be refused
//! is refused before it allocates ([`room`]), the rest lives on a reserve ([`keep_reserve`]), and what finds none even there
//! ends with a line that names the limit ([`Allocator`]).
#![allow(unsafe_code)]

mod reserve;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::process::{Resource, getrlimit};
use rustix::thread::gettid;

use self::reserve::{Backed, Region};

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

/// What [`keep_reserve`] keeps: enough to end many peers, and all that are reported in the same moment.
pub const RESERVE: usize = 8 << 20;

/// As much of it may stay in use, for instance in a table that lasts, before new work is refused.
const IN_RESERVE: u32 = 256 << 10;

static MEMORY: Backed<System> = Backed {
    first: System,
    region: Region::new(RESERVE as u32),
};

/// What has been promised to work that allocates it bit by bit.
static PROMISED: AtomicUsize = AtomicUsize::new(0);

/// Memory that was left when this was made, and is promised to no other [`Room`]. Drop it once it has been allocated.
#[derive(Debug)]
#[must_use]
pub struct Room(usize);

/// So many bytes for work to come, if the process may have them: two of the kind that begin at the same time do not both
/// count on the same memory. A little is not counted: for that there is the reserve.
pub fn room(bytes: usize) -> Option<Room> {
    if bytes <= IN_HEAP {
        return is_left(bytes).then_some(Room(0));
    }
    let (order, add) = (Ordering::Relaxed, |it: usize| it.checked_add(bytes));
    let others = PROMISED.fetch_update(order, order, add).ok()?;
    let room = Room(bytes);
    is_left(others + bytes).then_some(room)
}

impl Drop for Room {
    fn drop(&mut self) {
        PROMISED.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// From now on this process keeps [`RESERVE`] bytes of addresses for allocations that fail, if [`Allocator`] is its own. It
/// costs no memory until it is used, and limits that are lowered later do not count it.
///
/// # Errors
/// If there are not that many left.
pub fn keep_reserve() -> io::Result<()> {
    MEMORY.region.map()
}

/// Whether work lives on the reserve.
#[must_use]
pub fn is_on_reserve() -> bool {
    MEMORY.region.has_in_use_more_than(IN_RESERVE)
}

/// Whether the process may have this many bytes more, in one piece, and does not live on its reserve. They are not used, so
/// this costs no memory.
#[must_use]
pub fn is_left(bytes: usize) -> bool {
    if is_on_reserve() {
        return false;
    }
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

/// The limits in force, for a message: "the memory limit of 48 MiB (LimitAS=, ulimit -v)". `None` without one.
#[must_use]
pub fn limit() -> Option<String> {
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
    (!text.is_empty()).then_some(text)
}

/// Says what leaves no room for `what`.
#[must_use]
pub fn no_room_for(what: &str) -> String {
    match limit() {
        Some(limit) => format!("{limit} leaves no room for {what}: raise it"),
        None => format!("the system has no memory left for {what} (vm.overcommit_memory)"),
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

/// The system's allocator for a program, and the reserve: if that is used up, too, the process ends with the words of
/// [`before_the_end`], since the standard library's do not name the limit, and go to a standard error that an engine may
/// have closed.
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

// SAFETY: everything is left to another allocator.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        let memory = unsafe { MEMORY.alloc(layout) };
        if memory.is_null() {
            Self::out();
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { MEMORY.alloc_zeroed(layout) };
        if memory.is_null() {
            Self::out();
        }
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on; `memory` came from the same allocator.
        let memory = unsafe { MEMORY.realloc(memory, layout, size) };
        if memory.is_null() {
            Self::out();
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from the same allocator, with this layout.
        unsafe { MEMORY.dealloc(memory, layout) }
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

    #[test]
    fn the_same_memory_is_not_promised_twice() {
        let half = (1..)
            .map(|it| 1_usize << it)
            .take_while(|it| is_left(*it))
            .last()
            .unwrap();
        let first = room(half).unwrap();
        assert!(room(half).is_none() || is_left(2 * half));
        assert!(room(IN_HEAP).is_some() && room(usize::MAX).is_none());
        drop(first);
        assert!(room(half).is_some());
    }
}
