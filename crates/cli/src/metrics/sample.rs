//! What is known at one moment, of all engines and of the kernel's own driver.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::de::IgnoredAny;
use udco_state::{KernelDevice, Loss, Offloads, Peer, Totals, Traffic};

use super::labels::DeviceLabels;
use crate::escape::printable;
use crate::interface;
use crate::state::{self, Device};
use crate::survey::{self, Survey};

/// How much is reported: an engine may be any program of any user, and say anything. Those of root come first.
const MOST_DEVICES: usize = 1024;
const MOST_PEERS: usize = 100_000;

/// The longest version.
const VERSION: usize = 32;

/// The longest path of a socket.
const PATH: usize = 107;

/// The longest name of an interface.
const NAME: usize = 15;

/// A sample.
#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) engines: Vec<Engine>,
    pub(super) devices: Vec<DeviceSample>,
    /// Names of devices whose engine has died.
    pub(super) left: BTreeSet<String>,
    /// How many engines cannot be reached.
    pub(super) unreachable: usize,
    /// How many this user may not use.
    pub(super) denied: usize,
    /// How long it took.
    pub(super) took: Duration,
}

/// An engine by its socket.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) socket: String,
    /// `None` if it does not answer.
    pub(super) state: Option<udco_state::Engine>,
}

/// A device.
#[derive(Debug)]
pub(super) struct DeviceSample {
    pub(super) labels: DeviceLabels,
    /// The interface of this name is this device, as far as can be seen from here.
    has_its_name: bool,
    pub(super) driver: &'static str,
    pub(super) mode: &'static str,
    pub(super) api: &'static str,
    /// The socket of its engine.
    pub(super) engine: Option<String>,
    /// How many peers it has; `None` if this user may not know.
    pub(super) peers: Option<usize>,
    /// What only an engine knows.
    pub(super) counters: Option<Counters>,
    /// If each is asked for.
    pub(super) each_peer: Vec<PeerSample>,
}

/// Counters of an engine's device.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) routes: usize,
    pub(super) fragmented: u64,
    pub(super) drops: BTreeMap<String, u64>,
    pub(super) offloads: Offloads,
    pub(super) totals: Option<Totals>,
}

/// A peer.
#[derive(Debug)]
pub(super) struct PeerSample {
    /// Its id, as a label.
    pub(super) id: String,
    pub(super) path_mtu: Option<u16>,
    /// Packets lost on the way here; over TCP there are none, and the kernel's driver does not report them.
    pub(super) loss: Option<Loss>,
    pub(super) link: Traffic,
    pub(super) vpn: Traffic,
}

impl Sample {
    /// What a survey has found, with each peer if `each_peer`.
    pub(super) fn of(survey: Survey<'_>, each_peer: bool) -> Self {
        let mut sample = Self {
            unreachable: survey.unreachable.len(),
            left: survey
                .left
                .iter()
                .map(|left| printable(&left.name, NAME))
                .collect(),
            ..Self::default()
        };
        for engine in survey.engines {
            sample.add(engine, each_peer);
        }
        let silent = survey.silent.iter();
        sample.engines.extend(silent.map(|(socket, _)| Engine {
            socket: printable(&socket.display().to_string(), PATH),
            state: None,
        }));
        let kernel = survey.kernel.into_iter();
        sample
            .devices
            .extend(kernel.map(|it| DeviceSample::of_kernel(it, each_peer)));
        sample.tell_apart();
        sample
    }

    /// Adds an engine that has answered, and its devices.
    fn add(&mut self, engine: survey::Engine<'_>, each_peer: bool) {
        let socket = printable(&engine.socket.display().to_string(), PATH);
        let (mut state, devices) = engine.state.into_parts();
        state.version = printable(&state.version, VERSION).into();
        let devices = devices.iter().take(MOST_DEVICES);
        self.devices
            .extend(devices.map(|it| DeviceSample::of(it, &socket, each_peer)));
        self.engines.push(Engine {
            socket,
            state: Some(state),
        });
    }

