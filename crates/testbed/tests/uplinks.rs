//! A host with two uplinks: packets leave by the one that OpenVPN's options choose (`mark`, `bind-dev`), and the path
//! MTU is that of the chosen path (design decisions 1 and 6).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::capture::Capture;
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{
    Builder, Endpoint, Host, Lab, Launch, Link, Pki, Proto, Signal, Version, addresses as at,
    connect, eventually, skip,
};

/// The server's address, reachable by either uplink.
const SERVER: [&str; 2] = ["203.0.113.1", "2001:db8:ff::1"];

/// The MTU of the uplink that the main table does not choose.
const NARROW: u16 = 1340;

const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_mark_chooses_the_uplink_and_its_path_mtu_udp4() -> Result<()> {
    follows_a_mark(Proto::Udp4)
}

#[test]
fn a_mark_chooses_the_uplink_and_its_path_mtu_udp6() -> Result<()> {
    follows_a_mark(Proto::Udp6)
}

fn follows_a_mark(proto: Proto) -> Result<()> {
    let uplinks = Uplinks::new()?;
    for (family, [_, via], to) in [
        ("-4", Uplinks::GATEWAYS[0], SERVER[0]),
        ("-6", Uplinks::GATEWAYS[1], SERVER[1]),
    ] {
        let client = &uplinks.client;
        client.run(&["ip", family, "rule", "add", "fwmark", "77", "lookup", "77"])?;
        client.run(&["ip", family, "route", "add", to, "via", via, "table", "77"])?;
    }
    uplinks.takes_the_narrow_one(proto, |client| client.line("mark 77"))
}

#[test]
fn a_bound_device_chooses_the_uplink_and_its_path_mtu_udp4() -> Result<()> {
    follows_a_bound_device(Proto::Udp4)
}

#[test]
fn a_bound_device_chooses_the_uplink_and_its_path_mtu_udp6() -> Result<()> {
    follows_a_bound_device(Proto::Udp6)
}

fn follows_a_bound_device(proto: Proto) -> Result<()> {
    // With 2.6 the option disables offload.
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    let uplinks = Uplinks::new()?;
    for ([_, via], to) in [
        (Uplinks::GATEWAYS[0], SERVER[0]),
        (Uplinks::GATEWAYS[1], SERVER[1]),
    ] {
        // Only chosen by sockets bound to the device.
        uplinks
            .client
            .add_route(&[to, "via", via, "metric", "5000"])?;
    }
    let line = format!("bind-dev {}", uplinks.narrow.a);
    uplinks.takes_the_narrow_one(proto, |client| client.version(Version::V27).line(&line))
}

#[test]
fn a_vrf_chooses_the_uplink_and_its_path_mtu() -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    let uplinks = Uplinks::new()?;
    let client = &uplinks.client;
    if client
        .run(&["ip", "link", "add", "vrf0", "type", "vrf", "table", "78"])
        .is_err()
    {
        skip("this kernel has no VRF");
        return Ok(());
    }
    client.run(&["ip", "link", "set", "vrf0", "up"])?;
    client.run(&["ip", "link", "set", &uplinks.narrow.a, "master", "vrf0"])?;
    let via = Uplinks::GATEWAYS[0][1];
    client.add_route(&[SERVER[0], "via", via, "vrf", "vrf0"])?;
    uplinks.takes_the_narrow_one(Proto::Udp4, |client| {
        client.version(Version::V27).line("bind-dev vrf0")
    })
}

/// The inner header's traffic class is not copied, as with the kernel driver (dco-behaviour 1.7).
#[test]
fn outer_headers_tell_nothing_of_the_inner_ones() -> Result<()> {
    let uplinks = Uplinks::new()?;
    if !uplinks.client.is_privileged() {
        skip("tcpdump does not run in an unprivileged user namespace");
        return Ok(());
    }
    let (_server, _client) = uplinks.connect(Proto::Udp4, |client| client)?;
    let mut tcpdump = uplinks.client.spawn(
        "headers",
        &[
            "tcpdump",
            "--immediate-mode",
            "-l",
            "-n",
            "-v",
            "-Z",
            "root",
            "-i",
            &uplinks.wide.a,
            "udp port 1194",
        ],
    )?;
    tcpdump.wait_for_log("listening on", SOON)?;
    // Expedited forwarding, with a congestion mark.
    let words = [
        "ping",
        "-n",
        "-c",
        "5",
        "-i",
        "0.05",
        "-Q",
        "0xbb",
        "-t",
        "7",
        at::INNER_SERVER,
    ];
    uplinks.client.run(&words)?;
    std::thread::sleep(Duration::from_millis(300));
    tcpdump.signal(Signal::INT)?;
    tcpdump.wait(SOON)?;
    let log = tcpdump.log();
    let headers: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("IP (tos"))
        .collect();
    ensure!(headers.len() >= 10, "five pings both ways: {log}");
    for header in headers {
        ensure!(header.contains("(tos 0x0, ttl 64,"), "{header}");
    }
    Ok(())
}

