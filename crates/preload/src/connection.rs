//! The connection to the engine: one question at a time, each with a deadline.

use crate::calls::{self, Errno, Fd};
use crate::dispenser::{above_standard, draw, inherited};
use crate::secret::Secret;
use crate::{output, real, tun};
use libc::c_int;
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};
use udco_ipc::{
    FD_VARIABLE, MAX_MESSAGE, MssFix, OPTIONS_VARIABLE, ProgramOptions, SOCKET_VARIABLE, ToClient,
    ToEngine, VERSION,
};

/// The network namespace of this process.
const NAMESPACE: &str = "/proc/self/ns/net";

/// How long the engine may take for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// How long it may take while it owes an answer already: a program that ends has several questions, and should not wait
/// a second for each.
const IMPATIENCE: Duration = Duration::from_millis(100);

/// How long it may take to go on with a new device, on a machine that has taken as long to make it (faults B3). The true
/// sign that it is lost is the end of the connection.
const TAKE_OVER: Duration = Duration::from_secs(60);

/// A connection on which the engine has said welcome.
pub(crate) struct Connection {
    fd: Fd,
    is_private: bool,
    seq: u32,
    /// How long the next answer may take.
    patience: Cell<Duration>,
    /// What the program's own options say of its data path.
    pub(crate) options: ProgramOptions,
}

/// An open question.
pub(crate) struct Question {
    seq: u32,
    deadline: Instant,
}

impl Question {
    /// The engine has got a device: it has much to do before it answers.
    pub(crate) fn await_take_over(&mut self) {
        self.deadline = Instant::now() + TAKE_OVER;
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// None came in time.
    Silent,
    /// The engine is gone, or doesn't keep to the protocol.
    Dead,
    /// The question is larger than a message can be.
    TooLong,
}

impl Lost {
    /// What OpenVPN is told: ENODEV makes it exit, which is right only when the engine has gone (dco-behaviour 4.4).
    pub(crate) fn errno(self) -> Errno {
        match self {
            Self::Silent => libc::EBUSY,
            Self::Dead => libc::ENODEV,
            Self::TooLong => libc::EMSGSIZE,
        }
    }
}

/// Whether the environment names an engine.
pub(crate) fn is_configured() -> bool {
    variable(FD_VARIABLE).is_some() || variable(SOCKET_VARIABLE).is_some()
}

/// Hides the engine from what is started from here: a daemon that an up script starts has no use for it, and would keep
/// it from ending.
pub(crate) fn withdraw() {
    if let Some(dispenser) = dispenser() {
        // SAFETY: no pointers. Nobody but this library knows the number.
        unsafe { real::close(dispenser) };
    }
    unset(FD_VARIABLE);
    unset(SOCKET_VARIABLE);
    unset(OPTIONS_VARIABLE);
}

/// The inherited fd, if there is one.
pub(crate) fn dispenser() -> Option<c_int> {
    inherited(&variable(FD_VARIABLE)?).ok()
}

impl Connection {
    /// Connects as the environment says.
    ///
    /// # Errors
    /// Why not, for people.
    pub(crate) fn open() -> Result<Self, String> {
        let options = variable(OPTIONS_VARIABLE).unwrap_or_default();
        let options = ProgramOptions::parse(&options.to_string_lossy());
        tun::probe().map_err(|errno| format!("/dev/net/tun: {}", reason(errno)))?;
        match (variable(FD_VARIABLE), variable(SOCKET_VARIABLE)) {
            (Some(number), _) => Self::over(draw(inherited(&number)?)?, true, options),
            (None, Some(path)) => Self::over(dial(&path)?, false, options),
            (None, None) => Err("no engine is named".into()),
        }
    }

    /// A connection of a forked child, which has this one from its parent.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(crate) fn another(&self) -> Result<Self, String> {
        Self::over(draw(self.fd.raw())?, self.is_private, self.options)
    }

    fn over(fd: Fd, is_private: bool, options: ProgramOptions) -> Result<Self, String> {
        let mut connection = Self {
            fd: fd.hide(),
            is_private,
            seq: 0,
            patience: Cell::new(PATIENCE),
            options,
        };
        connection.greet()?;
        connection.say_where();
        connection.hand_over_options();
        output::report(&connection);
        Ok(connection)
    }

