//! An allocator that counts the workers' allocations, and prints where they are.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{CWD, Mode, OFlags, openat};

/// The prefix of the engine's worker threads.
const WORKER: &[u8] = b"udco-worker-";

/// How many allocations to print with their backtraces.
const PRINTED: usize = 5;

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static IS_PRINTING: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is a worker, once known.
    static IS_WORKER: Cell<Option<bool>> = const { Cell::new(None) };
    /// Set while the counter runs: its own allocations are not counted.
    static IS_BUSY: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, with a count for all workers.
pub(crate) struct Counting;

// SAFETY: everything is left to the system's allocator; counting does not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_COUNTING.load(Ordering::Relaxed) && !IS_BUSY.get() {
            IS_BUSY.set(true);
            count(layout);
            IS_BUSY.set(false);
        }
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// A running count.
pub(crate) struct Counted;

impl Counted {
    /// Counts expected allocations, without printing them.
    pub(crate) fn silent() -> Self {
        IS_PRINTING.store(false, Ordering::SeqCst);
        COUNT.store(0, Ordering::SeqCst);
        IS_COUNTING.store(true, Ordering::SeqCst);
        Self
    }

    /// Counts, and prints where the first allocations are.
    pub(crate) fn start() -> Self {
        let counted = Self::silent();
        IS_PRINTING.store(true, Ordering::SeqCst);
        counted
    }

    /// How many allocations there were.
    pub(crate) fn stop(self) -> usize {
        IS_COUNTING.store(false, Ordering::SeqCst);
        COUNT.load(Ordering::SeqCst)
    }
}

fn count(layout: Layout) {
    let is_worker = IS_WORKER.get().unwrap_or_else(|| {
        let found = has_name_of_worker();
        IS_WORKER.set(Some(found));
        found
    });
    if !is_worker {
        return;
    }
    let before = COUNT.fetch_add(1, Ordering::SeqCst);
    if before < PRINTED && IS_PRINTING.load(Ordering::SeqCst) {
        let place = Backtrace::force_capture();
        eprintln!("a worker allocates {} bytes\n{place}", layout.size());
    }
}

/// By the kernel's name of this thread: the standard library's may be under construction.
fn has_name_of_worker() -> bool {
    let path = c"/proc/thread-self/comm";
    let Ok(file) = openat(CWD, path, OFlags::RDONLY, Mode::empty()) else {
        return false;
    };
    let mut name = [0; 16];
    rustix::io::read(&file, &mut name).is_ok() && name.starts_with(WORKER)
}
