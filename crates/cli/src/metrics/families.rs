//! The metrics: names by Prometheus' conventions, help, and where each value comes from. docs/metrics.md lists them.

mod writer;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;
use udco_core::DropReason;
use udco_netlink::DeleteReason;
use udco_state::{Engine, Traffic};

use self::writer::Writer;
use super::labels::{DeviceLabels, Labels};
use super::sample::{Counters, DeviceSample, Sample};

/// All metrics of a sample.
#[derive(Debug)]
pub(super) struct Families(pub(super) Sample);

/// A counter of [`Traffic`]: name, unit, what it counts, and which one it is.
type Direction = (
    &'static str,
    Option<Unit>,
    &'static str,
    fn(&Traffic) -> u64,
);

/// The counters of a device or a peer, on either side of it.
const DIRECTIONS: [Direction; 4] = [
    ("receive", Some(Unit::Bytes), "Bytes received", |it| {
        it.rx_bytes
    }),
    ("receive_packets", None, "Packets received", |it| {
        it.rx_packets
    }),
    ("transmit", Some(Unit::Bytes), "Bytes sent", |it| {
        it.tx_bytes
    }),
    ("transmit_packets", None, "Packets sent", |it| it.tx_packets),
];

const LOST: &str =
    "Packets lost on the way here, by gaps in packet ids; falls when a late one closes its gap";

const EXPECTED: &str =
    "Packets that were sent here, by packet ids: those that arrived and those lost";

impl Collector for Families {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Writer(encoder);
        let Self(sample) = self;
        exporter(&mut to, sample)?;
        engines(&mut to, sample)?;
        devices(&mut to, &sample.devices)?;
        device_counters(&mut to, &sample.devices)?;
        traffic(&mut to, &sample.devices)?;
        peers(&mut to, &sample.devices)
    }
}

fn exporter(to: &mut Writer<'_>, sample: &Sample) -> fmt::Result {
    let version: Labels<'_> = vec![("version", env!("CARGO_PKG_VERSION").into())];
    to.info("exporter", "The udco that reports this", [version])?;
    let took = [(Labels::new(), sample.took.as_secs_f64())];
    let help = "How long it took to ask the engines";
    to.gauge("scrape_duration", Some(Unit::Seconds), help, took)?;
    let unreachable = [(Labels::new(), sample.unreachable as u64)];
    let help = "Engines whose socket cannot be found";
    to.gauge("unreachable_engines", None, help, unreachable)?;
    let denied = [(Labels::new(), sample.denied as u64)];
    let help = "Engines that this user may not use";
    to.gauge("denied_engines", None, help, denied)?;
    let left = sample.left.iter();
    let left = left.map(|name| (vec![("device", name.as_str().into())], 1u64));
    let help = "A device whose engine was killed: no packet leaves through it";
    to.gauge("device_left", None, help, left)
}

fn engines(to: &mut Writer<'_>, sample: &Sample) -> fmt::Result {
    let label = |socket: &str| -> Labels<'_> { vec![("engine", socket.to_owned().into())] };
    let up = sample.engines.iter();
    let up = up.map(|it| (label(&it.socket), u64::from(it.state.is_some())));
    to.gauge("up", None, "Whether the engine answers", up)?;
    let answered = || {
        let engines = sample.engines.iter();
        engines.filter_map(|it| Some((&it.socket, it.state.as_ref()?)))
    };
    let info = answered().map(|(socket, engine)| {
        let version = engine.version.to_string().into();
        vec![("engine", socket.as_str().into()), ("version", version)]
    });
    to.info("engine", "An engine", info)?;
    let each = |value: fn(&Engine) -> u64| {
        let engines = answered().map(move |(socket, it)| (label(socket), value(it)));
        engines.collect::<Vec<_>>()
    };
    let help = "When the engine started, since 1970";
    to.gauge(
        "engine_start_time",
        Some(Unit::Seconds),
        help,
        each(|it| it.started),
    )?;
    let help = "Threads of the engine that move packets";
    to.gauge("engine_workers", None, help, each(|it| it.workers as u64))?;
    let spent = answered().map(|(socket, it)| (label(socket), it.cpu_seconds));
    let help = "Processor time that the engine has used";
    to.counter("engine_cpu", Some(Unit::Seconds), help, spent)?;
    let spent = answered().flat_map(|(socket, it)| {
        let workers = it.worker_cpu_seconds.iter().enumerate();
        workers.map(move |(worker, spent)| {
            let worker = worker.to_string().into();
            let labels = vec![("engine", socket.as_str().into()), ("worker", worker)];
            (labels, *spent)
        })
    });
    let help = "Processor time that a worker of the engine has used";
    to.counter("worker_cpu", Some(Unit::Seconds), help, spent)
}

fn devices(to: &mut Writer<'_>, devices: &[DeviceSample]) -> fmt::Result {
    let info = devices.iter().map(|device| {
        let kind = [
            ("driver", device.driver),
            ("mode", device.mode),
            ("api", device.api),
        ];
        let mut labels = device.labels.with(&kind);
        let engine = device.engine.as_deref();
        labels.extend(engine.map(|socket| ("engine", socket.into())));
        labels
    });
    to.info("device", "A device, and what serves it", info)?;
    let peers = devices.iter();
    let peers = peers.filter_map(|it| Some((it.labels.with(&[]), it.peers? as u64)));
    to.gauge("device_peers", None, "Peers of the device", peers)?;
    let each = |value: fn(&Counters) -> u64| {
        let each = counters(devices).map(move |(labels, it)| (labels.with(&[]), value(it)));
        each.collect::<Vec<_>>()
    };
    let help = "Queues of the device";
    to.gauge(
        "device_queues",
        None,
        help,
        each(|it| it.offloads.queues as u64),
    )?;
    let help = "Prefixes in the mirror of the main routing table";
    to.gauge("device_routes", None, help, each(|it| it.routes as u64))?;
    let offloads = counters(devices).flat_map(|(labels, it)| {
        let in_use = it.offloads.in_use();
        in_use.map(|name| (labels.with(&[("offload", name)]), 1u64))
    });
    let help = "A segmentation offload that is in use";
    to.gauge("device_offload", None, help, offloads)
}

