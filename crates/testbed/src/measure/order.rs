//! Flows of numbered datagrams, to check that they arrive in order (performance 6).
//!
//! Both ends run as processes of the lab, in the program that the caller names, and move batches as the ends of
//! [`super::Flood`] do. Every other flow is sent as super-packets.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use udco_sys::udp::{Inbox, Message, Outbox, UdpSocket as Batched};

use super::ends::{Ends, is_readable};
use crate::host::Host;
use crate::openvpn::Proto;
use crate::scenario::{Pair, addresses, connect};

/// The sinks' port.
const PORT: u16 = 5998;

/// Flows, each from a port of its own.
const FLOWS: usize = 8;

/// Payload bytes of the flows.
const SIZES: [usize; FLOWS] = [64, 64, 200, 300, 700, 700, 1300, 1300];

/// Datagrams of a flow sent at once.
const BURST: usize = 16;

/// Sockets' buffers.
const BUFFER: usize = 4 << 20;

/// The sink ends after this long without a datagram.
const SILENCE: Duration = Duration::from_millis(1000);

/// Flow and number at the beginning of each datagram.
const MARK: usize = 12;

/// Datagrams in several flows, in one direction.
#[derive(Clone, Debug)]
pub struct Order {
    to: SocketAddr,
    packets: u64,
    per_second: u64,
}

/// The outcome of an [`Order`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    /// Datagrams that the sender's kernel accepted.
    pub sent: u64,
    /// Datagrams that the receiver read.
    pub received: u64,
    /// Datagrams that arrived after a later one of their flow.
    pub reordered: u64,
    /// Immediate duplicates.
    pub repeated: u64,
}

impl Sequence {
    /// Datagrams that did not arrive.
    pub const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

impl Order {
    /// 100,000 datagrams to this address and port, 50,000 a second.
    pub const fn to(address: SocketAddr) -> Self {
        Self {
            to: address,
            packets: 100_000,
            per_second: 50_000,
        }
    }

    /// How many in all flows together; rounded up to whole bursts of all.
    pub const fn packets(mut self, packets: u64) -> Self {
        self.packets = packets;
        self
    }

    /// How many per second, at most.
    pub const fn per_second(mut self, per_second: u64) -> Self {
        self.per_second = per_second;
        self
    }

