//! The relay's datagrams: their arrival, their fate, and their departure.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::sockopt;

use crate::chaos::{Direction, Tally, Weather, is_data};
use crate::dice::Dice;

/// Bytes of the sockets' receive buffers: all losses must be deliberate.
const BUFFER: usize = 8 << 20;

/// Bytes of a keepalive on the wire: 24 of overhead and 16 inside; no IP packet is as short (dco-behaviour 1.3).
const KEEPALIVE: usize = 40;

/// A relay between clients and one server.
pub(crate) struct Datagrams {
    listener: UdpSocket,
    server: SocketAddr,
    clients: Vec<Client>,
    weather: Weather,
    lanes: [Lane; 2],
    queue: BinaryHeap<Reverse<Pending>>,
    next_number: u64,
}

/// A client, and the socket that represents it towards the server.
struct Client {
    address: SocketAddr,
    upstream: UdpSocket,
}

/// One direction.
struct Lane {
    dice: Dice,
    counters: Direction,
    /// Keepalives of which a copy was relayed unharmed.
    delivered: HashSet<u64>,
}

/// Index of the lane from clients to the server.
const UP: usize = 0;
const DOWN: usize = 1;

/// A datagram that waits in the relay; ordered by due time, then by arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    due: Instant,
    number: u64,
    lane: usize,
    client: usize,
    bytes: Vec<u8>,
    /// The number of this keepalive, if it is an unharmed one.
    keepalive: Option<u64>,
    is_harmed: bool,
}

impl Datagrams {
    /// Listens at `listen` and relays to `server`.
    pub(crate) fn new(listen: SocketAddr, server: SocketAddr, seed: u64) -> Result<Self> {
        let lane = |stream| Lane {
            dice: Dice::new(seed, stream),
            counters: Direction::default(),
            delivered: HashSet::new(),
        };
        Ok(Self {
            listener: socket(listen).with_context(|| format!("cannot listen at {listen}"))?,
            server,
            clients: Vec::new(),
            weather: Weather::CALM,
            lanes: [lane(1), lane(2)],
            queue: BinaryHeap::new(),
            next_number: 0,
        })
    }

