//! Keeps the path MTU of each peer, as the kernel knows it for the route to the peer's remote address (design decision 6).
//!
//! A path is queried when a peer comes or moves, again when links, addresses or routes change, and every ten seconds, since
//! the kernel does not announce what it learns from ICMP. The kernel validates ICMP; no packet from the network sets an MTU
//! here. Peers behind one address share a query, and queries go out a few at a time, so that 100,000 peers delay nothing
//! else. Nor do they take memory: a round handles a limited number of peers at a time.
//!
//! Queries go out in the device's network namespace. If the transport socket is in another one, its routes are not seen,
//! and the path MTU remains the assumed one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use udco_core::PeerId;
use udco_netlink::path::{FIRST_QUERY, Path, Report, link_query, path_query};
use udco_sys::route::Monitor;

use crate::device::Device;
use crate::device::peer::Peer;
use crate::device::state::MAX_UNMEASURED;

/// How often all paths are queried.
const ROUND: Duration = Duration::from_secs(10);

/// The least time between two rounds, whatever the kernel reports.
const PAUSE: Duration = Duration::from_secs(1);

/// Peers of a round handled at a time: their paths are forgotten before the next ones, so memory does not grow with their
/// number.
const PART: usize = 1024;

/// Queries at a time: their answers fit the monitor's buffer beside a burst of other reports.
const STEP: usize = 64;

/// The least time between two steps; with [`STEP`] this bounds the cost of queries.
const STEP_PAUSE: Duration = Duration::from_millis(50);

/// Takes the queries. Answers come back as [`Report`].
pub(crate) trait Kernel {
    /// Sends one query.
    ///
    /// # Errors
    /// If it cannot be sent now; the next round sends it again.
    fn ask(&self, question: &[u8]) -> io::Result<()>;
}

impl Kernel for Monitor {
    fn ask(&self, question: &[u8]) -> io::Result<()> {
        self.send(question)
    }
}

/// The known paths to one device's peers.
pub(crate) struct Paths {
    /// Paths of the peers whose turn it is, and of those that have come or moved since.
    known: HashMap<Path, Known>,
    /// By index of the device; `None` while it is being queried.
    links: HashMap<u32, Option<Link>>,
    to_ask: VecDeque<Path>,
    /// Queries without an answer yet, by number.
    asked: HashMap<u32, Question>,
    next_question: u32,
    /// Peers whose path was unknown when they came or moved.
    waiting: Vec<PeerId>,
    /// A round is under way.
    in_round: bool,
    /// Peers whose turn it is in the round: their MTUs are set once all of them have been queried.
    part: Vec<PeerId>,
    /// How many parts the round has: a peer is in the part numbered by the remainder of its id.
    parts: u32,
    /// The parts still to come.
    to_come: Range<u32>,
    /// Something may have changed any path.
    is_stale: bool,
    last_round: Option<Instant>,
    last_step: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It waits to be queried, or for the answer.
    Asked,
    /// The kernel has no such path.
    Nothing,
    /// It leaves through this device, with an MTU of its own or that of the device.
    Via { mtu: Option<u32>, ifindex: u32 },
}

#[derive(Clone, Copy)]
struct Link {
    mtu: u32,
    mtu6: u32,
}

enum Question {
    Path { path: Path, with_local: bool },
    Link(u32),
}

impl Paths {
    pub(crate) fn new() -> Self {
        Self {
            known: HashMap::new(),
            links: HashMap::new(),
            to_ask: VecDeque::new(),
            asked: HashMap::new(),
            next_question: FIRST_QUERY,
            waiting: Vec::new(),
            in_round: false,
            part: Vec::new(),
            parts: 1,
            to_come: 0..0,
            is_stale: false,
            last_round: None,
            last_step: None,
        }
    }

    /// Links, addresses or routes have changed, or reports of the kernel were lost.
    pub(crate) fn doubt(&mut self) {
        self.is_stale = true;
    }

