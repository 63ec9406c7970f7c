//! What carries a channel's datagrams: a connection to an engine, or a Netlink socket of the kernel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::thread::CapabilitySet;
use udco_ipc::{MAX_MESSAGE, REQUEST_MARK, ToClient, ToEngine};
use udco_netlink::Api;
use udco_sys::netlink::GenericSocket;
use udco_sys::seqpacket::Connection;

use super::wait::wait;
use super::{Client, Offer, Supplies, nonsense};
use crate::refusal;

/// What the kernel lacks, and how to get it.
pub(crate) const NO_DRIVER: &str = "this kernel has no driver `ovpn`: load it with `modprobe ovpn` (Linux 6.16 or later), or \
     use udco's with `--driver udco`";

/// The driver's end of a channel.
pub(crate) trait Io {
    /// Sets a Netlink option.
    fn set(&mut self, name: i32, value: i32) -> Result<()>;

    /// Sends a request. `offer` is the socket of a new peer, for a driver that needs it passed.
    fn send(&mut self, request: &[u8], offer: Option<Offer<'_>>) -> Result<()>;

    /// Receives a datagram and returns its length: 0 if the engine has ended.
    ///
    /// # Errors
    /// `WouldBlock` if no datagram is waiting; `ENOBUFS` if the kernel has lost some.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// As [`Io::receive`], but waits this long.
    ///
    /// # Errors
    /// `TimedOut` if none arrives.
    fn receive_within(&mut self, into: &mut [u8], limit: Duration) -> io::Result<usize>;

    /// This process is about to close the transport socket with this number.
    fn close_socket(&mut self, number: i32) -> Result<()>;

    /// Why the driver lacks the family of an API.
    fn lacks(&self, api: Api) -> String;

    /// Readable when there is a datagram.
    fn fd(&self) -> BorrowedFd<'_>;
}

/// An engine, with a channel of its own.
pub(super) struct EngineIo {
    client: Client,
    end: Connection,
    number: u32,
}

/// The kernel's own driver.
pub(super) struct KernelIo(GenericSocket);

impl EngineIo {
    pub(super) fn open(mut client: Client) -> Result<Self> {
        let (end, engines) = Connection::pair().context("cannot create a channel")?;
        let opened = client.request(&ToEngine::OpenChannel, &[engines.as_fd()])?;
        let number = match opened {
            ToClient::Channel { channel } => channel,
            ToClient::Done { errno, .. } => bail!(refusal::of_engine(errno)),
            _ => return Err(nonsense()),
        };
        Ok(Self {
            client,
            end,
            number,
        })
    }
}

impl KernelIo {
    pub(super) fn open() -> Result<Self> {
        let socket = GenericSocket::open();
        socket
            .map(Self)
            .context("cannot create a generic-netlink socket")
    }
}

impl Io for EngineIo {
    fn set(&mut self, name: i32, value: i32) -> Result<()> {
        let option = ToEngine::SetOption {
            channel: self.number,
            name,
            value,
        };
        match self.client.request(&option, &[])? {
            ToClient::Done { errno: 0, .. } => Ok(()),
            ToClient::Done { errno, .. } => bail!(refusal::of_engine(errno)),
            _ => Err(nonsense()),
        }
    }

    fn send(&mut self, request: &[u8], offer: Option<Offer<'_>>) -> Result<()> {
        let message = ToEngine::Request {
            channel: self.number,
            port: std::process::id(),
            room: MAX_MESSAGE as u32,
            admin: is_admin(),
            datagram: request,
        };
        let supplies = Supplies {
            offer,
            ..Supplies::default()
        };
        match self.client.exchange(&message, supplies)? {
            ToClient::Done { .. } => Ok(()),
            _ => Err(nonsense()),
        }
    }

    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.end.receive(into) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
            received => received.map(|received| received.len),
        }
    }

    fn receive_within(&mut self, into: &mut [u8], limit: Duration) -> io::Result<usize> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let len = self.end.receive_within(into, left)?.len;
            if into.get(..len) != Some(REQUEST_MARK) {
                return Ok(len);
            }
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    fn close_socket(&mut self, number: i32) -> Result<()> {
        let closed = ToEngine::SocketClosed { fd: number };
        match self.client.request(&closed, &[])? {
            ToClient::Done { .. } => Ok(()),
            _ => Err(nonsense()),
        }
    }

    fn lacks(&self, api: Api) -> String {
        format!("the engine does not support {}", api.link_kind())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

impl Io for KernelIo {
    fn set(&mut self, name: i32, value: i32) -> Result<()> {
        let set = self.0.set_option(name, value);
        set.with_context(|| format!("cannot set Netlink option {name}"))
    }

    fn send(&mut self, request: &[u8], _offer: Option<Offer<'_>>) -> Result<()> {
        // The kernel takes a peer's socket by its number in this process.
        let sent = self.0.send(request);
        sent.context("the kernel does not accept generic-netlink requests")
    }

    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.receive(into)
    }

    fn receive_within(&mut self, into: &mut [u8], limit: Duration) -> io::Result<usize> {
        let until = Instant::now() + limit;
        loop {
            match self.0.receive(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            wait(&[self.0.as_fd()], Some(left))?;
        }
    }

    fn close_socket(&mut self, _number: i32) -> Result<()> {
        // The kernel notices when the last descriptor is closed.
        Ok(())
    }

    fn lacks(&self, api: Api) -> String {
        match api {
            Api::Ovpn => NO_DRIVER.to_owned(),
            Api::DcoV2 => "only engines serve devices of kind ovpn-dco".to_owned(),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether this process may configure the network here.
pub(crate) fn is_admin() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}

/// Refuses `--engine` for a device that the kernel serves.
///
/// # Errors
/// If it was given.
pub(crate) fn without_engine(name: &str, is_given: bool) -> Result<()> {
    if is_given {
        bail!(
            "{name} is a device of the kernel's own driver, which no engine serves: omit --engine"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_cure() {
        let kernel = KernelIo::open().unwrap();
        assert!(kernel.lacks(Api::Ovpn).contains("modprobe ovpn"));
        let refused = without_engine("tun0", true).unwrap_err().to_string();
        assert!(refused.contains("tun0") && refused.contains("omit --engine"));
        assert!(without_engine("tun0", false).is_ok());
    }

    #[test]
    fn the_kernel_answers_and_silence_ends_in_time() {
        let mut kernel = KernelIo::open().unwrap();
        let mut buffer = [0; 4096];
        let nothing = kernel.receive(&mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let limit = Duration::from_millis(10);
        let nothing = kernel.receive_within(&mut buffer, limit).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::TimedOut);
        // Every kernel has the family controller: it answers even a malformed request.
        let mut request = vec![0; 20];
        request[0] = 20;
        request[4] = 16;
        request[6] = 1;
        request[16] = 3;
        kernel.send(&request, None).unwrap();
        let received = kernel.receive_within(&mut buffer, Duration::from_secs(3));
        assert!(received.unwrap() >= 20);
    }
}
