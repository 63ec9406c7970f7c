//! `udco peer`: the peers of a device.

mod hold;
mod list;
mod state;
mod transport;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use udco_netlink::client::{Command as Request, Received};
use udco_netlink::{Keepalive, PeerSet, PeerState};

use crate::client::{Channel, Driver};
use crate::engines::{self, EngineOption};
use crate::output::line;
use crate::state as engine_state;

/// The highest peer id that fits into a packet; 0xffffff is "undefined" (dco-behaviour 1.1).
const MAX_PEER_ID: i64 = 0xff_ffff;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add peers and hold their socket.
    ///
    /// Creates the transport socket, gives it to the device's driver, and stays in the foreground: the peers end with this
    /// process. It exits on SIGINT or SIGTERM, or when its last peer is gone. Install keys with `udco key new`.
    #[command(after_help = "\
Examples:
  udco peer new tun0 --id 1 --remote 192.0.2.1:1194 --local 0.0.0.0:1194 --keepalive 10:60
  udco peer new tun0 --peers peers.txt --local [::]:1194

A peers file has one line per peer:
  ID TX_ID REMOTE_ADDRESS:PORT VPN_ADDRESS...
with \"-\" for omitted values, and comments after \"#\".")]
    New(NewArguments),

    /// Change a peer.
    #[command(after_help = "Example: udco peer set tun0 --id 1 --keepalive 10:60")]
    Set(SetArguments),

    /// Show one peer or all.
    #[command(after_help = "Example: udco peer get tun0 --id 1 --json")]
    Get {
        /// Name of the device.
        #[arg(value_parser = crate::interface::argument)]
        device: String,
        /// Id of the peer [default: all].
        #[arg(long, value_parser = peer_id())]
        id: Option<u32>,
        /// Print JSON: one object, or an array of objects.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        engine: EngineOption,
    },

    /// Delete a peer.
    #[command(after_help = "Example: udco peer del tun0 --id 1")]
    Del {
        /// Name of the device.
        #[arg(value_parser = crate::interface::argument)]
        device: String,
        /// Id of the peer.
        #[arg(long, value_parser = peer_id())]
        id: u32,
        #[command(flatten)]
        engine: EngineOption,
    },
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true).args(["id", "peers"]))]
struct NewArguments {
    /// Name of the device.
    #[arg(value_parser = crate::interface::argument)]
    device: String,
    /// Id of the peer, 0 to 16777215: the one in packets received from it.
    #[arg(long, value_parser = peer_id())]
    id: Option<u32>,
    /// Id in packets sent to the peer [default: the same].
    #[arg(long, value_parser = peer_id(), requires = "id")]
    tx_id: Option<u32>,
    /// Address of the peer: ADDRESS:PORT, with an IPv6 address in brackets.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "id", value_parser = remote)]
    remote: Option<SocketAddr>,
    /// VPN IPv4 address of the peer.
    #[arg(long, value_name = "ADDRESS", requires = "id")]
    vpn4: Option<Ipv4Addr>,
    /// VPN IPv6 address of the peer.
    #[arg(long, value_name = "ADDRESS", requires = "id")]
    vpn6: Option<Ipv6Addr>,
    /// Read several peers for one socket from a file, or from standard input with "-".
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// Local address to send from [default: the route's choice].
    #[arg(long, value_name = "ADDRESS")]
    local_address: Option<IpAddr>,
    /// Interface of a link-local remote: name or index.
    #[arg(long, value_name = "INTERFACE", value_parser = scope)]
    scope: Option<u32>,
    /// Send something at least every INTERVAL seconds; delete the peer after TIMEOUT seconds of silence. 0:0 disables both.
    #[arg(long, value_name = "INTERVAL:TIMEOUT", value_parser = keepalive)]
    keepalive: Option<Keepalive>,
    #[command(flatten)]
    socket: transport::Options,
    /// Print what OpenVPN would receive: source, length and first byte of each control packet.
    #[arg(long)]
    print_control: bool,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineOption,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true)
    .args(["tx_id", "remote", "vpn4", "vpn6", "keepalive"]))]
