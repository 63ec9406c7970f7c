//! The connection to the engine: one request at a time, each with a deadline.

use crate::calls::{self, Errno, Fd};
use crate::clock::Instant;
use crate::dispenser::{PATIENCE, above_standard, draw, inherited, reason};
use crate::environment::{unset, variable};
use crate::secret::Secret;
use crate::{files, journal, output, real, tun};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use core::ffi::CStr;
use libc::c_int;
use udco_ipc::client::{self, Beside, Conversation, Greeted, Host};
use udco_ipc::{
    DataPathOptions, FD_VARIABLE, MAX_MESSAGE, MssFix, OPTIONS_VARIABLE, SOCKET_VARIABLE, ToClient,
    ToEngine, message_id,
};

/// The network namespace of this process.
const NAMESPACE: &CStr = c"/proc/self/ns/net";

/// A connection that the engine has accepted.
pub(crate) struct Connection {
    fd: Fd,
    is_private: bool,
    pub(crate) conversation: Conversation,
    /// The program's own options for its data path.
    pub(crate) options: DataPathOptions,
}

/// A connection with a pending request for which the engine needs nothing, and the fds beside that request.
struct Request<'a> {
    connection: &'a mut Connection,
    fds: &'a [c_int],
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// None arrived in time.
    Silent,
    /// The engine is gone, or violates the protocol.
    Dead,
    /// The request exceeds the largest message.
    TooLong,
}

impl Lost {
    /// The errno that OpenVPN sees: ENODEV makes it exit, which is right only if the engine is gone (dco-behaviour
    /// 4.4).
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

/// Hides the engine from child processes: a daemon started by an up script has no use for it, and would keep it from
/// ending.
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
    /// Connects as the environment specifies.
    ///
    /// # Errors
    /// The reason, for display.
    pub(crate) fn open() -> Result<Self, String> {
        let options = variable(OPTIONS_VARIABLE).unwrap_or_default();
        let options = options.to_string_lossy();
        if let Some(word) = DataPathOptions::ignored(&options) {
            let word = calls::seen(word);
            journal::say(
                message_id::OPTION_WITHOUT_EFFECT,
                &format!(
                    "udco: {OPTIONS_VARIABLE}: `{word}` is no option of udco, or has no such value: it has no effect\n"
                ),
            );
        }
        let options = DataPathOptions::parse(&options);
        tun::probe().map_err(|errno| format!("/dev/net/tun: {}", reason(errno)))?;
        match (variable(FD_VARIABLE), variable(SOCKET_VARIABLE)) {
            (Some(number), _) => Self::over(draw(inherited(&number)?)?, true, options),
            (None, Some(path)) => Self::over(dial(&path)?, false, options),
            (None, None) => Err("no engine is named".into()),
        }
    }

    /// Opens a connection for a forked child that inherited this one from its parent.
    ///
    /// # Errors
    /// The reason, for display.
    pub(crate) fn another(&self) -> Result<Self, String> {
        Self::over(draw(self.fd.raw())?, self.is_private, self.options)
    }

    fn over(fd: Fd, is_private: bool, options: DataPathOptions) -> Result<Self, String> {
        let mut connection = Self {
            fd: fd.hide(),
            is_private,
            conversation: Conversation::new(PATIENCE),
            options,
        };
        connection.greet()?;
        connection.say_where();
        connection.hand_over_options();
        connection.report_output();
        Ok(connection)
    }

    /// Reports to a private engine where the program's lines go.
    pub(crate) fn report_output(&self) {
        if self.is_private() {
            output::report(self.raw());
        }
    }

    /// Whether the engine was started for this program and those around it.
    pub(crate) fn is_private(&self) -> bool {
        self.is_private
    }

    /// Number of its fd.
    pub(crate) fn raw(&self) -> c_int {
        self.fd.raw()
    }

