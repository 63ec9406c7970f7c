//! Lines for the user, written so that nobody who fails to read them delays or ends the program (faults B1).
//!
//! A line that cannot be written at once is lost and counted, as an engine does with its own. As soon as there is room
//! again, a line says how many were lost: before the library's next line, or, in the same file, before one that the program
//! formats. Without a standard error there are no lines, and none to count.
//!
//! The counters are atomic, and nothing here requests memory unless the program logs to syslog(3).

use crate::clock::Instant;
use crate::text::Text;
use crate::{calls, files, output, real};
use alloc::ffi::CString;
use core::ffi::c_long;
use core::fmt::Write;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use libc::{c_int, c_void, iovec, sigset_t};

const STANDARD_ERROR: c_int = 2;

/// The longest piece that is written at once: a pipe takes it as a whole, or not at all.
const LONGEST: usize = 4096;

/// Lines lost since this was last reported.
static LOST: AtomicU32 = AtomicU32::new(0);

/// The process that lost them: a forked child inherits the number, but its parent reports them.
static LOSER: AtomicU32 = AtomicU32::new(0);

/// The file that did not take the last of them.
static LOST_IN: File = File::none();

/// The file in which a line ends in the middle.
static CUT_OFF: File = File::none();

/// A file that was standard error, or none: the numbers of its file system and of it, as far as they fit.
struct File([AtomicUsize; 2]);

impl File {
    const fn none() -> Self {
        Self([AtomicUsize::new(0), AtomicUsize::new(0)])
    }

    /// Remembers the one that is standard error now.
    fn remember(&self) {
        self.set(Self::now());
    }

    fn forget(&self) {
        self.set([0, 0]);
    }

    /// Whether it still is standard error.
    fn is_still(&self) -> bool {
        let known = self.0.each_ref().map(|it| it.load(Ordering::Relaxed));
        known != [0, 0] && known == Self::now()
    }

    fn set(&self, numbers: [usize; 2]) {
        for (known, number) in self.0.iter().zip(numbers) {
            known.store(number, Ordering::Relaxed);
        }
    }

    fn now() -> [usize; 2] {
        let (device, inode) = files::identity(STANDARD_ERROR).unwrap_or_default();
        [device as usize, inode as usize]
    }
}

/// Writes the line about lost lines, if there are any, by this function, which returns whether it could. `false` if
/// there are still some to report.
pub(crate) fn report(write: impl FnOnce(&str) -> bool) -> bool {
    let lost = if has_lost() {
        LOST.swap(0, Ordering::Relaxed)
    } else {
        0
    };
    if lost == 0 {
        return true;
    }
    let (lines, them) = if lost == 1 {
        ("line", "it")
    } else {
        ("lines", "them")
    };
    let mut text = Text::<80>::new();
    let _ = writeln!(
        text,
        "udco: {lost} {lines} lost: nobody read {them}, or the disk was full"
    );
    let written = write(text.written());
    if !written {
        count(lost);
    }
    written
}

/// Tries again to report lost lines, at most once a second: the program formats a text, which may be a line of its log. If
/// standard error was closed, the number may be a file's that is no log.
pub(crate) fn catch_up() {
    static LAST: AtomicU32 = AtomicU32::new(0);
    if LOST.load(Ordering::Relaxed) > 0 {
        let now = Instant::now().seconds();
        let is_same = || output::is_syslogged() || LOST_IN.is_still();
        if LAST.swap(now, Ordering::Relaxed) != now && is_same() {
            report(write);
        }
    }
}

/// Counts lines as lost.
pub(crate) fn count(lines: u32) {
    if !has_lost() {
        LOST.store(0, Ordering::Relaxed);
    }
    adopt();
    LOST_IN.remember();
    LOST.fetch_add(lines, Ordering::Relaxed);
}

/// Makes the lost lines those of this process: its parent, which lost them, ends.
pub(crate) fn adopt() {
    LOSER.store(calls::process(), Ordering::Relaxed);
}

/// Whether it is this process that has lost lines, or a parent that lives no more.
pub(crate) fn has_lost() -> bool {
    let loser = LOSER.load(Ordering::Relaxed);
    loser != 0 && (loser == calls::process() || !calls::is_running(loser))
}

/// Whether there is a place for lines.
pub(crate) fn are_wanted() -> bool {
    output::is_syslogged() || output::has_standard_error()
}

/// Writes a line where the program writes its own, to syslog(3) or standard error; `false` if it is lost. syslog(3) does
/// not say what it loses.
pub(crate) fn write(line: &str) -> bool {
    if output::is_syslogged()
        && let Ok(line) = CString::new(line)
    {
        // SAFETY: both are C strings, and the first asks for one string.
        unsafe { libc::syslog(libc::LOG_WARNING, c"%s".as_ptr(), line.as_ptr()) };
        return true;
    }
    output::has_standard_error() && write_whole(line.as_bytes())
}

