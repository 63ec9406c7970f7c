//! A server's device with thousands of peers, made by the command line, and one process that is all of its peers.
//!
//! No OpenVPN takes part, so the peers are as many as the device can have. All share one pair of keys. Over UDP each has
//! an outer address of its own, and they share one socket, which sends from any address of a network that is local there;
//! over TCP each has a connection. The engine's counters show what gets through; whatever arrives is discarded.

mod generator;
mod load;
mod plan;
mod sender;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use udco_sys::process::raise_open_files;

use self::generator::Order;
pub(crate) use self::generator::{obey, send_down};
pub use self::load::{Load, Peers, Way};
use self::plan::PORT;
use crate::agent::Agent;
use crate::host::Host;
use crate::lab::Lab;
use crate::measure::{RoundTrips, Work, begin_without_pacing};
use crate::process::Process;
use crate::procfs::Proc;
use crate::scenario::Variant;
use crate::udco;
use crate::wait::eventually;

/// The device.
const DEVICE: &str = "tun0";

/// Long enough for 10,000 keys on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Packets of each peer, by its id.
type Counters = BTreeMap<u32, u64>;

/// A server's device, and its peers.
#[derive(Debug)]
pub struct BusyPeers {
    /// The program that has the command of a [`crate::LabEnd`].
    lab_end: String,
    variant: Variant,
    peers: u16,
    server: Host,
    clients: Agent,
    _daemon: Process,
    _holder: Process,
    lab: Lab,
}

/// What has come through.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Carried {
    /// Packets a second, all peers together.
    pub rate: f64,
    /// Seconds of the engine's processor time for a million packets.
    pub cost: f64,
    /// Jain's index of the peers' shares: 1 if all are equal, 1/n if one has all.
    pub fairness: f64,
}

impl BusyPeers {
    /// Makes a device with peers 1 to `peers` and one more, over UDP with a port of its own; `engine` is the udco to
    /// measure, `lab_end` the program that has the command of a [`crate::LabEnd`].
    ///
    /// # Errors
    /// If a command fails.
    pub fn new(variant: Variant, engine: &str, lab_end: &str, peers: u16) -> Result<Self> {
        ensure!((1..=60_000).contains(&peers), "{peers} peers");
        if variant.tcp {
            let needed = 2 * u64::from(peers) + 100;
            ensure!(
                raise_open_files()?.is_none_or(|limit| limit >= needed),
                "{peers} peers over TCP need {needed} open files: raise the limit (ulimit -Hn), or take fewer"
            );
        }
        let lab = Lab::new()?;
        let (server, clients) = (lab.host("server")?, lab.host("clients")?);
        connect_hosts(variant, &lab, &server, &clients)?;
        let mut daemon = server.spawn("daemon", &[engine, "daemon"])?;
        daemon.wait_for_log("listening at", PATIENCE)?;
        server.run(&[engine, "link", "add", DEVICE, "--mode", "mp", "--up"])?;
        let [prefix, _] = variant.prefixes();
        server.add_address(DEVICE, &format!("{}/{prefix}", variant.server_vpn()))?;
        let mut holder = hold(variant, &lab, &server, engine, peers + 1)?;
        let number = (peers + 1).to_string();
        let words = [&["lab-end", "peers", &number], &*variant.words()].concat();
        let mut clients = Agent::start(&clients, lab_end, &words)?;
        clients.answer::<()>().context("the peers")?;
        holder.wait_for_log("\"peers\":[", PATIENCE)?;
        install_keys(&lab, &server, engine, peers + 1)?;
        Ok(Self {
            lab_end: lab_end.to_owned(),
            variant,
            peers,
            server,
            clients,
            _daemon: daemon,
            _holder: holder,
            lab,
        })
    }

    /// Peers 1 to `count`.
    pub fn first(count: u16) -> Peers {
        Peers { first: 1, count }
    }

    /// These peers are busy at once.
    ///
    /// # Errors
    /// If an end fails.
    pub fn carry(&mut self, way: Way, peers: Peers, load: Load) -> Result<Carried> {
        let engine = [self.engine()?];
        let (before, work) = (self.counters(way)?, Work::read(&engine)?);
        let time = match way {
            Way::Up => self.send_up(peers, load, &before)?,
            Way::Down => self.send_down(peers, load)?,
        };
        let work = Work::read(&engine)?.since(work);
        let after = self.counters(way)?;
        let shares: Vec<u64> = peers
            .ids()
            .map(|id| after[&id.into()] - before[&id.into()])
            .collect();
        let packets = shares.iter().sum::<u64>() as f64;
        ensure!(packets > 0.0, "nothing has come through");
        Ok(Carried {
            rate: packets / time.as_secs_f64(),
            cost: work.time.as_secs_f64() / packets * 1e6,
            fairness: jain(&shares),
        })
    }

