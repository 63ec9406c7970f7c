//! What is sent for the tunnel, come what may: a datagram every millisecond to each address.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::capture::MARKER;
use crate::host::Host;
use crate::process::Process;

/// Between two datagrams.
const PACE: Duration = Duration::from_millis(1);

/// How often it says how many it has sent.
const REPORT: Duration = Duration::from_millis(100);

/// The discard port.
const PORT: u16 = 9;

/// A program in a host that sends until it is dropped.
pub(super) struct Sender(Process);

impl Sender {
    /// Sends to these addresses. `program` with the word `leak-end` must end up in [`main`].
    pub(super) fn start(host: &Host, program: &str, to: &[&str]) -> Result<Self> {
        let words = [&[program, "leak-end"], to].concat();
        host.spawn("sender", &words).map(Self)
    }

    /// How many datagrams the kernel has taken so far.
    pub(super) fn sent(&self) -> u64 {
        let log = self.0.log();
        let numbers = log.lines().filter_map(|line| line.parse::<u64>().ok());
        numbers.max().unwrap_or(0)
    }
}

/// The program: its words are the addresses.
///
/// # Errors
/// If a word is no address, or there are no sockets.
pub fn main(words: &[String]) -> Result<()> {
    let targets: Vec<(UdpSocket, SocketAddr)> = words
        .iter()
        .map(|word| {
            let address: IpAddr = word.parse().with_context(|| word.clone())?;
            let any: IpAddr = match address {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_nonblocking(true)?;
            Ok((socket, SocketAddr::new(address, PORT)))
        })
        .collect::<Result<_>>()?;
    let (mut sent, mut told) = (0_u64, Instant::now());
    loop {
        for (socket, to) in &targets {
            // Without a route it cannot be sent, for the moment.
            sent += u64::from(socket.send_to(&MARKER, to).is_ok());
        }
        if told.elapsed() >= REPORT {
            told = Instant::now();
            writeln!(std::io::stdout(), "{sent}")?;
        }
        thread::sleep(PACE);
    }
}
