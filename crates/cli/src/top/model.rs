//! Samples in, rates out. Pure: it knows no clock but that of the samples.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use udco_state::{Loss, Peer};

use super::history::History;
use super::sample::{self, DeviceSample, EngineSample, Sample};
use super::turns::Turns;
use crate::rates::{Rate, Rates, Sides, Whose};

/// What the last sample says, and what it has changed since the one before.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// When it was taken.
    pub(super) at: Option<Instant>,
    pub(super) engines: usize,
    pub(super) devices: Vec<DeviceRow>,
    /// The peers of all devices, in their order.
    pub(super) peers: Vec<PeerRow>,
    pub(super) remarks: Vec<String>,
    /// The reason why nothing is shown, if no device is.
    pub(super) nothing: Option<String>,
    rates: Rates<Whose, Sides>,
    losses: Rates<Whose, Loss>,
    drop_rates: Rates<(Whose, String), u64>,
    /// Of each engine by its socket, as a whole and by its workers' numbers.
    loads: Rates<(String, Option<usize>), f64>,
    histories: HashMap<Whose, History>,
    together: History,
    turns: Turns,
}

/// A device.
#[derive(Debug)]
pub(super) struct DeviceRow {
    pub(super) whose: Whose,
    pub(super) name: String,
    /// Its mode and API, or driver.
    pub(super) kind: String,
    pub(super) engine: Option<EngineRow>,
    /// How many peers it has; `None` if this user may not see them.
    pub(super) peers: Option<usize>,
    /// Inside the tunnel.
    pub(super) rate: Option<Rate>,
    pub(super) drops: Vec<Drops>,
}

/// The engine of a device. A load is how many processors are kept busy: 1.0 is all of one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EngineRow {
    pub(super) socket: String,
    pub(super) load: Option<f64>,
    pub(super) workers: Vec<Option<f64>>,
}

/// Dropped packets.
#[derive(Debug, PartialEq)]
pub(super) struct Drops {
    pub(super) reason: String,
    pub(super) count: u64,
    /// In a second.
    pub(super) rate: Option<f64>,
}

/// A peer.
#[derive(Debug)]
pub(super) struct PeerRow {
    pub(super) whose: Whose,
    /// Tells it from others that have had its id.
    pub(super) turn: u64,
    /// The name of its device.
    pub(super) device: String,
    /// The client's common name, if it is known.
    pub(super) common_name: Option<String>,
    pub(super) peer: Peer,
    /// Inside the tunnel, and at the transport socket.
    pub(super) rate: Option<[Rate; 2]>,
    /// The share of the packets on the way here that was lost.
    pub(super) loss: Option<f64>,
}

impl Model {
    /// The next sample.
    pub(super) fn take(&mut self, sample: Sample) {
        self.rates.begin(sample.at);
        self.losses.begin(sample.at);
        self.drop_rates.begin(sample.at);
        self.loads.begin(sample.at);
        self.turns.begin(sample.at);
        self.devices.clear();
        self.peers.clear();
        for device in sample.devices {
            self.add(device);
        }
        self.keep_histories();
        self.at = Some(sample.at);
        self.engines = sample.engines;
        self.remarks = sample.remarks;
        self.nothing = sample.nothing;
    }

    fn add(&mut self, mut device: DeviceSample) {
        let peers = device.peers.take();
        let count = peers.as_ref().map(Vec::len);
        let mut of_peers = None;
        for peer in peers.into_iter().flatten() {
            let whose = Whose {
                peer: Some(peer.id),
                ..device.whose.clone()
            };
            let common_name = device.common_names.remove(&peer.id);
            let name = common_name.as_ref();
            let turn = self.turns.of(&whose, device.mode, name, &peer);
            if turn.is_new {
                self.histories.remove(&whose);
            }
            let rate = self.rates.of(whose.clone(), sample::sides(&peer));
            let rate = rate.filter(|_| !turn.counts_anew);
            if let Some([inside, _]) = rate {
                *of_peers.get_or_insert_default() += inside;
            }
            let loss = peer.loss.and_then(|it| self.losses.of(whose.clone(), it));
            let loss = loss.flatten().filter(|_| !turn.counts_anew);
            self.peers.push(PeerRow {
                whose,
                turn: turn.number,
                device: device.name.clone(),
                common_name,
                peer,
                rate,
                loss,
            });
        }
        let totals = device.totals;
        let rate = match totals.and_then(|it| self.rates.of(device.whose.clone(), it)) {
            Some([inside, _]) => Some(inside),
            // The kernel's driver has no totals.
            None => of_peers.filter(|_| totals.is_none()),
        };
        let engine = device.engine.map(|engine| self.engine(engine));
        let drops = device.drops.into_iter().map(|(reason, count)| {
            let whose = (device.whose.clone(), reason.clone());
            let rate = self.drop_rates.of(whose, count);
            Drops {
                reason,
                count,
                rate,
            }
        });
        self.devices.push(DeviceRow {
            drops: drops.collect(),
            whose: device.whose,
            name: device.name,
            kind: device.kind,
            engine,
            peers: count,
            rate,
        });
    }

    /// The loads of an engine, which may have several devices.
    fn engine(&mut self, engine: EngineSample) -> EngineRow {
        let known = self.devices.iter().filter_map(|row| row.engine.as_ref());
        if let Some(known) = known.into_iter().find(|it| it.socket == engine.socket) {
            return known.clone();
        }
        let socket = engine.socket;
        let load = self.loads.of((socket.clone(), None), engine.cpu_seconds);
        let workers = engine.worker_cpu_seconds.into_iter().enumerate();
        let workers =
            workers.map(|(worker, spent)| self.loads.of((socket.clone(), Some(worker)), spent));
        EngineRow {
            load,
            workers: workers.collect(),
            socket,
        }
    }

    fn keep_histories(&mut self) {
        let devices = self.devices.iter().map(|it| (&it.whose, it.rate));
        let inside = |rate: Option<[Rate; 2]>| rate.map(|[inside, _]| inside);
        let peers = self.peers.iter().map(|it| (&it.whose, inside(it.rate)));
        let (mut there, mut together) = (HashSet::new(), None);
        for (whose, rate) in devices.chain(peers) {
            there.insert(whose);
            if let Some(rate) = rate.filter(|_| whose.peer.is_none()) {
                *together.get_or_insert_default() += rate;
            }
            // A peer that has always been idle needs no memory.
            let is_busy = rate.is_some_and(|rate| rate.bytes() > 0.0);
            match self.histories.get_mut(whose) {
                Some(history) => history.push(rate),
                None if is_busy => {
                    let history = self.histories.entry(whose.clone()).or_default();
                    history.push(rate);
                }
                None => {}
            }
        }
        self.histories.retain(|whose, _| there.contains(whose));
        self.together.push(together);
    }

    /// The rates of a device or peer so far; `None` if it has always been idle, or is not there.
    pub(super) fn history(&self, whose: &Whose) -> Option<&History> {
        self.histories.get(whose)
    }

    /// The rates of all devices.
    pub(super) const fn together(&self) -> &History {
        &self.together
    }
}

impl DeviceRow {
    /// Packets dropped in a second, for all reasons; `None` if nobody knows, as of the kernel's own driver.
    pub(super) fn drop_rate(&self) -> Option<f64> {
        let is_known = self.engine.is_some() && self.rate.is_some();
        // Not `sum`, which makes -0 of none.
        let rates = self.drops.iter().filter_map(|it| it.rate);
        is_known.then(|| rates.fold(0.0, |all, rate| all + rate))
    }
}

#[cfg(test)]
pub(super) mod tests;
