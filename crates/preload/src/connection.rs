//! The connection to the engine: one request at a time, each with a deadline.

mod opening;

pub(crate) use opening::{dispenser, is_configured, withdraw};

use crate::calls::{self, Errno, Fd};
use crate::clock::Instant;
use crate::output;
use crate::secret::Secret;
use alloc::vec;
use libc::c_int;
use udco_ipc::client::{self, Beside, Conversation, Host};
use udco_ipc::{DataPathOptions, MAX_MESSAGE, ToClient, ToEngine};

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

impl Connection {
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