    /// Sends them from one host to the other, which owns the address; `program` has the command of a
    /// [`crate::LabEnd`].
    ///
    /// # Errors
    /// If one end fails.
    pub fn run(&self, program: &str, from: &Host, to: &Host) -> Result<Sequence> {
        let (packets, rate) = (self.packets.to_string(), self.per_second.to_string());
        let address = self.to.to_string();
        let ends = Ends {
            program,
            name: "order",
            address: &address,
        };
        let (sent, sequence) = ends.run(from, &[&packets, &rate], to)?;
        Ok(Sequence { sent, ..sequence })
    }
}

/// Sends this many in all through an OpenVPN with udco at both ends, half of them in each direction at the same time.
/// The engines have this many workers, or one per core.
///
/// # Errors
/// If the tunnel does not come up, or one end fails.
pub fn through_udco(
    program: &str,
    packets: u64,
    per_second: u64,
    workers: Option<u16>,
) -> Result<Sequence> {
    let pair = Pair::new()?;
    let (server, client) = connect(
        pair.udco_server(Proto::Udp4).workers(workers),
        pair.udco_client(Proto::Udp4).workers(workers),
    )?;
    let order = |inner: &str| -> Result<Order> {
        let order = Order::to(SocketAddr::new(inner.parse()?, PORT));
        Ok(order.packets(packets / 2).per_second(per_second / 2))
    };
    let [up, down] = [
        order(addresses::INNER_SERVER)?,
        order(addresses::INNER_CLIENT)?,
    ];
    let (up, down) = thread::scope(|scope| {
        let up = scope.spawn(|| up.run(program, &pair.client, &pair.server));
        let down = down.run(program, &pair.server, &pair.client);
        (up.join(), down)
    });
    let up = up.map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    let (up, down) = (up.context("up")?, down.context("down")?);
    for end in [&server, &client] {
        end.require_authentic()?;
    }
    pair.lab.discard_logs();
    Ok(Sequence {
        sent: up.sent + down.sent,
        received: up.received + down.received,
        reordered: up.reordered + down.reordered,
        repeated: up.repeated + down.repeated,
    })
}

/// A sink's record of the flows.
#[derive(Debug, Default)]
struct Seen {
    /// The highest number of each flow; numbers start at 1.
    highest: [u64; FLOWS],
    sequence: Sequence,
}

impl Seen {
    fn take(&mut self, datagram: &[u8]) {
        let Some((mark, _)) = datagram.split_first_chunk::<MARK>() else {
            return;
        };
        let [a, b, c, d, number @ ..] = *mark;
        let flow = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some(highest) = self.highest.get_mut(flow) else {
            return;
        };
        let number = u64::from_be_bytes(number);
        let sequence = &mut self.sequence;
        sequence.received += 1;
        sequence.reordered += u64::from(number < *highest);
        sequence.repeated += u64::from(number == *highest);
        *highest = number.max(*highest);
    }
}

/// Receives until no more arrive.
pub(crate) fn sink(address: SocketAddr) -> Result<Sequence> {
    let socket = Batched::adopt(UdpSocket::bind(address)?.into())?;
    socket.raise_receive_buffer(BUFFER)?;
    let mut inbox = Inbox::new(64, 2048);
    let mut seen = Seen::default();
    // The first may take as long as the sender takes to start.
    let mut patience = Duration::from_secs(10);
    loop {
        let count = inbox.receive(&socket)?;
        for index in 0..count {
            let datagram = inbox.datagram(index).context("no datagram")?;
            seen.take(datagram.bytes);
            patience = SILENCE;
        }
        if count == 0 && !is_readable(&socket, patience)? {
            return Ok(seen.sequence);
        }
    }
}

/// Sends this many in all, a burst of each flow in turn, and returns how many the kernel accepted.
pub(crate) fn source(address: SocketAddr, packets: u64, per_second: u64) -> Result<u64> {
    let mut flows = Vec::new();
    for _ in 0..FLOWS {
        let socket = Batched::adopt(UdpSocket::bind("0.0.0.0:0")?.into())?;
        socket.raise_send_buffer(BUFFER)?;
        flows.push(socket);
    }
    let mut outbox = Outbox::new(BURST);
    let round = (FLOWS * BURST) as u64;
    let (begin, mut sent) = (Instant::now(), 0);
    for number in 0..packets.div_ceil(round) {
        for (flow, socket) in flows.iter().enumerate() {
            let size = SIZES[flow];
            let bytes = burst(flow as u32, number * BURST as u64, size);
            outbox.clear();
            let is_one = flow % 2 == 1;
            for at in 0..BURST {
                let range = if is_one {
                    0..bytes.len()
                } else {
                    at * size..(at + 1) * size
                };
                let segment = is_one.then_some(size as u16);
                let (destination, local) = (address, None);
                let _ = outbox.push(Message {
                    range,
                    destination,
                    local,
                    segment,
                    traffic_class: 0,
                });
                if is_one {
                    break;
                }
            }
            let each = if is_one { BURST as u64 } else { 1 };
            sent += outbox.send(socket, &bytes).sent as u64 * each;
        }
        let due = Duration::from_secs_f64((number + 1) as f64 * round as f64 / per_second as f64);
        thread::sleep(due.saturating_sub(begin.elapsed()));
    }
    Ok(sent)
}

/// Datagrams of a flow in a row, numbered from `before` + 1 on.
fn burst(flow: u32, before: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0x55; BURST * size];
    for (number, datagram) in (before + 1..).zip(bytes.chunks_mut(size)) {
        let mark = [&flow.to_be_bytes()[..], &number.to_be_bytes()].concat();
        datagram[..MARK].copy_from_slice(&mark);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_sees_what_is_late_or_comes_again() {
        let mut seen = Seen::default();
        for (flow, number) in [
            (0, 1),
            (1, 1),
            (0, 3),
            (0, 2),
            (1, 2),
            (1, 2),
            (0, 4),
            (9, 1),
        ] {
            let bytes = burst(flow, number - 1, 64);
            seen.take(&bytes[..64]);
        }
        let Sequence {
            received,
            reordered,
            repeated,
            ..
        } = seen.sequence;
        assert_eq!((received, reordered, repeated), (7, 1, 1));
    }
}
