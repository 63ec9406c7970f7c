//! Process settings: protects the keys in memory, survives terminating signals, takes inherited descriptors, gives way.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, fcntl_get_seals, memfd_create};
use rustix::io::fcntl_getfd;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Forbids core dumps and attaching by processes of the same user (promises H2).
///
/// `PR_SET_DUMPABLE` 0 also restricts `/proc/PID/mem` and `ptrace` to root; the core limit of 0 is a second safeguard,
/// in case something sets the process dumpable again. Both the soft and the hard limit are lowered, so only
/// `CAP_SYS_RESOURCE` can undo it. The dumpable flag survives `fork` but not `exec`.
///
/// # Errors
///
/// The kernel's error of either call; if the second fails, the first stays in force.
pub fn forbid_core_dumps() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    Ok(())
}

/// Raises the soft limit of open files to the hard one: a descriptor per queue and socket of each device adds up, and
/// the usual soft limit of 1,024 is for `select`. Returns the limit in force, `None` for unlimited.
///
/// # Errors
///
/// The kernel's error; the old limit stays.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    Ok(limit.maximum)
}

/// The limit on open files; `None` if there is no limit.
#[must_use]
pub fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The limits on threads and processes, as a unit and a control group have them.
pub const TASK_LIMITS: &str = "TasksMax=, LimitNPROC=, pids.max";

/// Names the limits if one of them keeps a thread or process from starting, or a file from being opened: the kernel itself
/// only says "Resource temporarily unavailable".
#[must_use]
pub fn named_limit(error: io::Error) -> io::Error {
    let text = match error.raw_os_error() {
        Some(libc::EAGAIN) => {
            format!("the thread limit ({TASK_LIMITS}) is reached, or memory is short (LimitAS=)")
        }
        Some(libc::EMFILE) => {
            "the limit on open files (LimitNOFILE=, ulimit -n) is reached".to_owned()
        }
        _ => return error,
    };
    io::Error::new(error.kind(), text)
}

/// Ignores the signals with which users and terminals end or stop a program. For an engine beside an OpenVPN: OpenVPN
/// decides when to end, and needs the engine until then (for example to say goodbye to its peers).
pub fn ignore_termination() {
    let ends = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
    // A process in the background that writes to a terminal with `tostop` is stopped, unless it ignores SIGTTOU.
    let stops = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    for signal in ends.into_iter().chain(stops) {
        // SAFETY: `SIG_IGN` runs no code of ours; this process has no other handlers for these signals.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Ignores SIGXFSZ, which ends a program that writes beyond its limit on the size of files (`LimitFSIZE=`, `ulimit -f`): the
/// write fails, as on a full disk. Children inherit it.
pub fn ignore_file_size_limit() {
    // SAFETY: `SIG_IGN` runs no code of ours; this process has no other handler for this signal.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Closes all descriptors but the standard ones (0 to 2) and `kept`. Call it before this process opens anything: all
/// its descriptors are then inherited.
pub fn close_inherited(kept: Option<i32>) {
    let kept = kept.and_then(|kept| u32::try_from(kept).ok());
    let parts = match kept.filter(|kept| *kept > 2) {
        Some(kept) => [(3, kept - 1), (kept + 1, u32::MAX)],
        None => [(3, u32::MAX), (1, 0)],
    };
    for (first, last) in parts.into_iter().filter(|(first, last)| first <= last) {
        // SAFETY: by the rule above, nothing in this process owns one of these.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        if closed < 0 {
            close_listed(first, last);
        }
    }
}

/// The same for kernels without `close_range`, using the list in `/proc`.
fn close_listed(first: u32, last: u32) {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open {
        if u32::try_from(fd).is_ok_and(|fd| (first..=last).contains(&fd)) {
            // SAFETY: as in `close_inherited`; the list's own descriptor is closed already.
            unsafe { libc::close(fd) };
        }
    }
}

/// Ignores SIGHUP: the terminal that the daemon was started from may close.
pub fn ignore_hangup() {
    // SAFETY: `SIG_IGN` runs no code of ours; this process has no other handler for this signal.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}

/// Takes a descriptor that this process inherited by number. Call it once per number, before this process opens
/// anything else.
///
/// # Errors
///
/// `EBADF` if no such descriptor is open; the standard ones (0 to 2) cannot be taken either.
pub fn inherited_fd(number: i32) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: only borrowed to test whether it is open, which is harmless for any number.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(borrowed)?;
    // SAFETY: it is open, and by the rule above nothing else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// An empty file in memory, close-on-exec; `name` shows in `/proc`.
///
/// # Errors
///
/// The kernel's error.
pub fn memory_file(name: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC)?))
}

