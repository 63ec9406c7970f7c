//! How many threads the system's limits allow: `pids.max` of any cgroup above (`TasksMax=`), `RLIMIT_NPROC`
//! (`LimitNPROC=`), `threads-max` (faults B6).
//!
//! Not all of these limits are readable, least of all in a container; so the engine probes by starting threads.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use udco_sys::process::{TASK_LIMITS, named_limit};

use crate::sync::lock;

/// Threads left for others: the engine's own (routes, keepalives, the socket file, one client), and for OpenVPN's
/// scripts (a shell and a pipeline).
const ROOM: usize = 8;

/// Threads without which an engine serves nobody: a worker, the routes, the keepalives, and one client.
const NEEDED: usize = 4;

/// What OpenVPN's script needs beside an engine under the same limits: a shell and a program. An OpenVPN whose script cannot
/// start ends; without an engine it would go on.
const OF_SCRIPT: usize = 2;

/// The stack of a thread that only waits.
const STACK: usize = 64 << 10;

/// A thread counts for a few more moments after it has ended, so starting one is retried.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// How many of the `workers` the limits allow, at least one. `beside_openvpn`: its scripts are under the same limits.
///
/// # Errors
/// If they allow too few threads for an engine.
pub(crate) fn affordable(workers: usize, beside_openvpn: bool) -> io::Result<usize> {
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
    let needed = NEEDED + if beside_openvpn { OF_SCRIPT } else { 0 };
    if count < needed {
        return Err(io::Error::other(format!(
            "the thread limit ({TASK_LIMITS}) allows {count} more, but {needed} are needed"
        )));
    }
    Ok(count.saturating_sub(ROOM).clamp(1, workers.max(1)))
}

/// Starts a thread; retries, since threads that have just ended still count.
///
/// # Errors
/// `WouldBlock` if the limit is reached.
pub(crate) fn start<T>(mut start: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut tries = 0;
    loop {
        match start() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            started => return started.map_err(named_limit),
        }
    }
}
