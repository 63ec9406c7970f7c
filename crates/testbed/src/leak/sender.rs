//! A sender of packets for the tunnel, which never stops: a datagram every millisecond to each address.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::capture::MARKER;
use crate::host::Host;
use crate::process::Process;

/// Between two datagrams.
const PACE: Duration = Duration::from_millis(1);

/// How often it reports how many it has sent.
const REPORT: Duration = Duration::from_millis(100);

/// The discard port.
const PORT: u16 = 9;

/// A process in a host that sends until it is dropped.
pub(super) struct Sender(Process);

impl Sender {
    /// Sends to these addresses. `program` has the command of a [`crate::LabEnd`].
    pub(super) fn start(host: &Host, program: &str, to: &[&str]) -> Result<Self> {
        let words = [&[program, "lab-end", "leak-sender"], to].concat();
        host.spawn("sender", &words).map(Self)
    }

    /// How many datagrams the kernel has taken so far.
    pub(super) fn sent(&self) -> u64 {
        let log = self.0.log();
        let numbers = log.lines().filter_map(|line| line.parse::<u64>().ok());
        numbers.max().unwrap_or(0)
    }
}

/// Sends to these addresses for ever.
pub(crate) fn send(addresses: &[IpAddr]) -> Result<()> {
    let targets: Vec<(UdpSocket, SocketAddr)> = addresses
        .iter()
        .map(|&address| {
            let any: IpAddr = match address {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_nonblocking(true)?;
            Ok((socket, SocketAddr::new(address, PORT)))
        })
        .collect::<Result<_>>()?;
    let (mut sent, mut reported) = (0_u64, Instant::now());
    loop {
        for (socket, to) in &targets {
            // Without a route, sending fails for the moment.
            sent += u64::from(socket.send_to(&MARKER, to).is_ok());
        }
        if reported.elapsed() >= REPORT {
            reported = Instant::now();
            writeln!(std::io::stdout(), "{sent}")?;
        }
        thread::sleep(PACE);
    }
}
