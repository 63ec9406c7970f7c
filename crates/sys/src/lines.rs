//! Log lines, written so that a slow or dead reader never delays the writer.
//!
//! Standard error may be a pipe without a reader, a stopped or closed terminal, a file on a full disk, or closed. A
//! line that cannot be written at once is lost and counted; the next line that fits reports how many were lost (faults
//! B1).

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::{Errno, ReadWriteFlags, pwritev2, write};
use rustix::net::{SendFlags, send};

/// The longest line; the rest is cut off. A pipe takes up to this many bytes atomically.
const LONGEST: usize = 4096;

/// The log of this process: standard error until [`Sink::redirect`].
pub fn sink() -> &'static Sink {
    static SINK: Sink = Sink {
        state: Mutex::new(None),
    };
    &SINK
}

/// A log output that never blocks and never fails. It can be redirected while other threads write.
#[derive(Debug)]
pub struct Sink {
    /// `None` before the first line.
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    output: Output,
    /// The unwritten end of a line whose beginning was written.
    rest: Vec<u8>,
    /// Lines lost since the last one written.
    lost: u64,
}

/// An output, and how to write to it without waiting.
#[derive(Debug)]
enum Output {
    /// `MSG_DONTWAIT`: the journal is a socket.
    Socket(Fd),
    /// A file never waits for a reader; or an open file of our own with `O_NONBLOCK`.
    Direct(Fd),
    /// Shared with processes that may want it to block: polled before each piece of this many bytes.
    Asked(Fd, usize),
}

#[derive(Debug)]
enum Fd {
    StandardError,
    Own(OwnedFd),
}

impl Sink {
    /// Opens the output now instead of with the first line: for a process that can open nothing later.
    pub fn open(&self) {
        self.lock().get_or_insert_with(State::of_standard_error);
    }

    /// A sink for a file.
    #[must_use]
    pub fn to(file: OwnedFd) -> Self {
        let sink = Self {
            state: Mutex::new(None),
        };
        sink.redirect(file);
        sink
    }

    /// Writes a line, which should end with a newline, or loses it.
    pub fn write(&self, line: &[u8]) {
        self.write_locked(self.lock(), line);
    }

    /// The same for a panic, which may have interrupted another line of this thread.
    pub fn write_unless_busy(&self, line: &[u8]) {
        match self.state.try_lock() {
            Ok(state) => self.write_locked(state, line),
            Err(TryLockError::Poisoned(state)) => self.write_locked(state.into_inner(), line),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Writes to `to` from now on, and reports lost lines there.
    pub fn redirect(&self, to: OwnedFd) {
        let mut state = self.lock();
        let lost = state.as_ref().map_or(0, |state| state.lost);
        *state = Some(State {
            output: Output::shared(Fd::Own(to)),
            rest: Vec::new(),
            lost,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_locked(&self, mut state: MutexGuard<'_, Option<State>>, line: &[u8]) {
        state
            .get_or_insert_with(State::of_standard_error)
            .write(line);
    }
}

impl State {
    fn of_standard_error() -> Self {
        Self {
            output: Output::of(Fd::StandardError),
            rest: Vec::new(),
            lost: 0,
        }
    }

    fn write(&mut self, line: &[u8]) {
        if !self.finish_rest() || !self.report_lost() {
            self.lost += 1;
            return;
        }
        let cut;
        let line = if line.len() > LONGEST {
            let (kept, _) = line.split_at(LONGEST - 1);
            cut = [kept, b"\n"].concat();
            &cut
        } else {
            line
        };
        if !self.begin(line) {
            self.lost += 1;
        }
    }

    /// Writes the rest of the previous line; `false` if it does not fit.
    fn finish_rest(&mut self) -> bool {
        let written = self.output.write(&self.rest);
        self.rest.drain(..written);
        self.rest.is_empty()
    }

    fn report_lost(&mut self) -> bool {
        if self.lost == 0 {
            return true;
        }
        let lines = if self.lost == 1 { "line" } else { "lines" };
        let report = format!(
            "udco: warning: {} {lines} lost: nobody read them, or the disk was full\n",
            self.lost
        );
        let begun = self.begin(report.as_bytes());
        if begun {
            self.lost = 0;
        }
        begun && self.rest.is_empty()
    }

    /// Writes as much of a line as fits; `false` if nothing of it does.
    fn begin(&mut self, line: &[u8]) -> bool {
        let written = self.output.write(line);
        if written == 0 {
            return false;
        }
        self.rest.extend_from_slice(&line[written..]);
        true
    }
}

impl Output {
    fn of(fd: Fd) -> Self {
        let kind = fstat(fd.as_fd()).map(|status| FileType::from_raw_mode(status.st_mode));
        let own = match kind {
            Ok(FileType::Fifo | FileType::CharacterDevice) => reopened(fd.as_fd()).ok(),
            _ => None,
        };
        own.map_or_else(|| Self::shared(fd), |own| Self::Direct(Fd::Own(own)))
    }

    /// Without an open file of our own: a confined engine cannot open one.
    fn shared(fd: Fd) -> Self {
        let kind = fstat(fd.as_fd()).map(|status| FileType::from_raw_mode(status.st_mode));
        match kind {
            Ok(FileType::Socket) => Self::Socket(fd),
            Ok(FileType::Fifo | FileType::CharacterDevice) => {
                // A terminal only promises room for one byte.
                let is_terminal = rustix::termios::isatty(fd.as_fd());
                Self::Asked(fd, if is_terminal { 1 } else { LONGEST })
            }
            _ => Self::Direct(fd),
        }
    }

    /// Writes as much as fits without waiting, and returns how much that was.
    fn write(&self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.write_some(&bytes[written..]) {
                Ok(some) if some > 0 => written += some,
                Err(Errno::INTR) => {}
                _ => break,
            }
        }
        written
    }

    fn write_some(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Socket(fd) => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                send(fd.as_fd(), bytes, flags)
            }
            Self::Direct(fd) => write(fd.as_fd(), bytes),
            Self::Asked(fd, piece) => {
                let piece = &bytes[..bytes.len().min(*piece)];
                let now = ReadWriteFlags::NOWAIT;
                // Offset -1 means the file's own position.
                match pwritev2(fd.as_fd(), &[IoSlice::new(piece)], u64::MAX, now) {
                    Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) => {}
                    result => return result,
                }
                let mut asked = [PollFd::new(fd, PollFlags::OUT)];
                poll(&mut asked, Some(&Timespec::default()))?;
                if !asked[0].revents().contains(PollFlags::OUT) {
                    return Err(Errno::AGAIN);
                }
                write(fd.as_fd(), piece)
            }
        }
    }
}

/// Opens the same file again: `O_NONBLOCK` is then ours alone. Fails without `/proc`, or for another user's terminal.
fn reopened(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::StandardError => rustix::stdio::stderr(),
            Self::Own(fd) => fd.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek};
    use std::os::unix::net::UnixStream;

