//! A sink in one host and a source in the other, and what both report.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use crate::host::Host;
use crate::wait::eventually;

/// How long either end may take beyond its work.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pair of [`crate::LabEnd`]s.
pub(super) struct Ends<'a> {
    /// The program with their command.
    pub(super) program: &'a str,
    /// The beginning of their names, before `-sink` and `-source`.
    pub(super) name: &'a str,
    /// Where the sink receives datagrams.
    pub(super) address: &'a str,
}

impl Ends<'_> {
    /// Runs both, the source with its further arguments, and returns how many datagrams it sent, and the sink's report.
    pub(super) fn run<T: DeserializeOwned>(
        &self,
        from: &Host,
        arguments: &[&str],
        to: &Host,
    ) -> Result<(u64, T)> {
        let Self {
            program, address, ..
        } = *self;
        let [sink, source] = ["sink", "source"].map(|end| format!("{}-{end}", self.name));
        let mut ending = to.spawn(&sink, &[program, "lab-end", &sink, address])?;
        eventually(&sink, PATIENCE, || {
            ensure!(ending.is_alive(), "{sink} ended: {}", ending.log());
            let listens = to.run(&["ss", "-Hlun"])?.contains(address);
            Ok(listens.then_some(()))
        })?;
        let words = [program, "lab-end", &source, address];
        let sent = from.run(&[words.as_slice(), arguments].concat())?;
        ending.wait(PATIENCE)?;
        let log = ending.log();
        // All sinks of this name in the host share one log.
        let last = log.lines().last().unwrap_or_default();
        let report = serde_json::from_str(last);
        let report = report.with_context(|| format!("{sink} printed: {log}"))?;
        Ok((sent.trim().parse().context(source)?, report))
    }
}

/// A socket that sends to this address, of either family.
pub(super) fn connected(address: SocketAddr) -> Result<UdpSocket> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(address)?;
    Ok(socket)
}

/// Whether a datagram arrives within this time.
pub(crate) fn is_readable(socket: impl AsFd, patience: Duration) -> Result<bool> {
    let timeout = Timespec::try_from(patience)?;
    let mut set = [PollFd::new(&socket, PollFlags::IN)];
    match poll(&mut set, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
