//! The clock for keepalives and expiry, which never steps and counts suspend; and the processor time of a thread.
//!
//! `CLOCK_BOOTTIME`, so that peers that expired during a suspend are reported at once (promises J6); changes of the
//! wall clock have no effect here.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::os::unix::thread::JoinHandleExt;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since boot, suspend included. Wraps after 584 years.
#[must_use]
pub fn nanoseconds() -> u64 {
    let now = now();
    unsigned(now.tv_sec)
        .saturating_mul(1_000_000_000)
        .saturating_add(unsigned(now.tv_nsec))
}

/// Milliseconds since boot, suspend included.
#[must_use]
pub fn milliseconds() -> u64 {
    let now = now();
    unsigned(now.tv_sec)
        .saturating_mul(1_000)
        .saturating_add(unsigned(now.tv_nsec) / 1_000_000)
}

/// The processor time that a thread has used; `None` if it has ended.
#[must_use]
pub fn spent_by<T>(thread: &JoinHandle<T>) -> Option<Duration> {
    let mut clock = 0;
    // With musl the type is a pointer, but the standard library returns a number.
    #[allow(clippy::unnecessary_cast, trivial_numeric_casts)]
    let id = thread.as_pthread_t() as libc::pthread_t;
    // SAFETY: the thread was neither joined nor detached, since its handle exists; `clock` is live and exclusive.
    if unsafe { libc::pthread_getcpuclockid(id, &raw mut clock) } != 0 {
        return None;
    }
    let mut spent = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: `spent` is live and exclusive; a clock of a thread that has ended is an error.
    if unsafe { libc::clock_gettime(clock, spent.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the kernel has written it.
    let spent = unsafe { spent.assume_init() };
    let seconds = u64::try_from(spent.tv_sec).ok()?;
    let nanoseconds = u32::try_from(spent.tv_nsec).ok()?;
    Some(Duration::new(seconds, nanoseconds))
}

/// The processor time that the calling thread has used, in nanoseconds.
#[must_use]
pub fn spent_by_this_thread() -> u64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    unsigned(spent.tv_sec)
        .saturating_mul(1_000_000_000)
        .saturating_add(unsigned(spent.tv_nsec))
}

fn now() -> Timespec {
    clock_gettime(ClockId::Boottime)
}

/// The kernel's boot clock is never negative; zero is harmless if a sandbox reports a wrong one.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_units_tell_the_same_time_and_go_forward() {
        let before = nanoseconds();
        let middle = milliseconds();
        let after = nanoseconds();
        assert!(before <= after);
        assert!(before / 1_000_000 <= middle && middle <= after / 1_000_000);
        // Not the wall clock: `/proc/uptime` reports hundredths of a second since boot.
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let own = nanoseconds() as f64 / 1e9;
        assert!((uptime - 0.01..uptime + 60.0).contains(&own), "{own}");
    }

    #[test]
    fn a_busy_threads_time_advances() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            begun.send(()).unwrap();
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {}
        });
        has_begun.recv().unwrap();
        let first = spent_by(&thread).unwrap();
        while spent_by(&thread).unwrap() < first + Duration::from_millis(5) {
            std::thread::yield_now();
        }
        drop(stop);
        thread.join().unwrap();
    }

    /// In a time namespace where only the boot clock is ahead.
    #[test]
    fn the_time_that_a_machine_sleeps_counts() {
        const AHEAD: u64 = 1_000_000;
        const MARK: &str = "UDCO_CLOCK_AHEAD";
        if std::env::var_os(MARK).is_some() {
            let awake = clock_gettime(ClockId::Monotonic);
            assert!(milliseconds() / 1000 >= unsigned(awake.tv_sec) + AHEAD);
            return;
        }
        let ahead = AHEAD.to_string();
        let unshare = |words: &[&std::ffi::OsStr]| {
            let mut command = std::process::Command::new("unshare");
            command.args(["--user", "--map-root-user", "--time", "--boottime", &ahead]);
            command.args(words).env(MARK, "").output()
        };
        if !unshare(&["true".as_ref()]).is_ok_and(|output| output.status.success()) {
            // Bypasses libtest's capture.
            let why = "no time namespace here";
            let _ =
                std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("SKIPPED: {why}\n"));
            return;
        }
        let this = std::env::current_exe().unwrap();
        let name = "clock::tests::the_time_that_a_machine_sleeps_counts";
        let output = unshare(&[this.as_ref(), "--exact".as_ref(), name.as_ref()]).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    }
}