/// A client with two routes to a server: a wide one, which the main table chooses, and a narrow one.
struct Uplinks {
    /// Owns everything else here.
    _lab: Lab,
    server: Host,
    client: Host,
    wide: Link,
    narrow: Link,
    pki: Pki,
}

impl Uplinks {
    /// The server's ends of both uplinks, by family.
    const GATEWAYS: [[&str; 2]; 2] = [
        ["192.0.2.1", "198.51.100.1"],
        ["2001:db8::1", "2001:db8:1::1"],
    ];

    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let [server, client] = [lab.host("server")?, lab.host("client")?];
        let wide = lab.link(
            &client,
            &["192.0.2.2/24", "2001:db8::2/64"],
            &server,
            &["192.0.2.1/24", "2001:db8::1/64"],
        )?;
        let narrow = lab.link(
            &client,
            &["198.51.100.2/24", "2001:db8:1::2/64"],
            &server,
            &["198.51.100.1/24", "2001:db8:1::1/64"],
        )?;
        for (host, device) in [(&client, &narrow.a), (&server, &narrow.b)] {
            host.run(&["ip", "link", "set", device, "mtu", &NARROW.to_string()])?;
        }
        for (address, [via, _]) in SERVER.iter().zip(Self::GATEWAYS) {
            let prefix = if address.contains(':') { 128 } else { 32 };
            server.add_address("lo", &format!("{address}/{prefix}"))?;
            client.add_route(&[address, "via", via])?;
        }
        let pki = Pki::new(lab.directory())?;
        Ok(Self {
            _lab: lab,
            server,
            client,
            wide,
            narrow,
            pki,
        })
    }

    fn connect(
        &self,
        proto: Proto,
        configure: impl FnOnce(Builder) -> Builder,
    ) -> Result<(Endpoint, Endpoint)> {
        let remote = SERVER[usize::from(proto == Proto::Udp6)];
        let server = Builder::server(&self.server, &self.pki.server("server")?)
            .proto(proto)
            .launch(Launch::Udco)
            // Replies come from the address that was addressed.
            .line("multihome");
        let client = Builder::client(&self.client, &self.pki.client("client")?, remote)
            .proto(proto)
            .launch(Launch::Udco);
        connect(server, configure(client))
    }

    /// Checks that all of the tunnel's packets take the narrow uplink, with inner TCP unfragmented.
    fn takes_the_narrow_one(
        &self,
        proto: Proto,
        configure: impl FnOnce(Builder) -> Builder,
    ) -> Result<()> {
        let captures = [Capture::start(&self.wide)?, Capture::start(&self.narrow)?];
        let (server, client) = self.connect(proto, configure)?;
        for end in [&server, &client] {
            shows(end, NARROW)?;
        }
        Ping::to(at::INNER_SERVER).all_answered(&self.client)?;
        Ping::to(at::INNER_CLIENT).all_answered(&self.server)?;
        let sent = Stream::to(at::INNER_SERVER).run(&self.client, &self.server)?;
        ensure!(sent.bits_per_second > 1e6, "{sent:?}");
        for end in [&server, &client] {
            let fragmented: u64 = end
                .show()?
                .devices
                .iter()
                .map(|device| device.fragmented)
                .sum();
            ensure!(
                !end.is_udco() || fragmented == 0,
                "{fragmented} in fragments"
            );
        }
        let [Some(wide), Some(narrow)] = captures else {
            return Ok(());
        };
        let (wide, narrow) = (wide.stop()?, narrow.stop()?);
        ensure!(
            wide.opcodes.is_empty(),
            "by the wide link: {:?}",
            wide.opcodes
        );
        ensure!(
            narrow.fragments.is_empty(),
            "fragments: {:?}",
            narrow.fragments
        );
        narrow.require_private()
    }
}

fn shows(endpoint: &Endpoint, mtu: u16) -> Result<()> {
    if !endpoint.is_udco() {
        return Ok(());
    }
    let mut last = None;
    let shown = eventually("the path MTU", SOON, || {
        last = endpoint.show()?.peers().next().map(|peer| peer.path_mtu);
        Ok((last == Some(Some(mtu))).then_some(()))
    });
    let name = endpoint.host().name();
    shown.with_context(|| format!("{name}: {mtu} wanted, {last:?} shown"))
}
