//! `cargo xtask bench --scale`: rates by number of cores and of busy peers, as far as the machine's cores go.
//!
//! Both ends and all traffic are confined to the same cores, and an engine has a worker for each of them.

mod cores;
mod plan;
pub(crate) mod table;

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use udco_testbed::busy_peers::{Carried, Way};

use self::cores::Cores;
use self::plan::{PEERS, Plan};
use super::cell::{Cell, Method, Sample};
use super::figure::Part;
use super::leftovers::Sweeper;
use super::link::Link;
use super::outcome::Outcome;
use super::subject::Subject;
use super::{peers, wait_for_quiet};

/// The parts of a tunnel's cells: a round trip needs no cores.
pub(super) const PARTS: [Part; 2] = [Part::Tcp, Part::Udp];

/// The tunnels, beside the busy peers.
const SUBJECTS: [Subject; 2] = [Subject::OpenvpnTuned, Subject::Udco];

/// Everything measured, and what was left out.
#[derive(Debug, Serialize)]
pub(crate) struct Scale {
    plan: Plan,
    peers: Vec<Peers>,
    tunnels: Vec<Tunnel>,
}

/// Busy peers on some cores, all rounds.
#[derive(Debug, Serialize)]
struct Peers {
    cores: usize,
    way: Way,
    /// Packets of each peer in a row.
    row: u32,
    peers: u16,
    samples: Vec<Carried>,
}

/// One tunnel on some cores.
#[derive(Debug, Serialize)]
struct Tunnel {
    cores: usize,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Measures each number of cores in turns.
pub(super) fn measure(rounds: usize, method: &Method<'_>) -> Result<Scale> {
    let cores = Cores::here()?;
    let plan = Plan::of(cores.count());
    eprintln!("==> scale: {plan}");
    let _sweeper = Sweeper::start()?;
    let busy = peers::Options::scale(method.seconds, &PEERS);
    let mut peers: BTreeMap<usize, peers::Samples> = BTreeMap::new();
    let mut tunnels: BTreeMap<(usize, Cell), Vec<Option<Sample>>> = BTreeMap::new();
    for round in 0..rounds {
        for step in 0..plan.measured.len() {
            let count = plan.measured[(round + step) % plan.measured.len()];
            eprintln!("==> scale: round {} of {rounds}, cores: {count}", round + 1);
            if !wait_for_quiet()? {
                eprintln!("NOTE: other processes are busy on this machine");
            }
            cores.on(count, || {
                let mut device = busy.device()?;
                let samples = peers.entry(count).or_default();
                samples.carry(&busy, &mut device, round)?;
                device.discard_logs();
                drop(device);
                for subject in SUBJECTS {
                    let cell = Cell {
                        subject,
                        link: Link::Veth,
                    };
                    let samples = tunnels.entry((count, cell)).or_default();
                    samples.push(cell.try_to_measure(method));
                }
                Ok(())
            })?;
        }
    }
    let peers = peers.into_iter().flat_map(|(cores, samples)| {
        let carried = samples.carried.into_iter();
        carried.map(move |((load, way, peers), samples)| Peers {
            cores,
            way,
            row: load.row,
            peers,
            samples,
        })
    });
    let tunnels = tunnels.into_iter().map(|((cores, cell), samples)| Tunnel {
        cores,
        outcome: Outcome::new(cell, samples),
    });
    Ok(Scale {
        plan,
        peers: peers.collect(),
        tunnels: tunnels.collect(),
    })
}
