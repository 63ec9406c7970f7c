//! `udco show`: what the engines of this machine have to tell.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::ShowArguments;
use crate::client::Client;
use crate::engines;
use crate::output::{complain, line};
use crate::survey::Survey;

/// Prints what every engine says, and returns the exit code.
pub(crate) fn run(arguments: &ShowArguments) -> Result<u8> {
    let mut survey = Survey::take(arguments.engine.as_deref(), arguments.all)?;
    let code = survey.exit_code();
    for remark in survey.remarks() {
        complain!("{remark}");
    }
    if survey.devices() == 0 && !arguments.json {
        line!("{}", survey.no_devices());
    }
    let troubles = survey.troubles();
    let states = std::mem::take(&mut survey.states);
    if arguments.json {
        let mut merged = merge(states);
        if let (Some(merged), Value::Object(troubles)) = (merged.as_object_mut(), troubles) {
            merged.extend(troubles);
        }
        line!("{}", serde_json::to_string_pretty(&merged)?);
    } else {
        print_all(states)?;
    }
    Ok(code)
}

/// Prints the devices of this namespace, or the one of this name.
pub(crate) fn devices(name: Option<&str>, json: bool, engine: Option<&Path>) -> Result<()> {
    let mut states = match engine {
        Some(path) => vec![Client::connect(path)?.state()?],
        None => ask_all(true),
    };
    for state in &mut states {
        let Some(Value::Array(devices)) = state.get_mut("devices") else {
            continue;
        };
        devices.retain(|device| {
            engines::is_device_here(device)
                && name.is_none_or(|name| device.get("name") == Some(&name.into()))
        });
        devices
            .iter_mut()
            .filter_map(Value::as_object_mut)
            .for_each(|device| {
                let kind = match device.get("api").and_then(Value::as_str) {
                    Some("ovpn-dco-v2") => "ovpn-dco",
                    _ => "ovpn",
                };
                device.insert("kind".into(), kind.into());
            });
    }
    let mut merged = merge(states);
    let found = merged.get("devices").and_then(Value::as_array);
    if let Some(name) = name
        && found.is_none_or(Vec::is_empty)
    {
        bail!("no engine has a device {name} here: create it with `udco link add {name}`");
    }
    if json {
        if let Some(merged) = merged.as_object_mut() {
            merged.remove("engines");
        }
        line!("{}", serde_json::to_string_pretty(&merged)?);
    } else if print_all(vec![merged])? == 0 {
        line!("no devices: create one with `udco link add NAME`");
    }
    Ok(())
}

/// Prints the devices of engines and returns how many there are.
fn print_all(states: Vec<Value>) -> Result<usize> {
    let mut devices = 0;
    for state in states {
        let engine: EngineState =
            serde_json::from_value(state).context("the engine has a different version")?;
        devices += engine.devices.len();
        engine.devices.iter().try_for_each(print_device)?;
    }
    Ok(devices)
}

/// The state of every engine that answers, of this network namespace or of all.
fn ask_all(everywhere: bool) -> Vec<Value> {
    let ask = |(path, mut client): (std::path::PathBuf, Client)| match client.state() {
        Ok(state) => Some(state),
        Err(error) => {
            complain!("{}: {error:#}", path.display());
            None
        }
    };
    let (engines, failures) = engines::all();
    engines::complain(&failures);
    let states = engines.into_iter().filter_map(ask);
    states
        .filter(|state| everywhere || engines::is_here(state))
        .collect()
}

/// One object: all devices, and which engines there are.
fn merge(states: Vec<Value>) -> Value {
    let mut devices = Vec::new();
    let mut engines = Vec::new();
    for mut state in states {
        if let Some(Value::Array(of_engine)) = state.get_mut("devices").map(Value::take) {
            devices.extend(of_engine);
        }
        if let Some(engine) = state.as_object_mut() {
            engine.remove("devices");
        }
        engines.push(state);
    }
    serde_json::json!({ "devices": devices, "engines": engines })
}

#[derive(Deserialize)]
struct EngineState {
    devices: Vec<Device>,
}

#[derive(Deserialize)]
struct Device {
    name: String,
    mode: String,
    api: String,
    /// Whether each is in use; and how many queues there are.
    offloads: std::collections::BTreeMap<String, Value>,
    fragmented: u64,
    drops: std::collections::BTreeMap<String, u64>,
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    id: u32,
    remote: Option<String>,
    path_mtu: Option<u16>,
    mss: Option<Mss>,
    vpn4: Option<String>,
    vpn6: Option<String>,
    keys: Keys,
    vpn: Traffic,
    link: Traffic,
}

#[derive(Deserialize)]
struct Mss {
    ipv4: u16,
    ipv6: u16,
}

#[derive(Deserialize)]
struct Keys {
    primary: Option<Key>,
    secondary: Option<Key>,
}

#[derive(Deserialize)]
struct Key {
    key_id: u8,
    cipher: String,
}

#[derive(Deserialize)]
struct Traffic {
    rx_bytes: u64,
    rx_packets: u64,
    tx_bytes: u64,
    tx_packets: u64,
}

fn print_device(device: &Device) -> Result<()> {
    line!(
        "{} ({}, {}), {} peers, {} datagrams sent in fragments",
        device.name,
        device.mode,
        device.api,
        device.peers.len(),
        device.fragmented
    );
    for peer in &device.peers {
        let addresses = [&peer.vpn4, &peer.vpn6].into_iter().flatten().cloned();
        let addresses = addresses.collect::<Vec<_>>().join(", ");
        let remote = peer.remote.as_deref().unwrap_or("-");
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
        print_traffic("vpn", &peer.vpn)?;
        print_traffic("link", &peer.link)?;
    }
    let in_use = device
        .offloads
        .iter()
        .filter(|(_, is)| **is == Value::Bool(true));
    let in_use: Vec<&str> = in_use.map(|(name, _)| name.as_str()).collect();
    let queues = device.offloads.get("queues").and_then(Value::as_u64);
    line!(
        "  offloads {}; queues {}",
        in_use.join(" "),
        queues.unwrap_or(1)
    );
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

fn print_traffic(name: &str, traffic: &Traffic) -> Result<()> {
    line!(
        "    {name:<5} received {} bytes in {} packets, sent {} bytes in {} packets",
        traffic.rx_bytes,
        traffic.rx_packets,
        traffic.tx_bytes,
        traffic.tx_packets
    );
    Ok(())
}
