//! The processes at both ends: all peers in one, and what the server's host sends to them.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use udco_core::{Key, PeerId, Time};
use udco_crypto::DirectionKey;
use udco_sys::udp::{Inbox, Message, Outbox, UdpSocket};

use super::plan::{self, DISCARDED, HEADERS, PORT, SERVER_OUTER, SERVER_VPN};
use super::{Load, Peers};
use crate::measure::{RoundTrips, is_readable};

/// Datagrams per call.
const BATCH: usize = 64;

/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(1);

/// The peers send packets in turns; returns how many the kernel has taken.
pub(crate) fn send_up(run: u32, port: u16, peers: Peers, load: Load) -> Result<u64> {
    let socket = bind(port)?;
    let length = u16::try_from(load.size)?.max(HEADERS as u16);
    let senders = peers
        .ids()
        .map(|id| Sender::new(id, run))
        .collect::<Result<Vec<_>>>()?;
    let record = senders.first().context("no peer")?.overhead() + usize::from(length);
    let mut arena = vec![0; record * BATCH];
    let mut outbox = Outbox::new(BATCH);
    let (mut turns, mut sent, began) = (load.turns(senders.iter()), 0, Instant::now());
    while began.elapsed() < load.duration() {
        outbox.clear();
        for (slot, sender) in (0..BATCH).zip(turns.by_ref()) {
            let range = slot * record..(slot + 1) * record;
            let headers = plan::udp(sender.vpn, DISCARDED, length);
            sender.seal(&mut arena[range.clone()], &headers)?;
            let _ = outbox.push(sender.message(range));
        }
        sent += outbox.send(&socket, &arena).sent as u64;
    }
    Ok(sent)
}

/// The server's host sends packets to the peers in turns.
pub(crate) fn send_down(peers: Peers, load: Load) -> Result<u64> {
    let socket = bind(0)?;
    let payload = usize::try_from(load.size)?.saturating_sub(HEADERS);
    let arena = vec![0x55; payload];
    let mut outbox = Outbox::new(BATCH);
    let (mut turns, mut sent, began) = (load.turns(peers.ids()), 0, Instant::now());
    while began.elapsed() < load.duration() {
        outbox.clear();
        for id in turns.by_ref().take(BATCH) {
            let _ = outbox.push(Message {
                range: 0..payload,
                destination: SocketAddr::from((plan::vpn(id), 9)),
                local: None,
                segment: None,
                traffic_class: 0,
            });
        }
        sent += outbox.send(&socket, &arena).sent as u64;
    }
    Ok(sent)
}

/// The peers send echo requests in turns, each when the one before is answered or lost.
pub(crate) fn echo(run: u32, peers: Peers, requests: u32) -> Result<RoundTrips> {
    let socket = bind(PORT)?;
    let mut inbox = Inbox::new(BATCH, 2048);
    let mut outbox = Outbox::new(1);
    let (mut times, mut lost) = (Vec::new(), 0);
    let senders = peers
        .ids()
        .map(|id| Sender::new(id, run))
        .collect::<Result<Vec<_>>>()?;
    for (number, sender) in (0..requests).zip(senders.iter().cycle()) {
        let sequence = (number % 0xFFFF) as u16;
        let request = plan::echo_request(sender.vpn, SERVER_VPN, sequence);
        let mut record = vec![0; sender.overhead() + HEADERS];
        sender.seal(&mut record, &request)?;
        outbox.clear();
        let _ = outbox.push(sender.message(0..record.len()));
        let asked = Instant::now();
        outbox.send(&socket, &record);
        match sender.answer(&socket, &mut inbox, sequence, asked)? {
            Some(time) => times.push(time.as_secs_f64() * 1e6),
            None => lost += 1,
        }
        thread::sleep(PAUSE);
    }
    RoundTrips::of(times, lost)
}

/// One of the peers.
struct Sender {
    id: PeerId,
    outer: Ipv4Addr,
    vpn: Ipv4Addr,
    key: Key<DirectionKey>,
}

impl Sender {
    fn new(id: u32, run: u32) -> Result<Self> {
        Ok(Self {
            id: PeerId::from(u16::try_from(id)?),
            outer: plan::outer(id),
            vpn: plan::vpn(id),
            key: plan::key(run)?,
        })
    }

    fn overhead(&self) -> usize {
        self.key.format().overhead()
    }

    /// Seals a packet with these headers in place; what lies behind them is its payload.
    fn seal(&self, record: &mut [u8], headers: &[u8; HEADERS]) -> Result<()> {
        let before = self.key.format().before();
        record[before..before + HEADERS].copy_from_slice(headers);
        let packet_id = self.key.next_packet_id().context("the key is used up")?;
        Ok(packet_id.seal(self.id, record)?)
    }

    /// A message to the server, from this peer's outer address.
    fn message(&self, range: Range<usize>) -> Message {
        Message {
            range,
            destination: SocketAddr::from((SERVER_OUTER, PORT)),
            local: Some(self.outer.into()),
            segment: None,
            traffic_class: 0,
        }
    }

    /// How long the reply with this sequence number took; keepalives and late replies are passed over.
    fn answer(
        &self,
        socket: &UdpSocket,
        inbox: &mut Inbox,
        sequence: u16,
        asked: Instant,
    ) -> Result<Option<Duration>> {
        while let Some(left) = PATIENCE.checked_sub(asked.elapsed()) {
            if !is_readable(socket, left)? {
                break;
            }
            let count = inbox.receive(socket)?;
            let time = asked.elapsed();
            for index in 0..count {
                let Some(datagram) = inbox.datagram(index) else {
                    continue;
                };
                let opened = self.key.open(datagram.bytes, Time::from_millis(1));
                let packet = opened.map(|opened| plan::echo_reply(opened.payload));
                if packet == Ok(Some(sequence)) {
                    return Ok(Some(time));
                }
            }
        }
        Ok(None)
    }
}

fn bind(port: u16) -> Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    Ok(UdpSocket::adopt(socket.into())?)
}