    /// Two series may not have the same labels. Of several devices of one name in one namespace, the first is as usual,
    /// and the others have their index as a label; so has a device whose name is another's by now.
    fn tell_apart(&mut self) {
        self.devices.truncate(MOST_DEVICES);
        let mut peers = MOST_PEERS;
        let mut seen = BTreeSet::new();
        for device in &mut self.devices {
            let labels = &mut device.labels;
            if device.has_its_name && seen.insert((labels.name.clone(), labels.netns)) {
                labels.ifindex = None;
            }
            device.each_peer.truncate(peers);
            peers -= device.each_peer.len();
        }
        let mut known = BTreeSet::new();
        self.devices
            .retain(|device| known.insert(device.labels.clone()));
    }
}

impl DeviceSample {
    fn of(device: &Device<'_>, socket: &str, each_peer: bool) -> Self {
        let (peers, each_peer) = match each_peer {
            true => {
                let peers = state::peers(device).unwrap_or_default();
                (peers.len(), peers.iter().map(PeerSample::of).collect())
            }
            false => {
                let peers: Vec<IgnoredAny> = state::read(device.peers.get()).unwrap_or_default();
                (peers.len(), Vec::new())
            }
        };
        let is_elsewhere = !state::is_here(device);
        Self {
            has_its_name: is_elsewhere || has_its_name(&device.name, device.ifindex),
            labels: DeviceLabels {
                name: printable(&device.name, NAME),
                netns: is_elsewhere.then_some(device.netns),
                ifindex: Some(device.ifindex),
            },
            driver: udco_state::Driver::Udco.name(),
            mode: device.mode.name(),
            api: device.api.name(),
            engine: Some(socket.to_owned()),
            // Who may not use the device gets neither.
            peers: device.totals.is_some().then_some(peers),
            counters: Some(Counters {
                routes: device.routes,
                fragmented: device.fragmented,
                drops: device.drops.clone(),
                offloads: device.offloads,
                totals: device.totals.clone(),
            }),
            each_peer,
        }
    }

    fn of_kernel(device: KernelDevice, each_peer: bool) -> Self {
        let each = device.peers.iter().flatten().filter(|_| each_peer);
        Self {
            each_peer: each
                .map(|peer| PeerSample {
                    id: peer.id.to_string(),
                    path_mtu: None,
                    loss: None,
                    link: peer.link,
                    vpn: peer.vpn,
                })
                .collect(),
            driver: device.driver.name(),
            mode: device.mode.name(),
            api: udco_state::Api::Ovpn.name(),
            engine: None,
            has_its_name: has_its_name(&device.name, device.ifindex),
            peers: device.peers.map(|peers| peers.len()),
            counters: None,
            labels: DeviceLabels {
                name: printable(&device.name, NAME),
                netns: None,
                ifindex: Some(device.ifindex),
            },
        }
    }
}

/// Whether the interface of this name here has this index.
fn has_its_name(name: &str, ifindex: u32) -> bool {
    interface::index(name).is_none_or(|index| index == ifindex)
}

