//! The world of a run: its nodes, the network between them, a clock that only the run moves, and what is to come.

mod balance;
mod network;
mod peers;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

pub use network::Link;
use udco_engine::embed::{LINGERING, TICK};
use udco_engine::io::Moment;

use crate::Failure;
use crate::fault::Fault;
use crate::inner::{Fate, Ledger};
use crate::node::{Node, SERVER, Shape, inner};
use crate::rng::Rng;
use crate::trace::Trace;
use crate::udp::{Arrival, Departure};
use crate::weather::{STEP, Weather, Wire};

/// When a run begins, in nanoseconds.
pub const BEGIN: u64 = 10_000_000_000;

/// A millisecond, in nanoseconds.
pub const MS: u64 = 1_000_000;

/// How often waiting packets are tried again.
const RETRY: u64 = 100 * MS;

/// Turns in a row after which an engine never comes to rest.
const MOST_TURNS: usize = 10_000;

/// A world.
pub struct World {
    /// All randomness of the run.
    pub rng: Rng,
    /// The server first.
    pub nodes: Vec<Node>,
    /// TCP connections.
    pub links: Vec<Link>,
    /// What the network does to datagrams.
    pub weather: Weather,
    /// What it has done.
    pub wire: Wire,
    /// Inner packets.
    pub ledger: Ledger,
    /// Control packets that reached an OpenVPN.
    pub relayed: u64,
    /// What has happened.
    pub trace: Trace,
    /// A bug that is to be found.
    pub fault: Fault,
    /// Nodes that nothing reaches or leaves.
    pub cut_off: Vec<usize>,
    /// Where datagrams go instead of to the network, with their sources, if anywhere.
    pub captured: Option<Vec<(SocketAddr, Departure)>>,
    now: u64,
    coming: BinaryHeap<Reverse<Coming>>,
    order: u64,
    /// When a datagram last arrives at each node, if none overtakes another.
    latest: Vec<u64>,
    stirred: Vec<bool>,
}

struct Coming {
    at: u64,
    order: u64,
    what: What,
}

enum What {
    Datagram {
        to: SocketAddr,
        arrival: Arrival,
    },
    Packet {
        node: usize,
        queue: usize,
        bytes: Vec<u8>,
    },
    Tick(usize),
    Retry(usize),
    Pump {
        link: usize,
        end: usize,
    },
}

impl World {
    /// A server of this shape and its clients, without keys.
    ///
    /// # Errors
    /// Of the engine.
    pub fn new(mut rng: Rng, shapes: &[Shape]) -> Result<Self, Failure> {
        let now = Moment::from_nanos(BEGIN);
        let nodes = shapes
            .iter()
            .enumerate()
            .map(|(number, shape)| Node::new(number, *shape, rng.next(), now))
            .collect::<Result<Vec<_>, _>>()?;
        let count = nodes.len();
        let mut world = Self {
            rng,
            nodes,
            links: Vec::new(),
            weather: Weather::fair(),
            wire: Wire::default(),
            ledger: Ledger::default(),
            relayed: 0,
            trace: Trace::default(),
            fault: Fault::None,
            cut_off: Vec::new(),
            captured: None,
            now: BEGIN,
            coming: BinaryHeap::new(),
            order: 0,
            latest: vec![0; count],
            stirred: vec![true; count],
        };
        for node in 0..count {
            let phase = world.rng.within(0, TICK.as_nanos() as u64 / STEP) * STEP;
            world.schedule(BEGIN + phase, What::Tick(node));
            world.schedule(BEGIN + RETRY, What::Retry(node));
        }
        Ok(world)
    }

    /// Nanoseconds since some origin.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// The same, as the engine has it.
    #[must_use]
    pub const fn moment(&self) -> Moment {
        Moment::from_nanos(self.now)
    }

    /// The host of `from` sends a packet to the host of `to` at this time, through this queue of its device.
    pub fn send(&mut self, at: u64, (from, to): (usize, usize), len: usize, queue: usize) {
        let bytes = self.ledger.packet(
            (inner(from), inner(to)),
            len,
            Fate::For(arrives_at(to, from)),
        );
        self.inject(at, from, queue, bytes);
    }

    /// The same with bytes that the ledger has made.
    pub fn inject(&mut self, at: u64, node: usize, queue: usize, bytes: Vec<u8>) {
        self.schedule(at, What::Packet { node, queue, bytes });
    }

    /// A datagram arrives at an address at this time, as if the network had brought it.
    pub fn deliver(&mut self, at: u64, to: SocketAddr, arrival: Arrival) {
        self.wire.forged += 1;
        self.schedule(at, What::Datagram { to, arrival });
    }

