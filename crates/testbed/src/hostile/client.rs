//! The hostile client's connection: it may send any bytes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use udco_ipc::{MAX_MESSAGE, ToEngine, VERSION};
use udco_sys::seqpacket::Connection;

pub(super) struct Client {
    pub(super) connection: Connection,
    pub(super) seq: u32,
    buffer: Vec<u8>,
}

impl Client {
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self {
            connection: Connection::connect(path)?,
            seq: 0,
            buffer: vec![0; MAX_MESSAGE],
        })
    }

    /// A connection that the engine has admitted.
    pub(super) fn greeted(path: &Path) -> io::Result<Self> {
        let mut client = Self::connect(path)?;
        let hello = ToEngine::Hello {
            version: VERSION,
            pid: std::process::id(),
            program: b"hostile\n\x1b[2J",
        };
        client.send(&hello, &[])?;
        client.receive(Duration::from_secs(3))?;
        Ok(client)
    }

    /// Sends a message with the next sequence number, waiting for room.
    pub(super) fn send(
        &mut self,
        message: &ToEngine<'_>,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.seq += 1;
        self.send_as(self.seq, message, fds)
    }

    /// The same with any sequence number.
    pub(super) fn send_as(
        &self,
        seq: u32,
        message: &ToEngine<'_>,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let len = message
            .encode(seq, &mut buffer)
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        self.send_bytes(&buffer[..len], fds)
    }

    /// Any bytes.
    pub(super) fn send_bytes(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        for _ in 0..2_000 {
            match self.connection.send(bytes, fds) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_micros(500));
                }
                result => return result,
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Receives the engine's next message.
    pub(super) fn receive(&mut self, limit: Duration) -> io::Result<&[u8]> {
        let received = self.connection.receive_within(&mut self.buffer, limit)?;
        match received.len {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            len => Ok(&self.buffer[..len]),
        }
    }

    /// Opens a channel and returns its number and the client's end.
    pub(super) fn open_channel(&mut self) -> io::Result<(u32, Connection)> {
        let (ours, theirs) = Connection::pair()?;
        self.send(&ToEngine::OpenChannel, &[theirs.as_fd()])?;
        let answer = self.receive(Duration::from_secs(3))?;
        match udco_ipc::ToClient::decode(answer) {
            Ok((_, udco_ipc::ToClient::Channel { channel })) => Ok((channel, ours)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