    /// Whether the engine was started for this program and those around it.
    pub(crate) fn is_private(&self) -> bool {
        self.is_private
    }

    /// Number of its fd.
    pub(crate) fn raw(&self) -> c_int {
        self.fd.raw()
    }

    /// Asks a question, with fds beside it.
    pub(crate) fn ask(&mut self, question: &ToEngine<'_>, fds: &[c_int]) -> Result<Question, Lost> {
        self.seq = self.seq.wrapping_add(1);
        let mut open = Question {
            seq: self.seq,
            deadline: Instant::now() + self.patience.get(),
        };
        self.reply(&mut open, question, fds)?;
        Ok(open)
    }

    /// Gives the engine what it wanted before it could answer. From then on it has its time anew.
    pub(crate) fn reply(
        &self,
        question: &mut Question,
        reply: &ToEngine<'_>,
        fds: &[c_int],
    ) -> Result<(), Lost> {
        question.deadline = Instant::now() + self.patience.get();
        let mut buffer = Secret::zeroed(MAX_MESSAGE);
        let len = reply
            .encode(question.seq, &mut buffer)
            .map_err(|_| Lost::TooLong)?;
        let message = buffer.get(..len).unwrap_or_default();
        loop {
            match calls::send(self.fd.raw(), message, fds) {
                Ok(()) => return Ok(()),
                Err(libc::EINTR) => {}
                Err(libc::EAGAIN) => self.wait(libc::POLLOUT, question)?,
                Err(_) => return Err(Lost::Dead),
            }
        }
    }

    /// The next answer to a question. Answers to earlier questions, on which we had given up, are thrown away; they
    /// show that the engine is back, and give it its whole time.
    pub(crate) fn answer<'b>(
        &self,
        question: &mut Question,
        buffer: &'b mut [u8],
    ) -> Result<ToClient<'b>, Lost> {
        let len = loop {
            match calls::receive(self.fd.raw(), buffer, libc::MSG_DONTWAIT) {
                Ok(0) => return Err(Lost::Dead),
                Ok(len) => {
                    if self.patience.replace(PATIENCE) != PATIENCE {
                        question.deadline = Instant::now() + PATIENCE;
                    }
                    let message = buffer.get(..len).ok_or(Lost::Dead)?;
                    let (seq, _) = ToClient::decode(message).map_err(|_| Lost::Dead)?;
                    if seq == question.seq {
                        break len;
                    }
                }
                Err(libc::EINTR) => {}
                Err(libc::EAGAIN) => self.wait(libc::POLLIN, question).inspect_err(|lost| {
                    if *lost == Lost::Silent {
                        self.patience.set(IMPATIENCE);
                    }
                })?,
                Err(_) => return Err(Lost::Dead),
            }
        };
        let message = buffer.get(..len).ok_or(Lost::Dead)?;
        ToClient::decode(message)
            .map(|(_, answer)| answer)
            .map_err(|_| Lost::Dead)
    }

    /// Asks a question that is answered by an errno.
    pub(crate) fn ask_errno(&mut self, question: &ToEngine<'_>) -> Result<Errno, Lost> {
        let mut question = self.ask(question, &[])?;
        match self.answer(&mut question, &mut vec![0; MAX_MESSAGE])? {
            ToClient::Done { errno, .. } => Ok(errno),
            _ => Err(Lost::Dead),
        }
    }

    /// Whether the engine has closed its end.
    pub(crate) fn has_ended(&self) -> bool {
        let look = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        match calls::receive(self.fd.raw(), &mut [0], look) {
            Ok(len) => len == 0,
            Err(errno) => !matches!(errno, libc::EAGAIN | libc::EINTR),
        }
    }

    /// Gets out of the way of a program that wants this fd number for itself.
    pub(crate) fn move_from(&mut self, number: c_int) {
        if self.fd.raw() == number
            && let Ok(other) = calls::duplicate(number)
        {
            self.fd = other.hide();
        }
    }

    fn wait(&self, events: libc::c_short, question: &Question) -> Result<(), Lost> {
        match calls::wait(self.fd.raw(), events, Some(question.deadline)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Lost::Silent),
            Err(_) => Err(Lost::Dead),
        }
    }

    /// Says in which network namespace this process is, where the kernel does not (before Linux 5.14, faults B5). An engine
    /// that is not told serves this process alone.
    fn say_where(&mut self) {
        if calls::network_namespace(self.fd.raw()) != 0 {
            return;
        }
        let Ok(file) = std::fs::metadata(NAMESPACE) else {
            return;
        };
        let place = ToEngine::Namespace { inode: file.ino() };
        let mut buffer = vec![0; MAX_MESSAGE];
        let _ = self
            .ask(&place, &[])
            .and_then(|mut question| self.answer(&mut question, &mut buffer).map(drop));
    }

    /// Has the engine heed the program's options (faults E5). If it does not answer now, the next question says so.
    fn hand_over_options(&mut self) {
        let ProgramOptions {
            mssfix, passtos, ..
        } = self.options;
        if mssfix != MssFix::Path || passtos {
            let _ = self.ask_errno(&ToEngine::Options { mssfix, passtos });
        }
    }

    fn greet(&mut self) -> Result<(), String> {
        let hello = ToEngine::Hello {
            version: VERSION,
            pid: calls::process(),
            program: &calls::program(),
        };
        let mut buffer = vec![0; MAX_MESSAGE];
        let answer = self
            .ask(&hello, &[])
            .and_then(|mut question| self.answer(&mut question, &mut buffer));
        match answer {
            Ok(ToClient::Welcome { version: VERSION }) => Ok(()),
            Ok(ToClient::Welcome { version }) => Err(format!(
                "the engine speaks version {version}, not {VERSION}"
            )),
            Ok(ToClient::Refused { errno }) => {
                Err(format!("the engine refuses: {}", reason(errno)))
            }
            Err(Lost::Silent) => Err("the engine does not answer".into()),
            Ok(_) | Err(_) => Err("no engine at the other end".into()),
        }
    }
}

