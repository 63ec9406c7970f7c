//! The subjects of the comparison.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use udco_testbed::{Endpoint, Launch, Pair, Process, Variant, addresses, connect, udco};

use super::link;
use super::vpn::{self, Program, Vpn};

/// The options that make OpenVPN's own data path fastest without changing the packets.
pub(crate) const TUNED: [&str; 4] = [
    "sndbuf 4194304",
    "rcvbuf 4194304",
    "txqueuelen 2000",
    "fast-io",
];

/// The same over TCP, where `fast-io` has no effect.
pub(super) const TUNED_TCP: [&str; 4] = [
    "sndbuf 4194304",
    "rcvbuf 4194304",
    "txqueuelen 2000",
    "tcp-nodelay",
];

const CHACHA: &str = "CHACHA20-POLY1305";

/// One way to carry packets from one host to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subject {
    /// The link between the hosts, unencrypted.
    NoTunnel,
    /// The same with nothing larger than the MTU.
    NoTunnelNoGso,
    /// OpenVPN's own data path, as installed.
    Openvpn,
    /// The same with large buffers, the best that its options allow.
    OpenvpnTuned,
    /// The same with CHACHA20-POLY1305.
    OpenvpnTunedChacha,
    /// The same with large buffers over TCP.
    OpenvpnTunedTcp,
    /// wireguard-go.
    WireguardGo,
    /// nebula.
    Nebula,
    /// tinc.
    Tinc,
    /// fastd.
    Fastd,
    /// OpenVPN, as installed, with udco at both ends.
    Udco,
    /// The same with CHACHA20-POLY1305.
    UdcoChacha,
    /// The same over TCP, whose sockets have reno.
    UdcoTcp,
    /// The same with cubic, the default of Linux.
    UdcoTcpCubic,
    /// The same with bbr, the default of many VPN servers.
    UdcoTcpBbr,
    /// OpenVPN, as installed, with udco at both ends, and thousands of additional peers at the server.
    UdcoCrowded,
    /// udco at the server, OpenVPN's own data path at the client.
    UdcoServer,
    /// OpenVPN's own data path at the server, udco at the client.
    UdcoClient,
}

impl Subject {
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::NoTunnel => "no tunnel",
            Self::NoTunnelNoGso => "no tunnel, no GSO",
            Self::Openvpn => "OpenVPN as installed",
            Self::OpenvpnTuned => "OpenVPN tuned",
            Self::OpenvpnTunedChacha => "OpenVPN tuned, ChaCha",
            Self::OpenvpnTunedTcp => "OpenVPN tuned, over TCP",
            Self::WireguardGo => Vpn::WireguardGo.title(),
            Self::Nebula => Vpn::Nebula.title(),
            Self::Tinc => Vpn::Tinc.title(),
            Self::Fastd => Vpn::Fastd.title(),
            Self::Udco => "OpenVPN with udco",
            Self::UdcoChacha => "OpenVPN with udco, ChaCha",
            Self::UdcoTcp => "OpenVPN with udco, over TCP",
            Self::UdcoTcpCubic => "OpenVPN with udco, over TCP, cubic",
            Self::UdcoTcpBbr => "OpenVPN with udco, over TCP, bbr",
            Self::UdcoCrowded => "OpenVPN with udco, 10,000 peers",
            Self::UdcoServer => "udco at the server only",
            Self::UdcoClient => "udco at the client only",
        }
    }

    /// The congestion control of the tunnel's own streams, if it is over TCP.
    pub(crate) const fn congestion(self) -> &'static str {
        match self {
            Self::UdcoTcpCubic => "cubic",
            Self::UdcoTcpBbr => "bbr",
            // Every kernel lets a network namespace have it.
            _ => "reno",
        }
    }

    /// The other VPN, if it is one.
    pub(crate) const fn vpn(self) -> Option<Vpn> {
        match self {
            Self::WireguardGo => Some(Vpn::WireguardGo),
            Self::Nebula => Some(Vpn::Nebula),
            Self::Tinc => Some(Vpn::Tinc),
            Self::Fastd => Some(Vpn::Fastd),
            _ => None,
        }
    }

    fn program(self, programs: &[Program]) -> Result<&Program> {
        let mut programs = programs.iter();
        let program = programs.find(|program| Some(program.vpn()) == self.vpn());
        program.with_context(|| format!("there is no {}", self.title()))
    }

    /// Starts it between the hosts of `pair`.
    ///
    /// # Errors
    /// If it doesn't come up.
    pub(crate) fn start(
        self,
        pair: &Pair,
        programs: &[Program],
        udco: Option<&Path>,
        ipv6: bool,
    ) -> Result<Tunnel> {
        let variant = Variant {
            tcp: matches!(
                self,
                Self::OpenvpnTunedTcp | Self::UdcoTcp | Self::UdcoTcpCubic | Self::UdcoTcpBbr
            ),
            ipv6,
        };
        let proto = variant.proto();
        let (mut server, mut client) = (pair.server(proto), pair.client(proto));
        if let Some(binary) = udco {
            (server, client) = (server.udco(binary), client.udco(binary));
        }
        let (server, client) = match self {
            Self::NoTunnel => return Ok(Tunnel::None),
            Self::NoTunnelNoGso => {
                link::without_segmentation(pair)?;
                return Ok(Tunnel::None);
            }
            Self::WireguardGo | Self::Nebula | Self::Tinc | Self::Fastd => {
                return Ok(Tunnel::Vpn(self.program(programs)?.start(pair)?));
            }
            Self::Openvpn => (server, client),
            Self::OpenvpnTuned => (server.line_each(&TUNED), client.line_each(&TUNED)),
            Self::OpenvpnTunedChacha => (
                server.line_each(&TUNED).cipher(CHACHA),
                client.line_each(&TUNED).cipher(CHACHA),
            ),
            Self::OpenvpnTunedTcp => (server.line_each(&TUNED_TCP), client.line_each(&TUNED_TCP)),
            Self::Udco
            | Self::UdcoTcp
            | Self::UdcoTcpCubic
            | Self::UdcoTcpBbr
            | Self::UdcoCrowded => (server.launch(Launch::Udco), client.launch(Launch::Udco)),
            Self::UdcoChacha => (
                server.launch(Launch::Udco).cipher(CHACHA),
                client.launch(Launch::Udco).cipher(CHACHA),
            ),
            Self::UdcoServer => (server.launch(Launch::Udco), client),
            Self::UdcoClient => (server, client.launch(Launch::Udco)),
        };
        let (server, client) = connect(server, client)?;
        if self == Self::UdcoCrowded {
            let crowd = crowd(pair).context("cannot add peers")?;
            return Ok(Tunnel::Crowded([server, client], crowd));
        }
        Ok(Tunnel::Openvpn([server, client]))
    }
}

