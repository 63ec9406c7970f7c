//! `udco show`: the state of the engines on this machine, and of the kernel's own driver.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;
use udco_state::{Driver, KernelDevice, Key, Keys, Mss, Traffic};

use crate::ShowArguments;
use crate::output::{self, complain, line};
use crate::state::{self, Device, EngineState};
use crate::survey::{self, Survey};
use crate::{engines, kernel};

/// A device, as `udco link show --json` prints it.
#[derive(Serialize)]
struct Link<'a> {
    #[serde(flatten)]
    device: Device<'a>,
    /// The kind of link with which `ip` makes such a device.
    kind: &'static str,
    /// What serves it.
    driver: Driver,
}

/// The same for a device of the kernel's own driver.
#[derive(Serialize)]
struct KernelLink {
    #[serde(flatten)]
    device: KernelDevice,
    kind: &'static str,
}

/// What `udco link show --json` prints.
#[derive(Serialize)]
struct Links<'a> {
    devices: Vec<Link<'a>>,
    kernel_devices: Vec<KernelLink>,
}

/// Prints the state of every engine, and returns the exit code.
pub(crate) fn run(arguments: &ShowArguments) -> Result<u8> {
    let (texts, silent) = survey::states(arguments.engine.as_deref())?;
    let survey = match arguments.engine {
        Some(_) => Survey::of_one(&texts)?,
        None => Survey::of_all(&texts, silent, arguments.all, kernel::devices(None)),
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
    let mut devices = survey.engines.iter().flat_map(|it| &it.state.devices);
    devices.try_for_each(print_device)?;
    survey.kernel.iter().try_for_each(print_kernel_device)?;
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
    let (mut kernels, remarks) = match engine {
        Some(_) => kernel::Survey::default(),
        None => kernel::devices(name),
    };
    for remark in remarks {
        complain!("{remark}");
    }
    devices.retain(|device| state::is_here(device) && name.is_none_or(|name| device.name == name));
    if let Some(name) = name.filter(|_| devices.is_empty() && kernels.is_empty()) {
        bail!("no engine has a device {name} here: create it with `udco link add {name}`");
    }
    if json {
        let links = devices.into_iter().map(|device| Link {
            kind: device.api.link_kind(),
            device,
            driver: Driver::Udco,
        });
        let kernels = kernels.drain(..).map(|device| KernelLink {
            device,
            kind: udco_state::Api::Ovpn.link_kind(),
        });
        return output::json(&Links {
            devices: links.collect(),
            kernel_devices: kernels.collect(),
        });
    }
    if devices.is_empty() && kernels.is_empty() {
        line!("no devices: create one with `udco link add NAME`");
    }
    devices.iter().try_for_each(print_device)?;
    kernels.iter().try_for_each(print_kernel_device)
}

fn print_kernel_device(device: &KernelDevice) -> Result<()> {
    let (name, mode, driver) = (&device.name, device.mode.name(), device.driver.name());
    let Some(peers) = &device.peers else {
        line!("{name} ({mode}, ovpn, driver: {driver})");
        return Ok(());
    };
    line!(
        "{name} ({mode}, ovpn, driver: {driver}), {} peers",
        peers.len()
    );
    for peer in peers {
        print_peer(peer.id, peer.remote, peer.vpn4, peer.vpn6)?;
        print_keys(&peer.keys)?;
        print_traffic("    ", "vpn", &peer.vpn)?;
        print_traffic("    ", "link", &peer.link)?;
    }
    Ok(())
}

fn print_peer(
    id: u32,
    remote: Option<SocketAddr>,
    vpn4: Option<Ipv4Addr>,
    vpn6: Option<Ipv6Addr>,
) -> Result<()> {
    let vpn4 = vpn4.map(|it| it.to_string());
    let vpn6 = vpn6.map(|it| it.to_string());
    let addresses: Vec<_> = vpn4.into_iter().chain(vpn6).collect();
    let addresses = addresses.join(", ");
    let remote = remote.map_or_else(|| "-".to_owned(), |it| it.to_string());
    line!("  peer {id} at {remote} {addresses}");
    Ok(())
}

fn print_keys(keys: &Keys) -> Result<()> {
    let (primary, secondary) = (key(&keys.primary), key(&keys.secondary));
    line!("    keys  primary {primary}, secondary {secondary}");
    Ok(())
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
        print_peer(peer.id, peer.remote, peer.vpn4, peer.vpn6)?;
        if let (Some(mtu), Some(mss)) = (peer.path_mtu, &peer.mss) {
            let Mss { ipv4, ipv6 } = mss;
            line!("    path  MTU {mtu}, MSS inside {ipv4} (IPv6 {ipv6})");
        }
        print_keys(&peer.keys)?;
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