    /// Sends a request, with fds beside it, and returns the answer.
    pub(crate) fn request<'b>(
        &mut self,
        message: &ToEngine<'_>,
        fds: &[c_int],
        buffer: &'b mut [u8],
    ) -> Result<ToClient<'b>, Lost> {
        client::request(
            &mut Request {
                connection: self,
                fds,
            },
            message,
            buffer,
        )
    }

    /// Sends a message without waiting for an answer.
    pub(crate) fn notify(&mut self, message: &ToEngine<'_>) -> Result<(), Lost> {
        let fds = &[];
        client::notify(
            &mut Request {
                connection: self,
                fds,
            },
            message,
        )
    }

    /// Sends a request that is answered by an errno.
    pub(crate) fn request_errno(&mut self, message: &ToEngine<'_>) -> Result<Errno, Lost> {
        match self.request(message, &[], &mut vec![0; MAX_MESSAGE])? {
            ToClient::Done { errno, .. } => Ok(errno),
            _ => Err(Lost::Dead),
        }
    }

    /// Sends a message; see [`Host::send`].
    pub(crate) fn send(
        &self,
        seq: u32,
        message: &ToEngine<'_>,
        fds: &[c_int],
        until: Instant,
    ) -> Result<(), Lost> {
        let mut buffer = Secret::zeroed(MAX_MESSAGE);
        let len = message
            .encode(seq, &mut buffer)
            .map_err(|_| Lost::TooLong)?;
        let message = buffer.get(..len).unwrap_or_default();
        loop {
            match calls::send(self.fd.raw(), message, fds) {
                Ok(()) => return Ok(()),
                Err(libc::EINTR) => {}
                Err(libc::EAGAIN) if self.wait(libc::POLLOUT, until)? => {}
                Err(libc::EAGAIN) => return Err(Lost::Silent),
                Err(_) => return Err(Lost::Dead),
            }
        }
    }

    /// Receives a message; see [`Host::receive`].
    pub(crate) fn receive(&self, into: &mut [u8], until: Instant) -> Result<Option<usize>, Lost> {
        loop {
            match calls::receive(self.fd.raw(), into, libc::MSG_DONTWAIT) {
                Ok(len) => return Ok(Some(len)),
                Err(libc::EINTR) => {}
                Err(libc::EAGAIN) if self.wait(libc::POLLIN, until)? => {}
                Err(libc::EAGAIN) => return Ok(None),
                Err(_) => return Err(Lost::Dead),
            }
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

    /// Moves to another number: the program wants this one for itself.
    ///
    /// # Errors
    /// The kernel's, without a free number.
    pub(crate) fn move_from(&mut self, number: c_int) -> Result<(), Errno> {
        if self.fd.raw() == number {
            self.fd = calls::duplicate(number)?.hide();
        }
        Ok(())
    }

    /// Waits for one of `events`; `false` at the deadline.
    fn wait(&self, events: libc::c_short, until: Instant) -> Result<bool, Lost> {
        calls::wait(self.fd.raw(), events, until).map_err(|_| Lost::Dead)
    }

    /// Reports this process's network namespace where the kernel does not (before Linux 5.14, faults B5). Without it,
    /// the engine serves this process alone.
    fn say_where(&mut self) {
        if calls::network_namespace(self.fd.raw()) != 0 {
            return;
        }
        let Ok(inode) = files::inode(NAMESPACE) else {
            return;
        };
        let place = ToEngine::Namespace { inode };
        let _ = self.request_errno(&place);
    }

    /// Passes the program's options to the engine (faults E5). If it does not answer now, the next request reports
    /// that.
    fn hand_over_options(&mut self) {
        let DataPathOptions {
            mssfix, passtos, ..
        } = self.options;
        if mssfix != MssFix::Path || passtos {
            let _ = self.request_errno(&ToEngine::Options { mssfix, passtos });
        }
    }

    fn greet(&mut self) -> Result<(), String> {
        let mut request = Request {
            connection: self,
            fds: &[],
        };
        let mut buffer = vec![0; MAX_MESSAGE];
        let program = calls::program();
        match client::greet(&mut request, calls::process(), &program, &mut buffer) {
            Ok(Greeted::Welcome) => Ok(()),
            Ok(Greeted::OtherVersion(other)) => Err(format!("{other}")),
            Err(Lost::Silent) => Err("the engine does not answer".into()),
            // It reads nothing from users who may not use it.
            Err(_) if calls::is_another_users(self.fd.raw()) => {
                Err(
                    "the engine closed the connection: you may not use it (see `udco daemon --allow-uid`), or it has just \
                     ended"
                        .into(),
                )
            }
            Err(_) => Err(
                "the engine closed the connection: it has just ended, or its log says which limit is reached".into(),
            ),
        }
    }
}

impl Host for Request<'_> {
    type Error = Lost;
    type Time = Instant;

    fn conversation(&mut self) -> Result<&mut Conversation, Lost> {
        Ok(&mut self.connection.conversation)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn send(
        &mut self,
        seq: u32,
        message: &ToEngine<'_>,
        _beside: Beside,
        until: Instant,
    ) -> Result<(), Lost> {
        self.connection.send(seq, message, self.fds, until)
    }

    fn receive(&mut self, into: &mut [u8], until: Instant) -> Result<Option<usize>, Lost> {
        self.connection.receive(into, until)
    }
}

impl From<client::Lost> for Lost {
    fn from(lost: client::Lost) -> Self {
        match lost {
            client::Lost::Silent => Self::Silent,
            client::Lost::Ended | client::Lost::Nonsense => Self::Dead,
        }
    }
}

/// Connects to the socket at a path.
fn dial(path: &CStr) -> Result<Fd, String> {
    let why = |errno| format!("{}: {}", path.to_string_lossy(), reason(errno));
    let fd =
        calls::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0).map_err(|errno| match errno {
            libc::EAFNOSUPPORT => "the unit allows no AF_UNIX (RestrictAddressFamilies=)".into(),
            errno => why(errno),
        })?;
    let fd = above_standard(fd).map_err(why)?;
    // A full backlog must not block the program: with O_NONBLOCK it gives EAGAIN.
    calls::set_nonblocking(fd.raw()).map_err(why)?;
    calls::connect_unix(fd.raw(), path).map_err(why)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::Connection;
    use crate::calls;
    use crate::dispenser::PATIENCE;
    use crate::secret::tests::wiped;
    use udco_ipc::client::Conversation;
    use udco_ipc::{MAX_MESSAGE, ToEngine};

    #[test]
    fn the_copy_of_a_question_is_wiped_whether_it_is_sent_or_not() {
        let (fd, engine) = calls::pair(libc::SOCK_SEQPACKET).expect("a pair");
        let mut connection = Connection {
            fd,
            is_private: true,
            conversation: Conversation::new(PATIENCE),
            options: udco_ipc::DataPathOptions::default(),
        };
        let message = ToEngine::Request {
            channel: 1,
            port: 2,
            room: 0,
            admin: true,
            datagram: b"a request with a key",
        };
        let sent = wiped(|| assert!(connection.notify(&message).is_ok()));
        assert!(sent >= MAX_MESSAGE);
        drop(engine);
        let lost = wiped(|| assert!(connection.notify(&message).is_err()));
        assert!(lost >= MAX_MESSAGE);
    }
}