    /// Changes the weather from now on.
    pub(crate) fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// The sockets to poll.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        let upstream = self.clients.iter().map(|client| &client.upstream);
        std::iter::once(&self.listener).chain(upstream)
    }

    /// How long until the next datagram is due.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let Reverse(first) = self.queue.peek()?;
        Some(first.due.saturating_duration_since(Instant::now()))
    }

    /// Adds the counters to `tally`.
    pub(crate) fn report(&self, tally: &mut Tally) {
        tally.up = self.lanes[UP].counters;
        tally.down = self.lanes[DOWN].counters;
        tally.waiting = self.queue.len() as u64;
    }

    /// Receives new datagrams, and sends those that are due.
    pub(crate) fn run(&mut self) -> Result<()> {
        let mut buffer = vec![0; 65_536];
        // Each socket gets its turn; the rest waits for the next round.
        for _ in 0..64 {
            match self.listener.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let client = self.client(from)?;
                    self.take(UP, client, &buffer[..length]);
                }
                Err(error) if is_passing(&error) => break,
                Err(error) => return Err(error.into()),
            }
        }
        for client in 0..self.clients.len() {
            for _ in 0..64 {
                match self.clients[client].upstream.recv(&mut buffer) {
                    Ok(length) => self.take(DOWN, client, &buffer[..length]),
                    Err(error) if is_passing(&error) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.send_due();
        Ok(())
    }

    fn client(&mut self, address: SocketAddr) -> Result<usize> {
        let known = self
            .clients
            .iter()
            .position(|known| known.address == address);
        if let Some(known) = known {
            return Ok(known);
        }
        let any = match self.server {
            SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
            SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
        };
        let upstream = socket(any)?;
        upstream.connect(self.server)?;
        self.clients.push(Client { address, upstream });
        Ok(self.clients.len() - 1)
    }

    /// Decides a datagram's fate. Draws the same number of random numbers for each data packet, whatever the weather.
    fn take(&mut self, lane: usize, client: usize, datagram: &[u8]) {
        let weather = self.weather;
        let Lane { dice, counters, .. } = &mut self.lanes[lane];
        let is_data = is_data(datagram);
        let is_keepalive = is_data && datagram.len() == KEEPALIVE;
        counters.keepalives_in += u64::from(is_keepalive);
        let keepalive = is_keepalive.then_some(counters.keepalives_in);
        if is_data {
            counters.data_in += 1;
        } else {
            counters.other_in += 1;
        }
        if weather.cut {
            counters.cut += 1;
            return;
        }
        let now = Instant::now();
        if !is_data && !weather.hit_control {
            self.post(now, lane, client, datagram.to_vec(), None, false);
            return;
        }
        let is_lost = dice.hits(weather.loss);
        let is_double = dice.hits(weather.duplicate);
        let fates = [(); 2].map(|()| Fate::draw(dice, &weather, datagram.len()));
        if is_lost {
            counters.lost += 1;
            return;
        }
        counters.duplicated += u64::from(is_double);
        for fate in fates.iter().take(1 + usize::from(is_double)) {
            self.lanes[lane].counters.held += u64::from(fate.is_held);
            let mut bytes = datagram.to_vec();
            if let Some(bit) = fate.flipped
                && let Some(byte) = bytes.get_mut(bit / 8)
            {
                *byte ^= 1 << (bit % 8);
            }
            let is_harmed = fate.flipped.is_some();
            self.post(now + fate.delay, lane, client, bytes, keepalive, is_harmed);
        }
    }

    fn post(
        &mut self,
        due: Instant,
        lane: usize,
        client: usize,
        bytes: Vec<u8>,
        keepalive: Option<u64>,
        is_harmed: bool,
    ) {
        let number = self.next_number;
        self.next_number += 1;
        self.queue.push(Reverse(Pending {
            due,
            number,
            lane,
            client,
            bytes,
            keepalive: keepalive.filter(|_| !is_harmed),
            is_harmed,
        }));
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        while let Some(Reverse(first)) = self.queue.peek()
            && first.due <= now
        {
            let Some(Reverse(pending)) = self.queue.pop() else {
                return;
            };
            let client = &self.clients[pending.client];
            let sent = match pending.lane {
                UP => retry(|| client.upstream.send(&pending.bytes)),
                _ => retry(|| self.listener.send_to(&pending.bytes, client.address)),
            };
            self.lanes[pending.lane].count_relayed(&pending, sent.is_ok());
        }
    }
}

impl Lane {
    fn count_relayed(&mut self, pending: &Pending, was_sent: bool) {
        let counters = &mut self.counters;
        if !was_sent {
            counters.refused += 1;
            return;
        }
        counters.corrupted += u64::from(pending.is_harmed);
        match pending.bytes.first().map(|first| first >> 3) {
            Some(9) => counters.data_out += 1,
            Some(6) => counters.data_v1_out += 1,
            _ => counters.other_out += 1,
        }
        if let Some(keepalive) = pending.keepalive
            && self.delivered.insert(keepalive)
        {
            counters.keepalives_out += 1;
        }
    }
}

/// The fate of one copy.
struct Fate {
    delay: Duration,
    is_held: bool,
    flipped: Option<usize>,
}

impl Fate {
    fn draw(dice: &mut Dice, weather: &Weather, length: usize) -> Self {
        let jitter = dice.up_to(weather.jitter_us);
        let is_held = dice.hits(weather.reorder);
        let held = dice.up_to(weather.reorder_us);
        let is_flipped = dice.hits(weather.corrupt);
        let bit = dice.up_to((length as u64 * 8).saturating_sub(1));
        let held = if is_held { held } else { 0 };
        Self {
            delay: Duration::from_micros(weather.delay_us + jitter + held),
            is_held,
            flipped: is_flipped.then_some(bit as usize),
        }
    }
}

fn socket(address: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, BUFFER)?;
    }
    Ok(socket)
}

/// An error caused by an earlier datagram (the other end is not up yet) only delays the next call.
fn retry(mut send: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    send().or_else(|_| send())
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, Interrupted, WouldBlock};
    matches!(
        error.kind(),
        WouldBlock | ConnectionRefused | HostUnreachable | Interrupted
    )
}

#[cfg(test)]
mod tests;