/// Whether this is a file in memory, as [`memory_file`] makes it: writing to it never waits.
#[must_use]
pub fn is_memory_file(file: impl AsFd) -> bool {
    // Only files in memory have seals.
    fcntl_get_seals(file).is_ok()
}

/// Makes the calling thread, and those that it starts, give way to every other one that wants a processor (`SCHED_IDLE`).
///
/// Unlike with the lowest nice value, a thread that wakes up runs at once.
///
/// # Errors
/// `EPERM` where a filter of system calls forbids it.
pub fn give_way() -> io::Result<()> {
    // The only field, a priority: this policy has only one.
    let parameters: libc::c_int = 0;
    // SAFETY: 0 is the calling thread, and `parameters` is `struct sched_param` and outlives the call. musl's function
    // refuses.
    let set = unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_IDLE,
            &raw const parameters,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus};

    use rustix::process::setrlimit;

    use super::*;
    use crate::namespace::{enter, skip};

    /// What the child of [`a_locked_process_leaves_no_core`] does before it dies.
    const MARK: &str = "UDCO_CORE_DUMPS";

    /// Ends the process as a bug would.
    fn die(how: &str) -> ExitStatus {
        let name = "process::tests::a_locked_process_leaves_no_core";
        let directory =
            std::env::temp_dir().join(format!("udco-core-{}-{how}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name]).env(MARK, how);
        let ended = command.current_dir(&directory).output().unwrap().status;
        let _ = std::fs::remove_dir_all(&directory);
        ended
    }

    #[test]
    fn a_thread_that_gives_way_is_idle_and_leaves_the_others_alone() {
        let policy = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, fields) = stat.rsplit_once(") ").unwrap();
            fields.split(' ').nth(38).unwrap().to_owned()
        };
        let before = policy();
        let after = std::thread::spawn(move || {
            give_way().unwrap();
            policy()
        });
        assert_eq!(after.join().unwrap(), libc::SCHED_IDLE.to_string());
        assert_eq!(policy(), before);
    }

    #[test]
    fn a_locked_process_leaves_no_core() {
        if let Some(how) = std::env::var_os(MARK) {
            let largest = getrlimit(Resource::Core).maximum;
            let limit = Rlimit {
                current: largest,
                maximum: largest,
            };
            setrlimit(Resource::Core, limit).unwrap();
            if how == "locked" {
                forbid_core_dumps().unwrap();
                forbid_core_dumps().unwrap();
            }
            std::process::abort();
        }
        if !die("open").core_dumped() {
            return skip("no process leaves a core here");
        }
        let locked = die("locked");
        assert!(
            locked.signal().is_some() && !locked.core_dumped(),
            "{locked}"
        );
    }

    #[test]
    fn open_files_are_raised_to_the_limit() {
        // In a process of its own, as the limit applies to the whole process.
        if !enter("process::tests::open_files_are_raised_to_the_limit") {
            return;
        }
        let hard = getrlimit(Resource::Nofile).maximum;
        let low = Rlimit {
            current: Some(64),
            maximum: hard,
        };
        setrlimit(Resource::Nofile, low).unwrap();
        raise_open_files().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }
}