/// How many peers to add to the existing one.
const CROWD: u32 = 9_999;

/// Above the ids that OpenVPN assigns.
const FIRST_OF_CROWD: u32 = 100_000;

/// Adds peers to the server's device, all of them at closed ports of the client's host, and returns the process that
/// holds them.
fn crowd(pair: &Pair) -> Result<Process> {
    let mut peers = String::new();
    for number in 0..CROWD {
        let (id, port) = (FIRST_OF_CROWD + number, 20_000 + number);
        let [_, _, high, low] = number.to_be_bytes();
        let _ = writeln!(
            peers,
            "{id} - {}:{port} 10.9.{high}.{low}",
            addresses::CLIENT
        );
    }
    let file = pair.lab.directory().join("crowd");
    fs::write(&file, peers)?;
    let (program, file) = (udco::binary()?, file.display().to_string());
    let words = "peer new tun0 --local 0.0.0.0:5000 --json --peers";
    let mut words: Vec<&str> = words.split(' ').collect();
    let program = program.display().to_string();
    words.insert(0, &program);
    words.push(&file);
    let mut holder = pair.server.spawn("crowd", &words)?;
    holder.wait_for_log("\"peers\":[", Duration::from_secs(20))?;
    Ok(holder)
}

/// A running subject; it ends when dropped.
#[derive(Debug)]
pub(crate) enum Tunnel {
    None,
    #[expect(dead_code, reason = "held for its end")]
    Openvpn([Endpoint; 2]),
    #[expect(dead_code, reason = "held for its end")]
    Crowded([Endpoint; 2], Process),
    #[expect(dead_code, reason = "held for its end")]
    Vpn([Process; 2]),
}

impl Tunnel {
    /// The names, as in `/proc`, of the processes that carry the packets.
    pub(crate) fn programs() -> Vec<&'static str> {
        [["openvpn", "udco"].as_slice(), &vpn::PROCESSES].concat()
    }

    /// The address at which the client reaches the server.
    pub(crate) const fn server(&self, ipv6: bool) -> &'static str {
        match (self, ipv6) {
            (Self::None, false) => addresses::SERVER,
            (Self::None, true) => addresses::SERVER6,
            (_, false) => addresses::INNER_SERVER,
            (_, true) => addresses::INNER_SERVER6,
        }
    }
}
