//! What a process does for itself: protect the keys in its memory, outlive the program's signals, take what it inherits.
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
/// `PR_SET_DUMPABLE` 0 also makes `/proc/PID/mem` and `ptrace` root's alone; the core limit of 0 is a
/// second lock for the case that something sets the process dumpable again.  Soft and hard limit are
/// lowered, so it cannot be undone without `CAP_SYS_RESOURCE`.  Inherited over `fork`, the
/// dumpable flag is lost over `exec`.
///
/// # Errors
///
/// The kernel's error of either call; the first is then in force all the same.
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

/// Raises the soft limit of open files to the hard one: a descriptor per queue and socket of each
/// device adds up, and the usual soft limit of 1,024 is for `select`.  Answers the limit in force,
/// `None` for unlimited.
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

/// How many files this process may have open; `None` for any number.
#[must_use]
pub fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Ignores the signals that end a program or its terminal session.  For an engine beside a program: the
/// program decides about its end, and until then the engine is needed (to say goodbye to the peers, say).
pub fn ignore_termination() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: `SIG_IGN` runs no code of ours; nobody else in this process handles these signals.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Closes all descriptors but the standard ones (0 to 2) and `kept`.  Call it before anything is opened: whatever this
/// process has was somebody else's.
pub fn close_inherited(kept: Option<i32>) {
    let kept = kept.and_then(|kept| u32::try_from(kept).ok());
    let parts = match kept.filter(|kept| *kept > 2) {
        Some(kept) => [(3, kept - 1), (kept + 1, u32::MAX)],
        None => [(3, u32::MAX), (1, 0)],
    };
    for (first, last) in parts.into_iter().filter(|(first, last)| first <= last) {
        // SAFETY: by the rule above nobody in this process has one of these.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        if closed < 0 {
            close_listed(first, last);
        }
    }
}

/// The same for kernels without `close_range`, as far as `/proc` tells.
fn close_listed(first: u32, last: u32) {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open {
        if u32::try_from(fd).is_ok_and(|fd| (first..=last).contains(&fd)) {
            // SAFETY: as there; the one of the list itself is closed already.
            unsafe { libc::close(fd) };
        }
    }
}

/// Ignores SIGHUP: the end of the terminal that a daemon was started from.
pub fn ignore_hangup() {
    // SAFETY: `SIG_IGN` runs no code of ours; nobody else in this process handles this signal.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}

/// Takes a descriptor that this process inherited by number.  Call it once for a number, before anything else is
/// opened.
///
/// # Errors
///
/// `EBADF` when there is none with this number; the standard ones (0 to 2) cannot be taken either.
pub fn inherited_fd(number: i32) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: only borrowed to ask whether it is open, which is harmless for any number.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(borrowed)?;
    // SAFETY: it is open, and by the rule above nobody else in this process has it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// An empty file in memory, close-on-exec; `name` is for people who look at `/proc`.
///
/// # Errors
///
/// The kernel's error.
pub fn memory_file(name: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC)?))
}

/// Whether a file is one in memory, as [`memory_file`] makes it: writing to it never waits for anybody.
#[must_use]
pub fn is_memory_file(file: impl AsFd) -> bool {
    // Only files in memory have seals.
    fcntl_get_seals(file).is_ok()
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

    /// How a process ends that dies of a bug.
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
        // In a process of its own, as the limit is that of all.
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
