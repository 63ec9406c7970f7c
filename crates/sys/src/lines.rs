//! Log lines, written so that a slow or dead reader never delays the writer.
//!
//! Standard error may be a pipe without a reader, a stopped or closed terminal, a file on a full disk, or closed. A
//! line that cannot be written at once is lost and counted; the next line that fits reports how many were lost
//! (faults B1). The form of a line depends on where it goes.

mod form;
mod journal;
mod output;
mod record;

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

pub use form::{Form, choose, for_syslog, has_fields};
pub use journal::is_standard_error as is_journal;
pub use record::{Level, MESSAGE_ID, Record, Value, utc_now};

use form::Style;
use output::{Fd, Output};

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
    style: Style,
    /// The unwritten end of a line whose beginning was written.
    rest: Vec<u8>,
    /// Lines lost since the last one written.
    lost: u64,
}

impl Sink {
    /// Opens the output now rather than at the first line, for a process that can open nothing later.
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

    /// Writes a line, or loses it.
    pub fn write(&self, line: &Record) {
        self.write_locked(self.lock(), line);
    }

    /// The same, for a panic that may have interrupted another line of this thread.
    pub fn write_unless_busy(&self, line: &Record) {
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
        let opened = State::of(Output::shared(Fd::Own(to)));
        *state = Some(State { lost, ..opened });
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_locked(&self, mut state: MutexGuard<'_, Option<State>>, line: &Record) {
        state
            .get_or_insert_with(State::of_standard_error)
            .write(line);
    }
}

impl State {
    fn of_standard_error() -> Self {
        Self::of(Output::of(Fd::StandardError))
    }

    fn of((output, style): (Output, Style)) -> Self {
        Self {
            output,
            style,
            rest: Vec::new(),
            lost: 0,
        }
    }

    fn write(&mut self, line: &Record) {
        if !self.finish_rest() || !self.report_lost() {
            self.lost += 1;
            return;
        }
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
        let lost = self.lost;
        let (lines, them) = if lost == 1 {
            ("line", "it")
        } else {
            ("lines", "them")
        };
        let report = format!("{lost} {lines} lost: nobody read {them}, or the disk was full");
        let started = self.begin(&Record::new(Level::Warning, report));
        if started {
            self.lost = 0;
        }
        started && self.rest.is_empty()
    }

    /// Writes as much of a line as fits; `false` if nothing of it does.
    fn begin(&mut self, line: &Record) -> bool {
        let line = self.style.render(line);
        let written = self.output.write(&line);
        if written == 0 {
            return false;
        }
        self.rest.extend_from_slice(&line[written..]);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

    use super::output::{Fd, Output};
    use super::record::LONGEST;
    use super::*;

    fn to(fd: OwnedFd) -> Sink {
        let sink = Sink {
            state: Mutex::new(None),
        };
        sink.redirect(fd);
        sink
    }

    fn line(text: &str) -> Record {
        Record::new(Level::Info, text.into())
    }

    /// A blocking pipe, as a shell makes it.
    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC).unwrap()
    }

    fn lost(sink: &Sink) -> u64 {
        sink.lock().as_ref().map_or(0, |state| state.lost)
    }

    /// Writes lines until some are lost, in a bounded number of steps.
    fn fill(sink: &Sink) {
        for _ in 0..100_000 {
            sink.write(&line(&"x".repeat(93)));
            if lost(sink) == 3 {
                return;
            }
        }
        panic!("never full");
    }

    /// Waits until nobody can read what is written to `end`: a process that another test has forked may still have the
    /// reader's descriptor open.
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
        sink.write(&line("on again"));
        assert_eq!(lost(&sink), 0);
        let len = reader.read(&mut read).unwrap();
        let text = String::from_utf8_lossy(&read[..len]);
        assert!(
            text.contains("udco: warning: 3 lines lost") && text.ends_with("\nudco: on again\n"),
            "{text}"
        );
        drop(reader);
        await_hangup(&end);
        sink.write(&line("nobody is there"));
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
        sink.write(&line("on again"));
        let _ = reader.read_to_end(&mut read);
        let text = String::from_utf8_lossy(&read);
        assert!(text.lines().all(|line| {
            line.len() == 99
                || line.starts_with("udco: warning: 3 lines")
                || line == "udco: on again"
        }));
        assert!(text.ends_with("on again\n"));
        drop(reader);
        await_hangup(&end);
        sink.write(&line("nobody is there"));
        assert_eq!(lost(&sink), 1);
    }

    #[test]
    fn a_full_disk_costs_lines() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let sink = to(full.into());
        sink.write(&line("one"));
        sink.write(&line("two"));
        assert_eq!(lost(&sink), 2);
        let mut file =
            File::from(rustix::fs::memfd_create("lines", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        sink.redirect(file.try_clone().unwrap().into());
        sink.write(&line(&"y".repeat(3 * LONGEST)));
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("2 lines lost"), "{text}");
        assert_eq!(lines[1].len(), LONGEST - 1);
    }
}