impl PeerSample {
    fn of(peer: &Peer) -> Self {
        Self {
            id: peer.id.to_string(),
            path_mtu: peer.path_mtu,
            loss: peer.loss,
            link: peer.link,
            vpn: peer.vpn,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fmt::Write;
    use std::path::Path;

    use super::*;
    use crate::left::Left;

    /// An engine's report of a device with so many peers.
    fn report(name: &str, netns: u64, peers: usize) -> String {
        let traffic = r#"{"rx_bytes":5000000000,"rx_packets":2,"tx_bytes":3,"tx_packets":4}"#;
        let mut each = String::new();
        for id in 0..peers {
            let comma = if id == 0 { "" } else { "," };
            let _ = write!(
                each,
                r#"{comma}{{"id":{id},"tx_id":2,"remote":"192.0.2.77:4000","local":null,"path_mtu":1500,
                "mss":null,"vpn4":"10.8.0.2","vpn6":null,"keepalive":{{"interval":10,"timeout":60}},
                "keys":{{"primary":null,"secondary":null}},"link":{traffic},"vpn":{traffic},
                "loss":{{"expected":9,"lost":2}}}}"#
            );
        }
        format!(
            r#"{{"format":1,"version":"0.1.0","pid":7,"netns":9,"workers":2,"started":1700000000,"cpu_seconds":0.5,
            "worker_cpu_seconds":[0.125,0.25],"devices":[{{"name":"{name}","ifindex":3,"netns":{netns},"mode":"mp","api":"ovpn","owner":0,"offloads":
            {{"device-tcp":true,"device-udp":false,"merge":true,"merge-udp":false,"segment":true,"coalesce":null,
            "queues":1}},"routes":2,"fragmented":1,"drops":{{"rx_bad_tag":8}},"totals":{{"ended":{{"expired":6}},
            "link":{traffic},"vpn":{traffic},"loss":{{"expected":90,"lost":7}}}},"peers":[{each}]}}]}}"#
        )
    }

    /// A sample with everything in it: an engine that does not answer, and devices of another namespace.
    pub(in crate::metrics) fn example(peers: usize, each_peer: bool) -> Sample {
        let mut sample = Sample::default();
        let left = Left {
            name: "tun9".to_owned(),
            ifindex: 9,
        };
        sample.left.insert(left.name);
        sample.engines.push(Engine {
            socket: "/run/udco/silent.sock".to_owned(),
            state: None,
        });
        for (name, netns) in [("tun0", 1 << 60), (r#"tun\"0"#, 1 << 61)] {
            let text = report(name, netns, peers);
            let state = state::read(&text).unwrap();
            let socket = Path::new("/run/udco/engine.sock");
            sample.add(survey::Engine { socket, state }, each_peer);
            sample.tell_apart();
        }
        sample.engines.pop();
        sample
    }

    #[test]
    fn devices_of_one_name_are_told_apart_by_index() {
        let of = |devices: [(bool, u32); 2]| {
            let mut sample = example(1, false);
            for (device, (has_its_name, ifindex)) in sample.devices.iter_mut().zip(devices) {
                device.has_its_name = has_its_name;
                device.labels = DeviceLabels {
                    name: "tun0".to_owned(),
                    netns: None,
                    ifindex: Some(ifindex),
                };
            }
            sample.tell_apart();
            let devices = sample.devices.iter();
            devices.map(|it| it.labels.ifindex).collect::<Vec<_>>()
        };
        assert_eq!(of([(true, 3), (true, 4)]), [None, Some(4)]);
        // The first was renamed, or is not there.
        assert_eq!(of([(false, 3), (true, 4)]), [Some(3), None]);
        assert_eq!(of([(false, 3), (false, 3)]), [Some(3)], "one of each");
    }

    #[test]
    fn no_more_is_reported_than_there_should_be() {
        let mut sample = Sample::default();
        for _ in 0..=MOST_DEVICES / 2 {
            sample.devices.extend(example(0, false).devices);
        }
        sample.tell_apart();
        assert!(sample.devices.len() <= MOST_DEVICES);
        let name = format!("tun0{}", "0".repeat(100));
        let text = report(&name, 9, 0).replace("0.1.0", &name);
        let state = state::read(&text).unwrap();
        let socket = Path::new("/run/udco/engine.sock");
        sample.add(survey::Engine { socket, state }, false);
        assert_eq!(sample.devices.pop().unwrap().labels.name.len(), NAME);
        let engine = sample.engines.pop().unwrap().state.unwrap();
        assert_eq!(engine.version.len(), VERSION);
    }

    #[test]
    fn peers_are_counted_and_not_listed_unless_asked_for() {
        let sample = example(3, false);
        assert_eq!(sample.devices[0].peers, Some(3));
        assert!(sample.devices[0].each_peer.is_empty());
        assert_eq!(example(3, true).devices[0].each_peer.len(), 3);
    }
}