    /// How long it took.
    fn send_up(&mut self, peers: Peers, load: Load, before: &Counters) -> Result<Duration> {
        let began = Instant::now();
        let sent: u64 = self.clients.ask(&Order::Send(peers, load))?;
        if !self.variant.tcp {
            return Ok(load.duration());
        }
        // Streams lose nothing, and hold much that is still on its way.
        let all = before.values().sum::<u64>() + sent;
        while self.counters(Way::Up)?.values().sum::<u64>() < all {
            ensure!(began.elapsed() < PATIENCE, "packets are missing");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(began.elapsed())
    }

    fn send_down(&mut self, peers: Peers, load: Load) -> Result<Duration> {
        self.clients.order(&Order::Discard(load.milliseconds))?;
        let numbers = [
            peers.first.into(),
            peers.count.into(),
            load.size.into(),
            load.row.into(),
            load.milliseconds,
        ];
        let numbers = numbers.into_iter().chain(load.rate.map(u64::from));
        let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
        let mut words = vec![self.lab_end.as_str(), "lab-end", "peers-down"];
        words.extend(numbers.iter().map(String::as_str));
        words.extend(self.variant.words());
        self.server.run(&words)?;
        self.clients.answer::<()>()?;
        Ok(load.duration())
    }

    /// Peers send echo requests in turns, a millisecond apart, each when the one before is answered.
    ///
    /// # Errors
    /// If an end fails.
    pub fn echo(&mut self, peers: Peers, requests: u32) -> Result<RoundTrips> {
        self.clients.ask(&Order::Echo(peers, requests, None))
    }

    /// The same while the peer that has a port of its own sends this load.
    ///
    /// # Errors
    /// If an end fails.
    pub fn echo_beside_heavy(
        &mut self,
        peers: Peers,
        requests: u32,
        load: Load,
    ) -> Result<RoundTrips> {
        let heavy = Peers {
            first: self.peers + 1,
            count: 1,
        };
        let order = Order::Echo(peers, requests, Some((heavy, load)));
        self.clients.ask(&order)
    }

    /// Call it once all is measured: does not print the logs at the end.
    pub fn discard_logs(&self) {
        self.lab.discard_logs();
    }

    fn engine(&self) -> Result<Proc> {
        let processes = self.lab.processes()?.into_iter();
        let mut daemons = processes.filter(|process| process.command.contains("udco daemon"));
        daemons.next().context("the daemon has ended")
    }

    /// Packets that each peer's tunnel has carried so far.
    fn counters(&self, way: Way) -> Result<Counters> {
        let shown = udco::show(&self.server)?;
        let counters = shown.peers().map(|peer| {
            let packets = match way {
                Way::Up => peer.vpn.rx_packets,
                Way::Down => peer.vpn.tx_packets,
            };
            (peer.id, packets)
        });
        let counters: Counters = counters.collect();
        ensure!(counters.len() > self.peers.into(), "peers have gone");
        Ok(counters)
    }
}

/// A link between both, and the routes over it.
fn connect_hosts(variant: Variant, lab: &Lab, server: &Host, clients: &Host) -> Result<()> {
    let [_, prefix] = variant.prefixes();
    let outer = [variant.server_outer(), variant.clients_outer()];
    let [at_server, at_clients] = outer.map(|address| format!("{address}/{prefix}"));
    lab.link(server, &[&at_server], clients, &[&at_clients])?;
    for host in [server, clients] {
        begin_without_pacing(host)?;
    }
    let network = variant.outer_network();
    server.add_route(&[network, "via", &variant.clients_outer().to_string()])?;
    // The clients' socket may then send from each address of it, and receives for each.
    clients.add_route(&["local", network, "dev", "lo"])?;
    clients.run(&["sh", "-c", "echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind"])?;
    server.add_route(&["blackhole", &variant.discarded().to_string()])
}

/// The process that holds all peers' sockets; over TCP it waits for them.
fn hold(variant: Variant, lab: &Lab, server: &Host, engine: &str, peers: u16) -> Result<Process> {
    let mut lines = String::new();
    for id in 1..=peers {
        let port = if id == peers { PORT + 1 } else { PORT };
        let outer = SocketAddr::new(variant.outer(id), port).to_string();
        let outer = if variant.tcp { "-" } else { &outer };
        writeln!(lines, "{id} - {outer} {}", variant.vpn(id))?;
    }
    let file = lab.file("peers")?;
    fs::write(&file, lines)?;
    let (option, local) = match variant.tcp {
        false => ("--local", variant.any()),
        true => ("--tcp-listen", variant.server_outer()),
    };
    let local = SocketAddr::new(local, PORT).to_string();
    let words = ["--json", option, &local, "--peers", &file];
    let words = [&[engine, "peer", "new", DEVICE], words.as_slice()].concat();
    let holder = server.spawn("holder", &words)?;
    if variant.tcp {
        eventually("the peers' socket", PATIENCE, || {
            let listens = server.run(&["ss", "-Hltn"])?.contains(&local);
            Ok(listens.then_some(()))
        })?;
    }
    Ok(holder)
}

/// Each peer has the same keys, which does no harm here.
fn install_keys(lab: &Lab, server: &Host, engine: &str, peers: u16) -> Result<()> {
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