/// Writes to standard error, behind the end of a line that lacks one.
fn write_whole(line: &[u8]) -> bool {
    let Ok((kind, _)) = files::kind(STANDARD_ERROR) else {
        return false;
    };
    let _deaf = Deaf::new();
    if CUT_OFF.is_still() {
        if write_some(kind, b"\n") == 0 {
            return false;
        }
        CUT_OFF.forget();
    }
    let written = write_some(kind, line);
    if (1..line.len()).contains(&written) {
        CUT_OFF.remember();
    }
    written == line.len()
}

/// Writes as much as fits without waiting, and returns how much that was.
fn write_some(kind: libc::mode_t, bytes: &[u8]) -> usize {
    // A terminal only promises room for one byte.
    // SAFETY: no pointers.
    let is_terminal = kind == libc::S_IFCHR && unsafe { libc::isatty(STANDARD_ERROR) } == 1;
    let most = if is_terminal { 1 } else { LONGEST };
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        let piece = rest.get(..most).unwrap_or(rest);
        match calls::checked_len(write_once(kind, piece)) {
            Ok(some) if some > 0 => written += some,
            Err(libc::EINTR) => {}
            _ => break,
        }
    }
    written
}

/// One call, which does not wait. Other processes may want the shared open file to block, so its flags stay as they are.
fn write_once(kind: libc::mode_t, piece: &[u8]) -> isize {
    let (at, len) = (piece.as_ptr().cast::<c_void>(), piece.len());
    if kind == libc::S_IFSOCK {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: pointer and length describe the piece.
        return unsafe { real::send(STANDARD_ERROR, at, len, flags) };
    }
    if kind != libc::S_IFREG {
        let part = iovec {
            iov_base: at.cast_mut(),
            iov_len: len,
        };
        let result = write_now(&part);
        let cannot = [
            libc::EOPNOTSUPP,
            libc::ENOSYS,
            libc::EINVAL,
            libc::ESPIPE,
            libc::EPERM,
        ];
        if result >= 0 || !cannot.contains(&calls::errno()) {
            return result as isize;
        }
        let is_ready = calls::wait(STANDARD_ERROR, libc::POLLOUT, Instant::now());
        if is_ready != Ok(true) {
            calls::set_errno(libc::EAGAIN);
            return -1;
        }
    }
    // SAFETY: pointer and length describe the piece.
    unsafe { real::write(STANDARD_ERROR, at, len) }
}

/// `pwritev2` that does not wait, at the file's own position. glibc has it only since 2.26.
fn write_now(part: &iovec) -> c_long {
    // In two halves.
    const NO_OFFSET: c_long = -1;
    let (number, part, flags) = (libc::SYS_pwritev2, &raw const *part, libc::RWF_NOWAIT);
    // SAFETY: the part outlives the call, and describes memory that does.
    unsafe {
        libc::syscall(
            number,
            STANDARD_ERROR,
            part,
            1_usize,
            NO_OFFSET,
            NO_OFFSET,
            flags,
        )
    }
}

/// Until dropped, this thread gets no signal that would end the program for a line: those of a pipe without a reader, and
/// of a file at its limit.
struct Deaf {
    before: sigset_t,
    caused: sigset_t,
}

impl Deaf {
    fn new() -> Self {
        let (mut before, mut pending, mut caused) = (empty(), empty(), empty());
        // SAFETY: the set outlives the call.
        unsafe { libc::sigpending(&raw mut pending) };
        for signal in [libc::SIGPIPE, libc::SIGXFSZ] {
            // SAFETY: the set outlives the call.
            if unsafe { libc::sigismember(&raw const pending, signal) } != 1 {
                // SAFETY: the set outlives the call.
                unsafe { libc::sigaddset(&raw mut caused, signal) };
            }
        }
        // SAFETY: both sets outlive the call. On Linux it concerns this thread alone.
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const caused, &raw mut before) };
        Self { before, caused }
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        let at_once = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: set and time outlive the call, and no description is requested.
        while unsafe { libc::sigtimedwait(&raw const self.caused, null_mut(), &raw const at_once) }
            > 0
        {}
        // SAFETY: the set outlives the call, and the present one is not requested.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.before, null_mut()) };
    }
}

fn empty() -> sigset_t {
    // SAFETY: all zeroes is a valid set. The next call may write only as much of it as the kernel reads.
    let mut set: sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: the set outlives the call.
    unsafe { libc::sigemptyset(&raw mut set) };
    set
}

#[cfg(test)]
mod tests {
    #[test]
    fn lost_lines_are_reported_in_the_words_of_an_engine() {
        const WORDS: &str = "lost: nobody read {them}, or the disk was full\"";
        assert!(include_str!("lines.rs").contains(WORDS));
        assert!(include_str!("../../sys/src/lines.rs").contains(WORDS));
    }
}
