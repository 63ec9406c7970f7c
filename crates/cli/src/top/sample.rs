//! What is known at one moment, of all engines and of the kernel's own driver, ready to be drawn.
//!
//! An engine may be any program of any user, and say anything. So every text that others have chosen is cut and escaped
//! here, and the numbers of devices and peers are bounded.

use std::collections::BTreeMap;
use std::time::Instant;

use udco_state::{KernelDevice, KernelPeer, Key, Mode, Peer};

use crate::escape::printable;
use crate::rates::{Sides, Whose};
use crate::state;
use crate::survey::{self, Survey};

/// How much is shown.
const MOST_DEVICES: usize = 1024;
const MOST_PEERS: usize = 100_000;
const MOST_REASONS: usize = 64;
const MOST_WORKERS: usize = 256;

/// The longest name of a device, a reason or a cipher, and the longest remark.
const NAME: usize = 32;

/// Characters of a common name: as many as a certificate's may have (RFC 5280).
const COMMON_NAME: usize = 64;
const REMARK: usize = 400;

/// A sample.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// How many engines have answered.
    pub(super) engines: usize,
    pub(super) devices: Vec<DeviceSample>,
    /// What a user should know besides.
    pub(super) remarks: Vec<String>,
    /// The reason why nothing is shown, if no device is.
    pub(super) nothing: Option<String>,
}

/// A device.
#[derive(Clone, Debug)]
pub(super) struct DeviceSample {
    pub(super) whose: Whose,
    pub(super) name: String,
    pub(super) mode: Mode,
    /// Its mode and API, or driver: `mp, ovpn-dco-v2`.
    pub(super) kind: String,
    /// `None` for a device of the kernel's own driver.
    pub(super) engine: Option<EngineSample>,
    /// Of all peers, and of those that have ended.
    pub(super) totals: Option<Sides>,
    /// Dropped packets by reason.
    pub(super) drops: BTreeMap<String, u64>,
    /// The common names of its peers by their ids, as far as they are known.
    pub(super) common_names: BTreeMap<u32, String>,
    /// `None` if this user may not see them.
    pub(super) peers: Option<Vec<Peer>>,
}

/// The engine of a device.
#[derive(Clone, Debug)]
pub(super) struct EngineSample {
    pub(super) socket: String,
    /// Processor time of all its threads, and of each worker.
    pub(super) cpu_seconds: f64,
    pub(super) worker_cpu_seconds: Vec<f64>,
}

impl Sample {
    /// What a survey has found.
    pub(super) fn of(survey: Survey<'_>, at: Instant) -> Self {
        let remarks = survey.remarks();
        let nothing = (survey.devices() == 0).then(|| survey.no_devices().to_owned());
        let engines = survey.engines.len();
        let mut devices: Vec<_> = survey.engines.into_iter().flat_map(of_engine).collect();
        devices.extend(survey.kernel.into_iter().map(DeviceSample::of_kernel));
        devices.truncate(MOST_DEVICES);
        let mut room = MOST_PEERS;
        for peers in devices.iter_mut().filter_map(|it| it.peers.as_mut()) {
            peers.truncate(room);
            room -= peers.len();
        }
        Self {
            at,
            engines,
            devices,
            remarks: remarks.iter().map(|it| printable(it, REMARK)).collect(),
            nothing,
        }
    }

    /// The engine that was named does not answer.
    pub(super) fn failed(at: Instant, error: &anyhow::Error) -> Self {
        Self {
            at,
            engines: 0,
            devices: Vec::new(),
            remarks: vec![printable(&format!("{error:#}"), REMARK)],
            nothing: Some("no engine answers".to_owned()),
        }
    }
}

fn of_engine(engine: survey::Engine<'_>) -> impl Iterator<Item = DeviceSample> {
    let mut sample = EngineSample {
        socket: printable(&engine.socket.display().to_string(), REMARK),
        cpu_seconds: engine.state.cpu_seconds,
        worker_cpu_seconds: engine.state.worker_cpu_seconds,
    };
    sample.worker_cpu_seconds.truncate(MOST_WORKERS);
    let devices = engine.state.devices.into_iter().take(MOST_DEVICES);
    devices.map(move |device| DeviceSample::of(&device, sample.clone()))
}

