//! Which threads are in a hook.
//!
//! A thread-local flag would do, but stable Rust has none without `std`.

use core::sync::atomic::{AtomicU32, Ordering};

/// The most threads in hooks at once: the calls of any others go to libc.
const MOST: usize = 64;

/// The kernel's ids of the threads; 0 marks a free place. A forked child may inherit the id of a thread that it does not
/// have: the place stays taken, and the kernel does not reuse such an id soon.
static THREADS: [AtomicU32; MOST] = [const { AtomicU32::new(0) }; MOST];

/// Marks this thread as inside until dropped.
pub(crate) struct Inside(&'static AtomicU32);

impl Inside {
    /// `None` if this thread is inside already.
    pub(crate) fn enter() -> Option<Self> {
        let this = this_thread();
        if THREADS.iter().any(|id| id.load(Ordering::Relaxed) == this) {
            return None;
        }
        let free = THREADS.iter().find(|id| {
            id.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        });
        free.map(Self)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

fn this_thread() -> u32 {
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

#[cfg(test)]
mod tests {
    use super::Inside;

    #[test]
    fn a_thread_is_inside_once_and_does_not_concern_others() {
        let inside = Inside::enter();
        assert!(inside.is_some());
        assert!(Inside::enter().is_none());
        let other = std::thread::spawn(|| Inside::enter().is_some());
        assert!(other.join().unwrap());
        drop(inside);
        assert!(Inside::enter().is_some());
    }
}
