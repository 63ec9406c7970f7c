//! `udco show`: what the engines of this machine have to tell.

use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use udco_front::{MAX_MESSAGE, ToEngine, ToFront, VERSION};
use udco_sys::seqpacket::Connection;

use crate::{ShowArguments, runtime_dir};

/// How long an engine may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Prints what every engine says.
pub(crate) fn run(arguments: &ShowArguments) -> Result<()> {
    let states = match &arguments.engine {
        Some(path) => vec![ask(path)?],
        None if arguments.all => ask_all(),
        None => {
            let here = std::fs::metadata("/proc/self/ns/net")?.ino();
            let is_here = |state: &Value| state.get("netns").and_then(Value::as_u64) == Some(here);
            ask_all().into_iter().filter(is_here).collect()
        }
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&merge(states))?);
        return Ok(());
    }
    let mut devices = 0;
    for state in states {
        let engine: EngineState =
            serde_json::from_value(state).context("an engine of another version")?;
        devices += engine.devices.len();
        engine.devices.iter().for_each(print_device);
    }
    if devices == 0 {
        println!("no devices: start OpenVPN with `udco run -- openvpn …`");
    }
    Ok(())
}

/// The state of every engine that answers.
fn ask_all() -> Vec<Value> {
    let ask_if_alive = |path: PathBuf| match ask(&path) {
        Ok(state) => Some(state),
        Err(error) => {
            // Left behind by an engine that was killed: its process is gone for good.
            let dead = error
                .downcast_ref::<std::io::Error>()
                .map(std::io::Error::kind)
                == Some(std::io::ErrorKind::ConnectionRefused);
            if dead {
                let _ = std::fs::remove_file(&path);
            } else {
                eprintln!("udco: {}: {error:#}", path.display());
            }
            None
        }
    };
    runtime_dir::sockets()
        .into_iter()
        .filter_map(ask_if_alive)
        .collect()
}

/// Asks the engine at `path`.
fn ask(path: &Path) -> Result<Value> {
    let connection = Connection::connect(path)?;
    let hello = ToEngine::Hello {
        version: VERSION,
        pid: std::process::id(),
        program: b"udco show",
    };
    exchange(&connection, &hello, &[])?;
    let mut file =
        udco_sys::process::memory_file("udco-show").context("cannot make a memory file")?;
    exchange(&connection, &ToEngine::Show, &[file.as_fd()])?;
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    serde_json::from_str(&text).context("the engine's answer is not JSON")
}

fn exchange(
    connection: &Connection,
    question: &ToEngine<'_>,
    fds: &[std::os::fd::BorrowedFd<'_>],
) -> Result<()> {
    let mut buffer = vec![0; MAX_MESSAGE];
    let len = question
        .encode(1, &mut buffer)
        .map_err(|_| anyhow::anyhow!("message too long"))?;
    connection.send(&buffer[..len], fds)?;
    let received = connection.receive_within(&mut buffer, ANSWER)?;
    if received.len == 0 {
        bail!("the engine hung up: you may not ask it (only root and its own user may)");
    }
    match ToFront::decode(&buffer[..received.len]) {
        Ok((_, ToFront::Welcome { .. } | ToFront::Done { errno: 0, .. })) => Ok(()),
        Ok((_, ToFront::Refused { .. })) => bail!("the engine is of another version"),
        _ => bail!("the engine gave an answer that makes no sense"),
    }
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
    drops: std::collections::BTreeMap<String, u64>,
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    id: u32,
    remote: Option<String>,
    vpn4: Option<String>,
    vpn6: Option<String>,
    keys: Keys,
    vpn: Traffic,
    link: Traffic,
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

fn print_device(device: &Device) {
    println!(
        "{} ({}, {}), {} peers",
        device.name,
        device.mode,
        device.api,
        device.peers.len()
    );
    for peer in &device.peers {
        let addresses = [&peer.vpn4, &peer.vpn6].into_iter().flatten().cloned();
        let addresses = addresses.collect::<Vec<_>>().join(", ");
        let remote = peer.remote.as_deref().unwrap_or("-");
        println!("  peer {} at {remote} {addresses}", peer.id);
        println!(
            "    keys  primary {}, secondary {}",
            key(&peer.keys.primary),
            key(&peer.keys.secondary)
        );
        print_traffic("vpn", &peer.vpn);
        print_traffic("link", &peer.link);
    }
    for (reason, count) in &device.drops {
        println!("  dropped  {count:>12}  {reason}");
    }
}

fn key(key: &Option<Key>) -> String {
    match key {
        Some(key) => format!("{} ({})", key.key_id, key.cipher),
        None => "-".to_owned(),
    }
}

fn print_traffic(name: &str, traffic: &Traffic) {
    println!(
        "    {name:<5} received {} bytes in {} packets, sent {} bytes in {} packets",
        traffic.rx_bytes, traffic.rx_packets, traffic.tx_bytes, traffic.tx_packets
    );
}