/// Each reason has a series from the start: Prometheus sees no increase in a series that has just appeared.
fn device_counters(to: &mut Writer<'_>, devices: &[DeviceSample]) -> fmt::Result {
    let fragmented = counters(devices).map(|(labels, it)| (labels.with(&[]), it.fragmented));
    let help = "Datagrams that did not fit the path, so that the kernel fragmented them";
    to.counter("device_fragmented_datagrams", None, help, fragmented)?;
    let drops = counters(devices).flat_map(|(labels, it)| {
        DropReason::ALL.iter().map(|reason| {
            let count = it.drops.get(reason.name()).copied().unwrap_or_default();
            (labels.with(&[("reason", reason.name())]), count)
        })
    });
    let help = "Packets dropped, by reason (drops.md)";
    to.counter("device_dropped_packets", None, help, drops)?;
    let totals = counters(devices).filter_map(|(labels, it)| Some((labels, it.totals.as_ref()?)));
    let ended = totals.flat_map(|(labels, it)| {
        DeleteReason::ALL.iter().map(|reason| {
            let count = it.ended.get(reason.name()).copied().unwrap_or_default();
            (labels.with(&[("reason", reason.name())]), count)
        })
    });
    let help = "Peers that have ended, by reason";
    to.counter("device_ended_peers", None, help, ended)
}

fn traffic(to: &mut Writer<'_>, devices: &[DeviceSample]) -> fmt::Result {
    let totals =
        || counters(devices).filter_map(|(labels, it)| Some((labels, it.totals.as_ref()?)));
    let loss = || totals().filter_map(|(labels, it)| Some((labels.with(&[]), it.loss?)));
    let lost = loss().map(|(labels, it)| (labels, it.lost));
    to.gauge("device_lost_packets", None, LOST, lost)?;
    let expected = loss().map(|(labels, it)| (labels, it.expected));
    to.counter("device_expected_packets", None, EXPECTED, expected)?;
    for (name, unit, what, value) in &DIRECTIONS {
        let series = totals().map(|(labels, it)| (labels.with(&[]), value(&it.vpn)));
        let help = format!("{what} inside the tunnel");
        to.counter(
            &format!("device_{name}"),
            unit.as_ref().cloned(),
            &help,
            series,
        )?;
    }
    for (name, unit, what, value) in &DIRECTIONS {
        let series = totals().map(|(labels, it)| (labels.with(&[]), value(&it.link)));
        let help = format!("{what} at the transport sockets");
        to.counter(
            &format!("device_link_{name}"),
            unit.as_ref().cloned(),
            &help,
            series,
        )?;
    }
    Ok(())
}

/// By id, which the server of the tunnel chooses.
fn peers(to: &mut Writer<'_>, devices: &[DeviceSample]) -> fmt::Result {
    let each = || {
        let devices = devices.iter();
        devices.flat_map(|device| device.each_peer.iter().map(move |peer| (device, peer)))
    };
    let labels = |device: &DeviceSample, id: &str| -> Labels<'static> {
        let labels = device.labels.with(&[("peer", id)]);
        labels
            .into_iter()
            .map(|(name, value)| (name, value.into_owned().into()))
            .collect()
    };
    let mtu = each()
        .filter_map(|(device, peer)| Some((labels(device, &peer.id), u64::from(peer.path_mtu?))));
    let help = "The longest outer packet to the peer that is not fragmented";
    to.gauge("peer_path_mtu", Some(Unit::Bytes), help, mtu)?;
    let loss = || each().filter_map(|(device, peer)| Some((labels(device, &peer.id), peer.loss?)));
    let lost = loss().map(|(labels, it)| (labels, it.lost));
    to.gauge("peer_lost_packets", None, LOST, lost)?;
    let expected = loss().map(|(labels, it)| (labels, it.expected));
    to.counter("peer_expected_packets", None, EXPECTED, expected)?;
    for (name, unit, what, value) in &DIRECTIONS {
        let series = each().map(|(device, peer)| (labels(device, &peer.id), value(&peer.vpn)));
        let help = format!("{what} inside the tunnel, by peer");
        to.counter(
            &format!("peer_{name}"),
            unit.as_ref().cloned(),
            &help,
            series,
        )?;
    }
    for (name, unit, what, value) in &DIRECTIONS {
        let series = each().map(|(device, peer)| (labels(device, &peer.id), value(&peer.link)));
        let help = format!("{what} at the peer's transport socket");
        to.counter(
            &format!("peer_link_{name}"),
            unit.as_ref().cloned(),
            &help,
            series,
        )?;
    }
    Ok(())
}

/// What only engines know about their devices.
fn counters(devices: &[DeviceSample]) -> impl Iterator<Item = (&DeviceLabels, &Counters)> {
    let devices = devices.iter();
    devices.filter_map(|device| Some((&device.labels, device.counters.as_ref()?)))
}

#[cfg(test)]
mod tests;
