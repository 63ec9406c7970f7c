//! How many threads the limits of the system leave room for: `pids.max` of any cgroup above (`TasksMax=`),
//! `RLIMIT_NPROC` (`LimitNPROC=`), `threads-max` (faults B6).
//!
//! They cannot all be read, least of all in a container; so it is tried.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::sync::lock;

/// Room that is left beside the workers: the engine's own threads (routes, keepalives, the socket file, one program that
/// asks), and what OpenVPN's scripts need (a shell and a pipeline).
const ROOM: usize = 8;

/// The stack of a thread that only waits.
const STACK: usize = 64 << 10;

/// A thread that has ended counts for some moments more: so often it is tried again, after so long.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// How many of so many workers there is room for, at least one.
pub(crate) fn affordable(workers: usize) -> usize {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let started: Vec<JoinHandle<()>> = (0..workers + ROOM)
        .map_while(|_| {
            let gate = Arc::clone(&gate);
            let wait = move || {
                let (is_open, opens) = &*gate;
                drop(opens.wait_while(lock(is_open), |is_open| !*is_open));
            };
            Builder::new().stack_size(STACK).spawn(wait).ok()
        })
        .collect();
    let count = started.len();
    *lock(&gate.0) = true;
    gate.1.notify_all();
    for thread in started {
        let _ = thread.join();
    }
    count.saturating_sub(ROOM).clamp(1, workers.max(1))
}

/// Starts a thread, although others have just ended.
///
/// # Errors
/// `WouldBlock` if there are as many as there may be.
pub(crate) fn start<T>(mut start: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut tries = 0;
    loop {
        match start() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            started => return started,
        }
    }
}
