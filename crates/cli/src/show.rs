//! `udco show`: the state of the engines on this machine.

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;
use udco_state::{Key, Mss, Traffic};

use crate::ShowArguments;
use crate::engines;
use crate::output::{self, complain, line};
use crate::state::{self, Device, EngineState};
use crate::survey::{self, Survey};

/// A device, as `udco link show --json` prints it.
#[derive(Serialize)]
struct Link<'a> {
    #[serde(flatten)]
    device: Device<'a>,
    /// The kind of link with which `ip` makes such a device.
    kind: &'static str,
}

/// Prints the state of every engine, and returns the exit code.
pub(crate) fn run(arguments: &ShowArguments) -> Result<u8> {
    let (texts, silent) = survey::states(arguments.engine.as_deref())?;
    let survey = match arguments.engine {
        Some(_) => Survey::of_one(&texts)?,
        None => Survey::of_all(&texts, silent, arguments.all),
    };
    let code = survey.exit_code();
    for remark in survey.remarks() {
        complain!("{remark}");
    }
    if arguments.json {
        output::json(&survey.into_report())?;
        return Ok(code);
    }
    if survey.devices() == 0 {
        line!("{}", survey.no_devices());
    }
    let mut devices = survey.states.iter().flat_map(|state| &state.devices);
    devices.try_for_each(print_device)?;
    Ok(code)
}

/// Prints the devices of this namespace, or the one of this name.
pub(crate) fn devices(name: Option<&str>, json: bool, engine: Option<&Path>) -> Result<()> {
    let (texts, mut silent) = survey::states(engine)?;
    let mut devices = Vec::new();
    for (path, text) in &texts {
        match state::read::<EngineState<'_>>(text) {
            Ok(state) => devices.extend(state.devices),
            Err(error) => silent.push((path.clone(), error)),
        }
    }
    engines::complain(&silent);
    devices.retain(|device| state::is_here(device) && name.is_none_or(|name| device.name == name));
    if let Some(name) = name.filter(|_| devices.is_empty()) {
        bail!("no engine has a device {name} here: create it with `udco link add {name}`");
    }
    if json {
        let links = devices.into_iter().map(|device| Link {
            kind: device.api.link_kind(),
            device,
        });
        let links: Vec<_> = links.collect();
        return output::json(&std::collections::BTreeMap::from([("devices", links)]));
    }
    if devices.is_empty() {
        line!("no devices: create one with `udco link add NAME`");
    }
    devices.iter().try_for_each(print_device)
}

fn print_device(device: &Device<'_>) -> Result<()> {
    let peers = state::peers(device)?;
    line!(
        "{} ({}, {}), {} peers, {} datagrams sent in fragments",
        device.name,
        device.mode.name(),
        device.api.name(),
        peers.len(),
        device.fragmented
    );
    for peer in &peers {
        let vpn4 = peer.vpn4.map(|it| it.to_string());
        let vpn6 = peer.vpn6.map(|it| it.to_string());
        let addresses: Vec<_> = vpn4.into_iter().chain(vpn6).collect();
        let addresses = addresses.join(", ");
        let remote = peer
            .remote
            .map_or_else(|| "-".to_owned(), |it| it.to_string());
        line!("  peer {} at {remote} {addresses}", peer.id);
        if let (Some(mtu), Some(mss)) = (peer.path_mtu, &peer.mss) {
            let Mss { ipv4, ipv6 } = mss;
            line!("    path  MTU {mtu}, MSS inside {ipv4} (IPv6 {ipv6})");
        }
        line!(
            "    keys  primary {}, secondary {}",
            key(&peer.keys.primary),
            key(&peer.keys.secondary)
        );
        print_traffic("    ", "vpn", &peer.vpn)?;
        print_traffic("    ", "link", &peer.link)?;
    }
    let in_use: Vec<_> = device.offloads.in_use().collect();
    let queues = device.offloads.queues;
    line!("  offloads {}; queues {queues}", in_use.join(" "));
    for (reason, count) in &device.drops {
        line!("  dropped  {count:>12}  {reason}");
    }
    Ok(())
}

fn key(key: &Option<Key>) -> String {
    match key {
        Some(key) => format!("{} ({})", key.key_id, key.cipher),
        None => "-".to_owned(),
    }
}

/// Prints the counters of the transport or the device.
pub(crate) fn print_traffic(indent: &str, name: &str, traffic: &Traffic) -> Result<()> {
    line!(
        "{indent}{name:<5} received {} bytes in {} packets, sent {} bytes in {} packets",
        traffic.rx_bytes,
        traffic.rx_packets,
        traffic.tx_bytes,
        traffic.tx_packets
    );
    Ok(())
}