/// Connects to the socket at a path.
fn dial(path: &CStr) -> Result<Fd, String> {
    let why = |errno| format!("{}: {}", path.to_string_lossy(), reason(errno));
    let fd = calls::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0).map_err(why)?;
    let fd = above_standard(fd).map_err(why)?;
    // A full backlog must not block the program: with O_NONBLOCK it gives EAGAIN.
    calls::set_nonblocking(fd.raw()).map_err(why)?;
    calls::connect_unix(fd.raw(), path).map_err(why)?;
    Ok(fd)
}

fn variable(name: &str) -> Option<CString> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: getenv's answer is a C string; it is copied before anything can change the environment.
    Some(unsafe { CStr::from_ptr(value) }.to_owned()).filter(|value| !value.is_empty())
}

fn unset(name: &str) {
    if let Ok(name) = CString::new(name) {
        // SAFETY: the name is a C string. Called at the program's first generic netlink socket, when OpenVPN has
        // one thread.
        unsafe { libc::unsetenv(name.as_ptr()) };
    }
}

/// An errno in words.
pub(crate) fn reason(errno: Errno) -> String {
    let mut text = std::io::Error::from_raw_os_error(errno).to_string();
    if let Some(number) = text.find(" (os error") {
        text.truncate(number);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Connection, PATIENCE};
    use crate::calls;
    use crate::secret::tests::wiped;
    use std::cell::Cell;
    use udco_ipc::{MAX_MESSAGE, ToEngine};

    #[test]
    fn the_copy_of_a_question_is_wiped_whether_it_is_sent_or_not() {
        let (fd, engine) = calls::pair(libc::SOCK_SEQPACKET).expect("a pair");
        let mut connection = Connection {
            fd,
            is_private: true,
            seq: 0,
            patience: Cell::new(PATIENCE),
            options: udco_ipc::ProgramOptions::default(),
        };
        let question = ToEngine::Request {
            channel: 1,
            port: 2,
            room: 0,
            admin: true,
            datagram: b"a request with a key",
        };
        let sent = wiped(|| assert!(connection.ask(&question, &[]).is_ok()));
        assert!(sent >= MAX_MESSAGE);
        drop(engine);
        let lost = wiped(|| assert!(connection.ask(&question, &[]).is_err()));
        assert!(lost >= MAX_MESSAGE);
    }
}
