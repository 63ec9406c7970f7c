//! The state of engines as JSON: the engine's own report, and the output of `udco show --json`; and that of `udco doctor
//! --json`.
//!
//! Members may be added, and readers ignore those they do not know. [`FORMAT`] counts breaking changes: a member that
//! goes, or changes its meaning.
#![forbid(unsafe_code)]

mod diagnosis;
mod kernel;
mod peer;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use diagnosis::{DIAGNOSIS_FORMAT, Diagnosis, Finding, Offload, Severity};
pub use kernel::{Driver, KernelDevice, KernelPeer};
pub use peer::{Keepalive, Key, Keys, Loss, Mss, Peer, Totals, Traffic};

/// Version of the format.
pub const FORMAT: u32 = 1;

/// The output of `udco show --json`: the state of all engines, and of those that do not answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Report<D = Device> {
    /// [`FORMAT`]; 0 of a udco that had no number for it.
    #[serde(default)]
    pub format: u32,
    /// The devices of all engines.
    pub devices: Vec<D>,
    /// The devices of the kernel's own driver in this network namespace.
    #[serde(default)]
    pub kernel_devices: Vec<KernelDevice>,
    /// The engines that answered.
    pub engines: Vec<Engine>,
    /// Names of devices whose engine or OpenVPN was killed.
    pub left: Vec<String>,
    /// Engines that did not answer.
    pub silent: Vec<Silent>,
    /// Process ids of engines whose socket cannot be found.
    pub unreachable: Vec<u32>,
}

/// An engine that did not answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Silent {
    /// Where it listens.
    pub socket: String,
    /// This user may not use it.
    pub denied: bool,
    /// Why not, for display.
    pub error: String,
}

/// One engine's report of its state.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct EngineState<D = Device> {
    /// [`FORMAT`] of the engine.
    pub format: u32,
    /// As [`Engine::version`].
    pub version: Cow<'static, str>,
    /// As [`Engine::pid`].
    pub pid: u32,
    /// As [`Engine::netns`].
    pub netns: u64,
    /// As [`Engine::workers`].
    pub workers: usize,
    /// As [`Engine::started`].
    #[serde(default)]
    pub started: u64,
    /// As [`Engine::cpu_seconds`].
    #[serde(default)]
    pub cpu_seconds: f64,
    /// As [`Engine::worker_cpu_seconds`].
    #[serde(default)]
    pub worker_cpu_seconds: Vec<f64>,
    /// Its devices. Last, so that everything else has been read before them.
    pub devices: Vec<D>,
}

impl<D> EngineState<D> {
    /// The engine and its devices.
    pub fn into_parts(self) -> (Engine, Vec<D>) {
        let engine = Engine {
            socket: None,
            version: self.version,
            pid: self.pid,
            netns: self.netns,
            workers: self.workers,
            started: self.started,
            cpu_seconds: self.cpu_seconds,
            worker_cpu_seconds: self.worker_cpu_seconds,
        };
        (engine, self.devices)
    }
}

/// An engine.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Engine {
    /// Where it listens; the client knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// The release of udco.
    pub version: Cow<'static, str>,
    /// Process id, in the engine's own pid namespace.
    pub pid: u32,
    /// Inode of its network namespace, as `/proc/PID/ns/net` names it; 0 if unknown.
    pub netns: u64,
    /// Threads that move packets.
    pub workers: usize,
    /// When it started, in seconds since 1970, by the clock as it is set now; 0 if unknown.
    #[serde(default)]
    pub started: u64,
    /// Processor time that all its threads have used.
    #[serde(default)]
    pub cpu_seconds: f64,
    /// Processor time of each worker, by its number; none if unknown.
    #[serde(default)]
    pub worker_cpu_seconds: Vec<f64>,
}

/// A device. A reader that does not need its peers may read them as anything, e.g. as their raw text.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Device<P = Vec<Peer>> {
    /// Its name when it was made.
    pub name: String,
    /// Interface index.
    pub ifindex: u32,
    /// The kernel's number of its network namespace (`SO_NETNS_COOKIE`); 0 if unknown.
    pub netns: u64,
    /// Whether it has one peer or many.
    pub mode: Mode,
    /// The API by which it was made.
    pub api: Api,
    /// The user whose program made it, as the engine sees its number.
    pub owner: u32,
    /// The socket of its engine; absent in the engine's own report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Its segmentation offloads.
    pub offloads: Offloads,
    /// Prefixes in the mirror of the kernel's main table.
    pub routes: usize,
    /// Datagrams that did not fit the path, so that the kernel fragmented them.
    pub fragmented: u64,
    /// Dropped packets by reason; reasons that never occurred are omitted.
    pub drops: BTreeMap<String, u64>,
    /// Counters since the device was made, which never fall, except `loss.lost`; absent if this user may not use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
    /// The common names of its peers by their ids, where an OpenVPN's status file tells them; absent in the engine's own
    /// report.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub common_names: BTreeMap<u32, String>,
    /// Its peers by their ids; none if this user may not use the device.
    pub peers: P,
}

impl<P> Device<P> {
    /// The same with peers of another type.
    pub fn with_peers<Q>(self, peers: Q) -> Device<Q> {
        Device {
            peers,
            name: self.name,
            ifindex: self.ifindex,
            netns: self.netns,
            mode: self.mode,
            api: self.api,
            owner: self.owner,
            engine: self.engine,
            offloads: self.offloads,
            routes: self.routes,
            fragmented: self.fragmented,
            drops: self.drops,
            totals: self.totals,
            common_names: self.common_names,
        }
    }
}

/// Mode of a device.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One peer gets all traffic.
    P2p,
    /// Many peers, distinguished by their VPN addresses.
    Mp,
}

/// API of a device.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub enum Api {
    /// That of Linux 6.16 and OpenVPN 2.7.
    #[serde(rename = "ovpn")]
    Ovpn,
    /// That of OpenVPN 2.6.
    #[serde(rename = "ovpn-dco-v2")]
    DcoV2,
}

/// Offloads by their names on the command line (`--without`), and whether they are in use.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Offloads {
    /// TCP leaves the device in super-packets.
    pub device_tcp: bool,
    /// The same for UDP.
    pub device_udp: bool,
    /// TCP segments are merged on the way in.
    pub merge: bool,
    /// The same for UDP, unless `merge` is disabled or the kernel lacks it (before Linux 6.2).
    pub merge_udp: bool,
    /// `UDP_SEGMENT` on a peer's socket; `None` if there is no peer, or over TCP.
    pub segment: Option<bool>,
    /// As `segment`, for receiving.
    pub coalesce: Option<bool>,
    /// Queues of the device.
    pub queues: usize,
}

impl Mode {
    /// As in the JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P2p => "p2p",
            Self::Mp => "mp",
        }
    }
}

impl Api {
    /// As in the JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ovpn => "ovpn",
            Self::DcoV2 => "ovpn-dco-v2",
        }
    }

    /// The kind of link by which `ip link add` makes such a device.
    #[must_use]
    pub const fn link_kind(self) -> &'static str {
        match self {
            Self::Ovpn => "ovpn",
            Self::DcoV2 => "ovpn-dco",
        }
    }
}

impl Offloads {
    /// The names of those in use.
    pub fn in_use(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            ("coalesce", self.coalesce == Some(true)),
            ("device-tcp", self.device_tcp),
            ("device-udp", self.device_udp),
            ("merge", self.merge),
            ("merge-udp", self.merge_udp),
            ("segment", self.segment == Some(true)),
        ];
        all.into_iter().filter_map(|(name, is)| is.then_some(name))
    }
}

#[cfg(test)]
mod tests;