impl DeviceSample {
    fn of(device: &state::Device<'_>, engine: EngineSample) -> Self {
        let mut peers = state::peers(device).unwrap_or_default();
        for peer in &mut peers {
            make_printable(&mut peer.keys.primary);
            make_printable(&mut peer.keys.secondary);
        }
        let elsewhere = match state::is_here(device) {
            true => String::new(),
            false => format!(", in namespace {}", device.netns),
        };
        let reasons = device.drops.iter().take(MOST_REASONS);
        let names = device.common_names.iter().take(MOST_PEERS);
        Self {
            whose: Whose {
                engine: Some(engine.socket.clone()),
                ifindex: device.ifindex,
                netns: device.netns,
                peer: None,
            },
            name: printable(&device.name, NAME),
            mode: device.mode,
            kind: format!("{}, {}{elsewhere}", device.mode.name(), device.api.name()),
            engine: Some(engine),
            totals: device.totals.as_ref().map(|totals| Sides {
                vpn: totals.vpn,
                link: totals.link,
            }),
            drops: reasons
                .map(|(reason, count)| (printable(reason, NAME), *count))
                .collect(),
            common_names: names
                .map(|(peer, name)| (*peer, printable(name, COMMON_NAME)))
                .collect(),
            // Who may not use the device gets neither; engines of before have no totals.
            peers: (device.totals.is_some() || !peers.is_empty()).then_some(peers),
        }
    }

    fn of_kernel(device: KernelDevice) -> Self {
        Self {
            whose: Whose {
                engine: None,
                ifindex: device.ifindex,
                netns: 0,
                peer: None,
            },
            name: printable(&device.name, NAME),
            mode: device.mode,
            kind: format!("{}, driver: {}", device.mode.name(), device.driver.name()),
            engine: None,
            totals: None,
            drops: BTreeMap::new(),
            common_names: BTreeMap::new(),
            peers: device
                .peers
                .map(|peers| peers.into_iter().map(of_kernel_peer).collect()),
        }
    }
}

fn make_printable(key: &mut Option<Key>) {
    if let Some(key) = key {
        key.cipher = printable(&key.cipher, NAME).into();
    }
}

/// The kernel reports neither path nor MSS nor losses.
fn of_kernel_peer(peer: KernelPeer) -> Peer {
    Peer {
        id: peer.id,
        tx_id: peer.tx_id,
        remote: peer.remote,
        local: peer.local,
        path_mtu: None,
        mss: None,
        vpn4: peer.vpn4,
        vpn6: peer.vpn6,
        keepalive: peer.keepalive,
        keys: peer.keys,
        link: peer.link,
        vpn: peer.vpn,
        loss: None,
    }
}

/// The counters of a peer.
pub(super) fn sides(peer: &Peer) -> Sides {
    Sides {
        vpn: peer.vpn,
        link: peer.link,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// An engine's report with this device's name, reason and cipher.
    fn report(name: &str, reason: &str, cipher: &str) -> String {
        let traffic = r#"{"rx_bytes":1,"rx_packets":2,"tx_bytes":3,"tx_packets":4}"#;
        format!(
            r#"{{"format":1,"version":"0.1.0","pid":7,"netns":1,"workers":2,"cpu_seconds":0.5,"devices":[{{"name":"{name}",
            "ifindex":3,"netns":9,"mode":"mp","api":"ovpn","owner":0,"offloads":{{"device-tcp":true,"device-udp":true,
            "merge":true,"merge-udp":true,"segment":null,"coalesce":null,"queues":1}},"routes":0,"fragmented":0,
            "drops":{{"{reason}":5}},"totals":{{"ended":{{}},"link":{traffic},"vpn":{traffic}}},"peers":[{{"id":1,"tx_id":2,
            "remote":"192.0.2.77:4000","local":null,"path_mtu":1500,"mss":null,"vpn4":"10.8.0.2","vpn6":null,
            "keepalive":{{"interval":10,"timeout":60}},"keys":{{"primary":{{"key_id":3,"cipher":"{cipher}"}},
            "secondary":null}},"link":{traffic},"vpn":{traffic}}}]}}]}}"#
        )
    }

    #[test]
    fn what_others_have_chosen_is_escaped_and_cut() {
        let text = report("tun\\u001b[2J", &"x".repeat(100), "\\u202eAES");
        let texts = [(PathBuf::from("/run/udco/\x1b.sock"), text)];
        let survey = Survey::of(&texts, Vec::new(), true, false).unwrap();
        let sample = Sample::of(survey, Instant::now());
        let device = &sample.devices[0];
        assert_eq!(device.name, "tun\\u{1b}[2J");
        assert_eq!(device.drops.keys().next().unwrap(), &"x".repeat(NAME));
        let engine = device.engine.as_ref().unwrap();
        assert_eq!(engine.socket, "/run/udco/\\u{1b}.sock");
        let peers = device.peers.as_ref().unwrap();
        let key = peers[0].keys.primary.as_ref().unwrap();
        assert_eq!(key.cipher, "\\u{202e}AES");
        assert_eq!((sample.engines, &sample.nothing), (1, &None));
    }

    #[test]
    fn an_engine_that_does_not_answer_is_a_remark() {
        let error = anyhow::anyhow!("/run/\u{7}: no engine there");
        let sample = Sample::failed(Instant::now(), &error);
        assert_eq!(sample.remarks, ["/run/\\u{7}: no engine there"]);
        assert!(sample.nothing.is_some() && sample.devices.is_empty());
    }
}