struct SetArguments {
    /// Name of the device.
    #[arg(value_parser = crate::interface::argument)]
    device: String,
    /// Id of the peer.
    #[arg(long, value_parser = peer_id())]
    id: u32,
    /// Id in packets sent to the peer.
    #[arg(long, value_parser = peer_id())]
    tx_id: Option<u32>,
    /// Address of the peer: ADDRESS:PORT, with an IPv6 address in brackets.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = remote)]
    remote: Option<SocketAddr>,
    /// Local address to send from.
    #[arg(long, value_name = "ADDRESS", requires = "remote")]
    local_address: Option<IpAddr>,
    /// Interface of a link-local remote: name or index.
    #[arg(long, value_name = "INTERFACE", value_parser = scope, requires = "remote")]
    scope: Option<u32>,
    /// VPN IPv4 address of the peer; 0.0.0.0 for none.
    #[arg(long, value_name = "ADDRESS")]
    vpn4: Option<Ipv4Addr>,
    /// VPN IPv6 address of the peer; :: for none.
    #[arg(long, value_name = "ADDRESS")]
    vpn6: Option<Ipv6Addr>,
    /// Send something at least every INTERVAL seconds; delete the peer after TIMEOUT seconds of silence. 0:0 disables both.
    #[arg(long, value_name = "INTERVAL:TIMEOUT", value_parser = keepalive)]
    keepalive: Option<Keepalive>,
    #[command(flatten)]
    engine: EngineOption,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::New(arguments) => hold::run(arguments).context("peer new"),
        Command::Set(arguments) => set(arguments).context("peer set"),
        Command::Get {
            device,
            id,
            json,
            engine,
        } => show(device, *id, *json, engine).context("peer get"),
        Command::Del { device, id, engine } => delete(device, *id, engine).context("peer del"),
    }
}

fn set(arguments: &SetArguments) -> Result<()> {
    let remote = arguments.remote.map(|it| scoped(it, arguments.scope));
    let remote = remote.transpose()?;
    let change = PeerSet {
        id: arguments.id,
        tx_id: arguments.tx_id,
        remote,
        local: arguments.local_address,
        vpn4: arguments.vpn4,
        vpn6: arguments.vpn6,
        keepalive: arguments.keepalive,
        ..PeerSet::default()
    };
    request(
        &arguments.device,
        &arguments.engine,
        &Request::PeerSet(&change),
    )?;
    Ok(())
}

fn show(device: &str, id: Option<u32>, json: bool, engine: &EngineOption) -> Result<()> {
    let command = id.map_or(Request::Peers, Request::PeerGet);
    let mut peers = reported(device, engine, &command)?;
    if peers.is_empty() && id.is_none() {
        // A dump of the old API omits a point-to-point peer (dco-behaviour 3.1).
        for id in known(device, engine)? {
            peers.extend(reported(device, engine, &Request::PeerGet(id))?);
        }
    }
    peers.sort_by_key(|peer| peer.id);
    if !json {
        if peers.is_empty() {
            line!("no peers");
        }
        return peers.iter().try_for_each(state::print);
    }
    let mut objects: Vec<_> = peers.iter().map(state::object).collect();
    let value = match id {
        Some(_) => objects.pop().unwrap_or_default(),
        None => objects.into(),
    };
    line!("{}", serde_json::to_string_pretty(&value)?);
    Ok(())
}

fn reported(device: &str, engine: &EngineOption, command: &Request<'_>) -> Result<Vec<PeerState>> {
    let received = request(device, engine, command)?.into_iter();
    let peers = received.filter_map(|received| match received {
        Received::Peer(peer) => Some(peer),
        _ => None,
    });
    Ok(peers.collect())
}

/// Ids of the peers of an engine's device, by the engine's state.
fn known(device: &str, engine: &EngineOption) -> Result<Vec<u32>> {
    let found = engines::with_device(device, engine)?;
    let Driver::Engine(mut client) = found.driver else {
        return Ok(Vec::new());
    };
    let peers = engine_state::peers_of(&mut client, found.ifindex)?;
    Ok(peers.iter().map(|peer| peer.id).collect())
}