    /// Something has happened at a node that the world does not know of.
    pub fn stir(&mut self, node: usize) {
        self.stirred[node] = true;
    }

    fn schedule(&mut self, at: u64, what: What) {
        self.order += 1;
        let at = at.div_ceil(STEP) * STEP;
        let order = self.order;
        self.coming.push(Reverse(Coming { at, order, what }));
    }

    /// Lets time pass. What happens within one step comes to the engines as a batch.
    ///
    /// # Errors
    /// What has gone wrong meanwhile.
    pub fn run_until(&mut self, end: u64) -> Result<(), Failure> {
        self.run_until_idle()?;
        while let Some(Reverse(next)) = self.coming.peek()
            && next.at <= end
        {
            self.now = self.now.max(next.at);
            while let Some(Reverse(next)) = self.coming.peek()
                && next.at <= self.now
                && let Some(Reverse(next)) = self.coming.pop()
            {
                self.happen(next.what);
            }
            self.run_until_idle()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    /// Runs on for so many milliseconds.
    ///
    /// # Errors
    /// What has gone wrong meanwhile.
    pub fn run_for(&mut self, milliseconds: u64) -> Result<(), Failure> {
        self.run_until(self.now + milliseconds * MS)
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Datagram { to, arrival } => {
                self.trace.add(1, self.now, &arrival.bytes);
                let node = self.nodes.iter().position(|node| node.public == to);
                match node.filter(|node| self.nodes[*node].socket.push(arrival)) {
                    Some(node) => {
                        self.wire.arrived += 1;
                        self.stirred[node] = true;
                    }
                    None => self.wire.lost += 1,
                }
            }
            What::Packet { node, queue, bytes } => {
                self.trace.add(2, self.now, &bytes);
                self.nodes[node].queues.push(queue, bytes);
                self.stirred[node] = true;
            }
            What::Tick(node) => {
                let now = self.moment().time();
                let lingers = self.nodes[node].path.tick(now);
                let after = if lingers { LINGERING } else { TICK };
                self.nodes[node].path.follow_moves(now);
                self.schedule(self.now + after.as_nanos() as u64, What::Tick(node));
                self.stirred[node] = true;
            }
            What::Retry(node) => {
                let now = self.moment();
                if self.nodes[node].path.timeout(now).is_some() {
                    self.nodes[node].path.retry(now);
                    self.stirred[node] = true;
                }
                self.schedule(self.now + RETRY, What::Retry(node));
            }
            What::Pump { link, end } => self.pump(link, end),
        }
    }

    /// Runs the engines that have something to do, until all of them rest.
    fn run_until_idle(&mut self) -> Result<(), Failure> {
        for node in 0..self.nodes.len() {
            if !std::mem::take(&mut self.stirred[node]) {
                continue;
            }
            let now = self.moment();
            let mut turns = 0;
            while self.nodes[node].path.turn(now)? > 0 {
                turns += 1;
                if turns > MOST_TURNS {
                    return Err(Failure::new(format!("node {node} never rests")));
                }
            }
            if self.rng.chance(300) {
                self.nodes[node].path.follow_moves(now.time());
            }
            self.collect(node)?;
        }
        Ok(())
    }

    /// Takes what an engine has given to its host, its OpenVPN, the API's listeners and the network.
    fn collect(&mut self, number: usize) -> Result<(), Failure> {
        let now = self.moment();
        let node = &mut self.nodes[number];
        let notified = node.path.take_notifications();
        node.notified
            .extend(notified.into_iter().map(|event| (now, event)));
        let relayed = node.relays.iter().map(|relay| relay.take().len() as u64);
        self.relayed += relayed.sum::<u64>();
        for written in node.queues.take_written() {
            self.trace.add(4, self.now, &written);
            for written in self.fault.on_delivery(written, &mut self.rng) {
                self.ledger.receive(number, &written)?;
            }
        }
        let source = node.public;
        for departure in node.socket.take_departed() {
            self.wire.sent += 1;
            let to = departure.destination;
            let is_cut_off = |node: &usize| {
                let node = &self.nodes[*node];
                node.public == source || node.public == to
            };
            if let Some(captured) = &mut self.captured {
                captured.push((source, departure));
            } else if self.cut_off.iter().any(is_cut_off) {
                self.wire.lost += 1;
            } else {
                self.forward(source, to, departure.bytes);
            }
        }
        self.start_pumps();
        Ok(())
    }
}

/// At which node a packet arrives: the server's host forwards between clients, and clients have no other way.
const fn arrives_at(to: usize, from: usize) -> usize {
    match from {
        SERVER => to,
        _ => SERVER,
    }
}

impl PartialEq for Coming {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Coming {}

impl PartialOrd for Coming {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Coming {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