    /// Sends the queries that are due. Returns when to call it again.
    pub(crate) fn tick(&mut self, device: &Device, kernel: &impl Kernel, now: Instant) -> Duration {
        self.take_new(device);
        self.is_stale |= device.take_doubt();
        let since_round = self.last_round.map(|last| now.duration_since(last));
        let is_due =
            since_round.is_none_or(|since| since >= ROUND || self.is_stale && since >= PAUSE);
        let since_step = self.last_step.map(|last| now.duration_since(last));
        if since_step.is_some_and(|since| since >= PAUSE) {
            self.forget_unanswered();
        }
        // A round forgets known paths: first apply them to the peers that wait for them.
        self.apply(device);
        if is_due && !self.in_round && self.to_ask.is_empty() && self.asked.is_empty() {
            self.begin_round(device, now);
        }
        if !self.to_ask.is_empty() && since_step.is_none_or(|since| since >= STEP_PAUSE) {
            self.last_step = Some(now);
            self.forget_unanswered();
            for _ in 0..STEP {
                let Some(path) = self.to_ask.pop_front() else {
                    break;
                };
                self.ask_path(kernel, path, true);
            }
        }
        self.apply(device);
        if self.to_ask.is_empty() && self.to_come.is_empty() {
            PAUSE
        } else {
            STEP_PAUSE
        }
    }

    /// Takes a report of the kernel; [`Self::apply`] follows.
    pub(crate) fn take_in(&mut self, kernel: &impl Kernel, report: Report) {
        match report {
            Report::Path {
                question,
                mtu,
                ifindex,
            } => {
                let Some(Question::Path { path, .. }) = self.asked.remove(&question) else {
                    return;
                };
                self.known.insert(path, Known::Via { mtu, ifindex });
                if let Entry::Vacant(link) = self.links.entry(ifindex) {
                    link.insert(None);
                    let request = link_query(ifindex, self.next_question);
                    self.ask(kernel, &request, Question::Link(ifindex));
                }
            }
            Report::Nothing { question } => match self.asked.remove(&question) {
                // The local address may have gone: then packets leave without it (promises D8).
                Some(Question::Path {
                    path,
                    with_local: true,
                }) if path.local.is_some() => self.ask_path(kernel, path, false),
                Some(Question::Path { path, .. }) => {
                    self.known.insert(path, Known::Nothing);
                }
                Some(Question::Link(ifindex)) => {
                    self.links.remove(&ifindex);
                }
                None => {}
            },
            Report::Link { ifindex, mtu, mtu6 } => {
                self.asked
                    .retain(|_, asked| !matches!(asked, Question::Link(link) if *link == ifindex));
                // Ignore a link through which no path leaves.
                if let Some(link) = self.links.get_mut(&ifindex) {
                    let mtu6 = mtu6.unwrap_or(mtu).min(mtu);
                    *link = Some(Link { mtu, mtu6 });
                }
            }
        }
    }

    /// Applies the known paths to the peers.
    pub(crate) fn apply(&mut self, device: &Device) {
        if !self.asked.is_empty() {
            return;
        }
        let snapshot = device.snapshot();
        while self.in_round && self.to_ask.is_empty() {
            let (part, waiting) = (
                std::mem::take(&mut self.part),
                std::mem::take(&mut self.waiting),
            );
            for id in part.iter().chain(&waiting) {
                if let Some(peer) = snapshot.peers.by_id(*id) {
                    self.set(device, peer);
                }
            }
            self.in_round = self.begin_part(device);
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|id| {
            let peer = snapshot.peers.by_id(*id);
            peer.is_some_and(|peer| !self.set(device, peer))
        });
        self.waiting = waiting;
    }

    /// Takes the peers that are new or have moved.
    fn take_new(&mut self, device: &Device) {
        let new = device.take_unmeasured();
        if new.is_empty() {
            return;
        }
        let snapshot = device.snapshot();
        self.is_stale |= new.len() >= MAX_UNMEASURED;
        for id in new {
            if self.waiting.len() >= PART || self.known.len() >= 3 * PART {
                // A crowd: the rest gets its turn in the next round.
                self.is_stale = true;
                break;
            }
            let Some(path) = snapshot
                .peers
                .by_id(id)
                .and_then(|peer| path_of(device, peer))
            else {
                continue;
            };
            if let Entry::Vacant(known) = self.known.entry(path) {
                known.insert(Known::Asked);
                // Before those that are only due again.
                self.to_ask.push_front(path);
            }
            self.waiting.push(id);
        }
    }