fn delete(device: &str, id: u32, engine: &EngineOption) -> Result<()> {
    request(device, engine, &Request::PeerDel(id)).map(drop)
}

/// Sends a request to the device's driver.
pub(crate) fn request(
    device: &str,
    engine: &EngineOption,
    command: &Request<'_>,
) -> Result<Vec<Received>> {
    let found = engines::with_device(device, engine)?;
    let answer = Channel::open(found.driver, &[found.api])
        .and_then(|mut channel| channel.request(found.ifindex, command, None));
    // The driver's own words name the peer at most.
    answer.with_context(|| device.to_owned())
}

/// Parses a peer's id.
pub(crate) fn peer_id() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=MAX_PEER_ID)
}

/// Parses where a peer is.
fn remote(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().ok();
    let address = address.filter(|address: &SocketAddr| address.port() != 0);
    address.ok_or_else(|| {
        "give an IP address and a port, e.g. 192.0.2.1:1194 or [2001:db8::1]:1194".to_owned()
    })
}

/// Parses where to receive; port 0 is any.
fn local(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "give an IP address and a port, e.g. 0.0.0.0:1194 or [::]:1194".to_owned())
}

/// Adds the interface through which a link-local address is reached.
///
/// # Errors
/// If such an address has none: it is on every link, and no packet would leave.
fn scoped(remote: SocketAddr, scope: Option<u32>) -> Result<SocketAddr> {
    let SocketAddr::V6(mut remote) = remote else {
        return Ok(remote);
    };
    if let Some(scope) = scope {
        remote.set_scope_id(scope);
    }
    if remote.ip().is_unicast_link_local() && remote.scope_id() == 0 {
        bail!("the remote {remote} is link-local: name its interface with --scope");
    }
    Ok(remote.into())
}

fn scope(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number != 0);
    number
        .or_else(|| crate::interface::index(text))
        .ok_or_else(|| format!("no such interface: {text}"))
}

fn keepalive(text: &str) -> Result<Keepalive, String> {
    let numbers = text.split_once(':').and_then(|(interval, timeout)| {
        Some(Keepalive {
            interval: interval.parse().ok()?,
            timeout: timeout.parse().ok()?,
        })
    });
    numbers.ok_or_else(|| "expected two numbers of seconds, as in 10:60".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepalive_takes_two_numbers() {
        let both = |interval, timeout| Ok(Keepalive { interval, timeout });
        assert_eq!(keepalive("10:60"), both(10, 60));
        assert_eq!(keepalive("0:0"), both(0, 0));
        for bad in ["", "10", "10:", ":60", "a:b", "-1:2", "1:2:3"] {
            assert!(keepalive(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_remote_has_an_address_and_a_port() {
        for good in ["192.0.2.1:1194", "[2001:db8::1]:1"] {
            assert_eq!(remote(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "192.0.2.1",
            "192.0.2.1:0",
            "192.0.2.1:65536",
            "host:1",
            "::1:5",
        ] {
            assert!(
                remote(bad).unwrap_err().contains("[2001:db8::1]:1194"),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_scope_is_for_ipv6() {
        let of = |remote: &str, scope| scoped(remote.parse().unwrap(), scope);
        let with = |remote: &str| of(remote, Some(3)).unwrap().to_string();
        assert_eq!(with("[fe80::1]:1194"), "[fe80::1%3]:1194");
        assert_eq!(with("192.0.2.1:1194"), "192.0.2.1:1194");
        let without = of("[fe80::1]:1194", None).unwrap_err().to_string();
        assert!(without.contains("[fe80::1]:1194") && without.contains("--scope"));
        for fine in ["[fe80::1%3]:1194", "[2001:db8::1]:1194", "192.0.2.1:1"] {
            assert!(of(fine, None).is_ok(), "{fine}");
        }
        assert_eq!(scope("7"), Ok(7));
        assert_eq!(scope("lo"), Ok(1));
        assert!(scope("no-such-thing").is_err());
    }
}
