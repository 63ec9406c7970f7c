//! A server's device with thousands of peers, made by the command line, and one process that is all of its peers.
//!
//! No OpenVPN takes part, so the peers are as many as the device can have. Each has a VPN address and an outer address
//! of its own; all share one socket, which sends from any address of a network that is local there, and one pair of
//! keys. What gets through is told by the engine's counters: whatever arrives is discarded by the kernel.

mod generator;
mod plan;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub(crate) use self::generator::{echo, send_down, send_up};
use self::plan::{DISCARDED, OUTER_NETWORK, PORT, SERVER_OUTER, SERVER_VPN};
use crate::host::Host;
use crate::lab::Lab;
use crate::measure::{RoundTrips, Work};
use crate::process::Process;
use crate::procfs::Proc;
use crate::udco;

/// The device.
const DEVICE: &str = "tun0";

/// Long enough for 10,000 keys on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server's device, and its peers.
#[derive(Debug)]
pub struct BusyPeers {
    /// The program that has the command of a [`crate::LabEnd`].
    lab_end: String,
    peers: u32,
    /// How often the peers were started: their packet ids go on.
    runs: Cell<u32>,
    server: Host,
    clients: Host,
    _daemon: Process,
    _holder: Process,
    lab: Lab,
}

/// Peers that take part: ids from `first` on.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Peers {
    /// The first id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl Peers {
    fn ids(self) -> impl Iterator<Item = u32> + Clone {
        self.first..self.first + self.count
    }
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the peers to the server's device.
    Up,
    /// From the server's device to the peers.
    Down,
}

/// What each of them carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::Args)]
pub struct Load {
    /// Bytes of each packet inside.
    pub size: u32,
    /// Packets in a row, before another peer has its turn: 1 is the worst case, and a TCP stream's super-packet 40.
    pub row: u32,
    /// How long it lasts.
    pub milliseconds: u64,
}

impl Load {
    fn duration(self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }

    /// Each of `all` as often as packets go in a row, again and again.
    fn turns<T: Copy>(self, all: impl Iterator<Item = T> + Clone) -> impl Iterator<Item = T> {
        all.flat_map(move |one| (0..self.row).map(move |_| one))
            .cycle()
    }
}

/// What has come through.
#[derive(Clone, Copy, Debug)]
pub struct Carried {
    /// Packets a second, all peers together.
    pub rate: f64,
    /// Seconds of the engine's processor time for a million packets.
    pub cost: f64,
    /// Jain's index of the peers' shares: 1 if all are equal, 1/n if one has all.
    pub fairness: f64,
}

impl BusyPeers {
    /// Makes a device with peers 1 to `peers` and one more, which has a port of its own; `engine` is the udco to
    /// measure, `lab_end` the program that has the command of a [`crate::LabEnd`].
    ///
    /// # Errors
    /// If a command fails.
    pub fn new(engine: &str, lab_end: &str, peers: u32) -> Result<Self> {
        ensure!((1..=60_000).contains(&peers), "{peers} peers");
        let lab = Lab::new()?;
        let (server, clients) = (lab.host("server")?, lab.host("clients")?);
        let outer = |address| format!("{address}/24");
        lab.link(
            &server,
            &[&outer(SERVER_OUTER)],
            &clients,
            &[&outer(plan::CLIENTS_OUTER)],
        )?;
        server.add_route(&[OUTER_NETWORK, "via", &plan::CLIENTS_OUTER.to_string()])?;
        // The clients' socket may then send from each address of it, and receives for each.
        clients.add_route(&["local", OUTER_NETWORK, "dev", "lo"])?;
        server.add_route(&["blackhole", &format!("{DISCARDED}/32")])?;
        let mut daemon = server.spawn("daemon", &[engine, "daemon"])?;
        daemon.wait_for_log("listening at", PATIENCE)?;
        server.run(&[engine, "link", "add", DEVICE, "--mode", "mp", "--up"])?;
        server.add_address(DEVICE, &format!("{SERVER_VPN}/16"))?;
        let holder = hold(&lab, &server, engine, peers + 1)?;
        install_keys(&lab, &server, engine, peers + 1)?;
        Ok(Self {
            lab_end: lab_end.to_owned(),
            peers,
            runs: Cell::new(0),
            server,
            clients,
            _daemon: daemon,
            _holder: holder,
            lab,
        })
    }

    /// The peer that has a port of its own.
    pub fn heavy(&self) -> Peers {
        Peers {
            first: self.peers + 1,
            count: 1,
        }
    }

    /// Peers 1 to `count`.
    pub fn first(count: u32) -> Peers {
        Peers { first: 1, count }
    }