    fn begin_round(&mut self, device: &Device, now: Instant) {
        self.last_round = Some(now);
        self.is_stale = false;
        self.links.clear();
        self.known.clear();
        let parts = device.snapshot().peers.len().div_ceil(PART).max(1);
        self.parts = u32::try_from(parts).unwrap_or(u32::MAX);
        self.to_come = 0..self.parts;
        self.in_round = self.begin_part(device);
    }

    /// Moves on to the next peers; `false` if all have had their turn.
    fn begin_part(&mut self, device: &Device) -> bool {
        if self.known.len() > PART {
            self.known.clear();
        }
        let Some(turn) = self.to_come.next() else {
            return false;
        };
        let snapshot = device.snapshot();
        let ids = snapshot.peers.ids();
        self.part
            .extend(ids.filter(|id| id.value() % self.parts == turn));
        for peer in self.part.iter().filter_map(|id| snapshot.peers.by_id(*id)) {
            if let Some(path) = path_of(device, peer)
                && let Entry::Vacant(known) = self.known.entry(path)
            {
                known.insert(Known::Asked);
                self.to_ask.push_back(path);
            }
        }
        true
    }

    /// Forgets queries without an answer, since the kernel answers at once: a path is queried again in the next round, a link
    /// as soon as the next path leaves through it.
    fn forget_unanswered(&mut self) {
        self.asked.clear();
        self.links.retain(|_, link| link.is_some());
    }

    fn ask_path(&mut self, kernel: &impl Kernel, path: Path, with_local: bool) {
        let named = Path {
            local: path.local.filter(|_| with_local),
            ..path
        };
        let request = path_query(&named, self.next_question);
        self.ask(kernel, &request, Question::Path { path, with_local });
    }

    fn ask(&mut self, kernel: &impl Kernel, request: &[u8], question: Question) {
        if kernel.ask(request).is_ok() {
            self.asked.insert(self.next_question, question);
        }
        self.next_question = self.next_question.checked_add(1).unwrap_or(FIRST_QUERY);
    }

    /// Sets a peer's path MTU; `false` if it has to wait.
    fn set(&self, device: &Device, peer: &Peer) -> bool {
        let Some(path) = path_of(device, peer) else {
            return true;
        };
        let is_v6 = path.remote.is_ipv6();
        let known = match self.known.get(&path) {
            Some(Known::Via { mtu, ifindex }) => match self.links.get(ifindex) {
                Some(Some(link)) => {
                    let of_link = if is_v6 { link.mtu6 } else { link.mtu };
                    // A route may claim more than its device can do.
                    Some(mtu.map_or(of_link, |mtu| mtu.min(of_link)))
                }
                // Better the previous value than half an answer.
                Some(None) | None => return false,
            },
            Some(Known::Nothing) => None,
            Some(Known::Asked) | None => return false,
        };
        let before = peer.activity.path_mtu.bytes();
        peer.activity.path_mtu.set(known, is_v6);
        let after = peer.activity.path_mtu.bytes();
        if before != after {
            tracing::debug!(
                device = device.interface.name,
                peer = peer.id.value(),
                "{}: peer {}: path MTU {after}",
                device.interface.name,
                peer.id
            );
        }
        true
    }
}

/// The path to a peer, if it can be queried.
fn path_of(device: &Device, peer: &Peer) -> Option<Path> {
    let endpoint = peer.endpoint()?;
    let is_here = peer.transport.netns.is(device.interface.netns);
    let scope = match endpoint.remote {
        std::net::SocketAddr::V6(remote) => remote.scope_id(),
        std::net::SocketAddr::V4(_) => 0,
    };
    // As for a packet, the address's own scope takes precedence over the socket's device.
    let ifindex = if scope == 0 {
        peer.transport.bound_to
    } else {
        scope
    };
    is_here.then_some(Path {
        remote: endpoint.remote.ip(),
        local: endpoint.local,
        ifindex,
        mark: peer.transport.mark,
    })
}

#[cfg(test)]
mod tests;