    use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

    use super::*;

    fn to(fd: OwnedFd) -> Sink {
        let sink = Sink {
            state: Mutex::new(None),
        };
        sink.redirect(fd);
        sink
    }

    /// Blocking, as a shell makes them.
    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC).unwrap()
    }

    fn lost(sink: &Sink) -> u64 {
        sink.lock().as_ref().map_or(0, |state| state.lost)
    }

    /// Writes lines until some are lost, in a bounded number of steps.
    fn fill(sink: &Sink) {
        for _ in 0..100_000 {
            sink.write(&[b"x".repeat(99), b"\n".to_vec()].concat());
            if lost(sink) == 3 {
                return;
            }
        }
        panic!("never full");
    }

    /// Waits until nobody can read what is written to `end`: a process that another test has forked may hold the reader's
    /// descriptor for a moment.
    fn await_hangup(end: &impl AsFd) {
        let mut polled = [PollFd::new(end, PollFlags::empty())];
        let soon = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut polled, Some(&soon)), Ok(1), "it is still read");
    }

    #[test]
    fn a_pipe_without_a_reader_loses_lines_and_counts_them() {
        let (reader, writer) = pipe();
        let mut reader = File::from(reader);
        fcntl_setpipe_size(&reader, 4096).unwrap();
        let end = writer.try_clone().unwrap();
        let sink = to(writer);
        fill(&sink);
        let mut read = vec![0; 1 << 20];
        let len = reader.read(&mut read).unwrap();
        assert!(read[..len].ends_with(b"\n"), "whole lines only");
        sink.write(b"on again\n");
        assert_eq!(lost(&sink), 0);
        let len = reader.read(&mut read).unwrap();
        let text = String::from_utf8_lossy(&read[..len]);
        assert!(
            text.contains("udco: warning: 3 lines lost") && text.ends_with("\non again\n"),
            "{text}"
        );
        drop(reader);
        await_hangup(&end);
        sink.write(b"nobody is there\n");
        assert_eq!(lost(&sink), 1);
    }

    #[test]
    fn an_output_that_cannot_be_opened_anew_does_not_block_either() {
        for piece in [1, LONGEST] {
            let (_reader, writer) = pipe();
            fcntl_setpipe_size(&writer, 4096).unwrap();
            let output = Output::Asked(Fd::Own(writer), piece);
            let written: usize = (0..100).map(|_| output.write(&[b'x'; 1000])).sum();
            assert!((1000..=4096).contains(&written), "{written}");
        }
    }

    #[test]
    fn a_socket_without_a_reader_loses_lines_and_keeps_the_rest_whole() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        let end = writer.try_clone().unwrap();
        let sink = to(writer.into());
        fill(&sink);
        reader.set_nonblocking(true).unwrap();
        let mut read = Vec::new();
        let _ = reader.read_to_end(&mut read);
        sink.write(b"on again\n");
        let _ = reader.read_to_end(&mut read);
        let text = String::from_utf8_lossy(&read);
        assert!(text.lines().all(|line| {
            line.len() == 99 || line.starts_with("udco: warning: 3 lines") || line == "on again"
        }));
        assert!(text.ends_with("on again\n"));
        drop(reader);
        await_hangup(&end);
        sink.write(b"nobody is there\n");
        assert_eq!(lost(&sink), 1);
    }

    #[test]
    fn a_full_disk_costs_lines() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let sink = to(full.into());
        sink.write(b"one\n");
        sink.write(b"two\n");
        assert_eq!(lost(&sink), 2);
        let mut file =
            File::from(rustix::fs::memfd_create("lines", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        sink.redirect(file.try_clone().unwrap().into());
        sink.write(&vec![b'y'; 3 * LONGEST]);
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("2 lines lost"), "{text}");
        assert_eq!(lines[1].len(), LONGEST - 1);
    }
}