    /// These peers are busy at once.
    ///
    /// # Errors
    /// If an end fails.
    pub fn carry(&self, way: Way, peers: Peers, load: Load) -> Result<Carried> {
        let engine = [self.engine()?];
        let (before, work) = (self.counters(way)?, Work::read(&engine)?);
        let host = match way {
            Way::Up => &self.clients,
            Way::Down => &self.server,
        };
        let words = self.words(way, peers, load);
        host.run(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let work = Work::read(&engine)?.since(work);
        let after = self.counters(way)?;
        let shares: Vec<u64> = peers.ids().map(|id| after[&id] - before[&id]).collect();
        let packets = shares.iter().sum::<u64>() as f64;
        ensure!(packets > 0.0, "nothing has come through");
        Ok(Carried {
            rate: packets / load.duration().as_secs_f64(),
            cost: work.time.as_secs_f64() / packets * 1e6,
            fairness: jain(&shares),
        })
    }

    /// Peers send echo requests in turns, a millisecond apart, each when the one before is answered.
    ///
    /// # Errors
    /// If an end fails.
    pub fn echo(&self, peers: Peers, requests: u32) -> Result<RoundTrips> {
        let words = [
            &self.lab_end,
            "lab-end",
            "peers-echo",
            &self.next_run().to_string(),
            &peers.first.to_string(),
            &peers.count.to_string(),
            &requests.to_string(),
        ];
        let printed = self.clients.run(&words)?;
        serde_json::from_str(&printed).with_context(|| printed.clone())
    }

    /// The same while the heavy peer sends as much as it can.
    ///
    /// # Errors
    /// If an end fails.
    pub fn echo_beside_heavy(&self, peers: Peers, requests: u32, load: Load) -> Result<RoundTrips> {
        let words = self.words(Way::Up, self.heavy(), load);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let mut heavy = self.clients.spawn("heavy", &words)?;
        let round_trips = self.echo(peers, requests);
        ensure!(heavy.is_alive(), "the heavy peer: {}", heavy.log());
        heavy.signal(crate::Signal::KILL)?;
        heavy.wait(PATIENCE)?;
        round_trips
    }

    /// Call it once all is measured: does not print the logs at the end.
    pub fn discard_logs(&self) {
        self.lab.discard_logs();
    }

    fn next_run(&self) -> u32 {
        self.runs.replace(self.runs.get() + 1)
    }

    fn words(&self, way: Way, peers: Peers, load: Load) -> Vec<String> {
        let end = match way {
            Way::Up => "peers-up",
            Way::Down => "peers-down",
        };
        let port = if peers.first > self.peers {
            PORT + 1
        } else {
            PORT
        };
        let mut words = vec![self.lab_end.clone(), "lab-end".to_owned(), end.to_owned()];
        if way == Way::Up {
            words.extend([self.next_run().to_string(), port.to_string()]);
        }
        words.extend([
            peers.first.to_string(),
            peers.count.to_string(),
            load.size.to_string(),
            load.row.to_string(),
            load.milliseconds.to_string(),
        ]);
        words
    }

    fn engine(&self) -> Result<Proc> {
        let processes = self.lab.processes()?.into_iter();
        let mut daemons = processes.filter(|process| process.command.contains("udco daemon"));
        daemons.next().context("the daemon has ended")
    }

    /// Packets that each peer's tunnel has carried so far.
    fn counters(&self, way: Way) -> Result<BTreeMap<u32, u64>> {
        let shown = udco::show(&self.server)?;
        let counters = shown.peers().map(|peer| {
            let packets = match way {
                Way::Up => peer.vpn.rx_packets,
                Way::Down => peer.vpn.tx_packets,
            };
            (peer.id, packets)
        });
        let counters: BTreeMap<_, _> = counters.collect();
        ensure!(counters.len() > self.peers as usize, "peers have gone");
        Ok(counters)
    }
}

/// The process that holds all peers' socket.
fn hold(lab: &Lab, server: &Host, engine: &str, peers: u32) -> Result<Process> {
    let mut lines = String::new();
    for id in 1..=peers {
        let port = if id == peers { PORT + 1 } else { PORT };
        let (outer, vpn) = (plan::outer(id), plan::vpn(id));
        writeln!(lines, "{id} - {outer}:{port} {vpn}")?;
    }
    let file = lab.file("peers")?;
    fs::write(&file, lines)?;
    let local = format!("0.0.0.0:{PORT}");
    let words = ["--json", "--local", &local, "--peers", &file];
    let words = [&[engine, "peer", "new", DEVICE], words.as_slice()].concat();
    let mut holder = server.spawn("holder", &words)?;
    holder.wait_for_log("\"peers\":[", PATIENCE)?;
    Ok(holder)
}

/// Each peer has the same keys, which does no harm here.
fn install_keys(lab: &Lab, server: &Host, engine: &str, peers: u32) -> Result<()> {
    let file = lab.file("keys")?;
    fs::write(&file, plan::key_file())?;
    let script = format!(
        "seq {peers} | xargs -P2 -I@ {engine} key new {DEVICE} --peer @ --slot primary --key-id 0 \
         --cipher aes-gcm --file {file}"
    );
    server.run(&["sh", "-c", &script]).map(drop)
}

/// Jain's fairness index.
fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    sum * sum / (squares * shares.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_is_between_one_for_all_and_one_by_n() {
        assert!((jain(&[7, 7, 7]) - 1.0).abs() < 1e-9);
        assert!((jain(&[9, 0, 0]) - 1.0 / 3.0).abs() < 1e-9);
        assert!((jain(&[1, 3]) - 0.8).abs() < 1e-9);
    }
}
