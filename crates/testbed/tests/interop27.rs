//! udco with OpenVPN 2.7 (family `ovpn`), which speaks the API of the kernel's own driver, beside 2.6 (`ovpn-dco-v2`).
//!
//! Each cell has 2.7 at one end or both: pings of both families and TCP in both directions arrive, the udco ends are
//! really offloaded, nothing is in clear on the wire, every data packet is authentic.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use udco_testbed::capture::Capture;
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{
    Builder, CONNECT, Endpoint, Launch, Pair, Proto, Version, addresses as at, connect, skip,
};

/// An end of a cell: which OpenVPN, on whose data path.
type End = (Version, Launch);

const PLAIN26: End = (Version::V26, Launch::Plain);
const PLAIN27: End = (Version::V27, Launch::Plain);
const UDCO26: End = (Version::V26, Launch::Udco);
const UDCO27: End = (Version::V27, Launch::Udco);

/// One test for each cell of the table.
macro_rules! cells {
    ($($name:ident: $server:ident, $client:ident, $proto:ident, $cipher:literal;)*) => {
        $(#[test]
        fn $name() -> Result<()> {
            cell($server, $client, Proto::$proto, $cipher)
        })*
    };
}

cells! {
    server_27_client_27_udp4_both: UDCO27, UDCO27, Udp4, "AES-256-GCM";
    server_27_client_27_udp4_server: UDCO27, PLAIN27, Udp4, "AES-256-GCM";
    server_27_client_27_udp4_client: PLAIN27, UDCO27, Udp4, "AES-256-GCM";
    server_27_client_27_udp6_both: UDCO27, UDCO27, Udp6, "AES-256-GCM";
    server_27_client_27_udp6_server: UDCO27, PLAIN27, Udp6, "AES-256-GCM";
    server_27_client_27_udp6_client: PLAIN27, UDCO27, Udp6, "AES-256-GCM";
    server_27_client_26_udp4_both: UDCO27, UDCO26, Udp4, "AES-256-GCM";
    server_27_client_26_udp4_server: UDCO27, PLAIN26, Udp4, "AES-256-GCM";
    server_27_client_26_udp4_client: PLAIN27, UDCO26, Udp4, "AES-256-GCM";
    server_27_client_26_udp6_both: UDCO27, UDCO26, Udp6, "AES-256-GCM";
    server_27_client_26_udp6_server: UDCO27, PLAIN26, Udp6, "AES-256-GCM";
    server_27_client_26_udp6_client: PLAIN27, UDCO26, Udp6, "AES-256-GCM";
    server_26_client_27_udp4_both: UDCO26, UDCO27, Udp4, "AES-256-GCM";
    server_26_client_27_udp4_server: UDCO26, PLAIN27, Udp4, "AES-256-GCM";
    server_26_client_27_udp4_client: PLAIN26, UDCO27, Udp4, "AES-256-GCM";
    server_26_client_27_udp6_both: UDCO26, UDCO27, Udp6, "AES-256-GCM";
    server_26_client_27_udp6_server: UDCO26, PLAIN27, Udp6, "AES-256-GCM";
    server_26_client_27_udp6_client: PLAIN26, UDCO27, Udp6, "AES-256-GCM";
    server_27_client_27_udp4_chacha20_poly1305: UDCO27, UDCO27, Udp4, "CHACHA20-POLY1305";
}

fn cell(server: End, client: End, proto: Proto, cipher: &str) -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    let pair = Pair::new()?;
    let capture = Capture::start(&pair.link)?;
    let (server, client) = connect(
        configured(pair.server(proto), server).cipher(cipher),
        configured(pair.client(proto), client).cipher(cipher),
    )?;

    pings(&pair).inspect_err(|_| {
        for end in [&server, &client].into_iter().filter(|end| end.is_udco()) {
            println!("{}: {:?}", end.host().name(), end.show());
        }
    })?;
    let up = Stream::to(at::INNER_SERVER).run(&pair.client, &pair.server)?;
    let down = Stream::to(at::INNER_SERVER6)
        .reverse()
        .run(&pair.client, &pair.server)?;
    ensure!(
        up.bits_per_second > 1e6 && down.bits_per_second > 1e6,
        "{up:?} {down:?}"
    );

    for end in [&server, &client] {
        says_that_it_is_offloaded(end)?;
        end.require_authentic()?;
    }
    if let Some(capture) = capture {
        capture.stop()?.require_private()?;
    }
    client.stop()?;
    server.stop()
}

/// Both families, both ways, small and large.
fn pings(pair: &Pair) -> Result<()> {
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    Ping::to(at::INNER_CLIENT)
        .size(1200)
        .all_answered(&pair.server)?;
    Ping::to(at::INNER_SERVER6)
        .size(1200)
        .all_answered(&pair.client)?;
    Ping::to(at::INNER_CLIENT6)
        .all_answered(&pair.server)
        .map(drop)
}

/// PEER_DEL_NTF with the reason EXPIRED (dco-behaviour 4.5).
#[test]
fn a_server_is_told_of_a_dead_client() -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    let pair = Pair::new()?;
    let (mut server, client) = connect(
        configured(pair.server(Proto::Udp4), UDCO27).keepalive(1, 3),
        configured(pair.client(Proto::Udp4), UDCO27),
    )?;
    client.kill9()?;
    server.wait_for_log("ovpn-dco: ping expired", Duration::from_secs(10))?;
    ensure!(!server.is_udco() || server.show()?.peers().count() == 0);
    server.stop()
}

#[test]
fn both_ends_restart_as_another_user() -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    let pair = Pair::new()?;
    if !pair.lab.is_privileged() {
        skip("an unprivileged lab has only one user, so OpenVPN cannot become nobody");
        return Ok(());
    }
    let unprivileged = |builder: Builder| {
        builder.line_each(&["user nobody", "group nogroup", "persist-tun", "persist-key"])
    };
    let (mut server, mut client) = connect(
        unprivileged(configured(pair.server(Proto::Udp4), UDCO27)).line("explicit-exit-notify 1"),
        unprivileged(configured(pair.client(Proto::Udp4), UDCO27)),
    )?;
    for end in [&server, &client] {
        let status = fs::read_to_string(format!("/proc/{}/status", end.openvpn()?.pid))?;
        ensure!(
            !status.contains("\nUid:\t0\t"),
            "OpenVPN still runs as root"
        );
    }
    client.sigusr1()?;
    client.wait_connected(CONNECT)?;
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    server.sigusr1()?;
    server.wait_connected(CONNECT)?;
    client.wait_connected(CONNECT)?;
    Ping::to(at::INNER_SERVER6).all_answered(&pair.client)?;
    client.stop()?;
    server.stop()
}

fn configured(builder: Builder, (version, launch): End) -> Builder {
    builder.version(version).launch(launch)
}

/// OpenVPN itself took an offloaded device, and has no complaint about it.
fn says_that_it_is_offloaded(end: &Endpoint) -> Result<()> {
    let log = end.log();
    ensure!(
        log.contains("DCO device tun0 opened") == end.is_udco(),
        "an end that is not what it should be"
    );
    let complaint = log
        .lines()
        .find(|line| line.contains("dco") && (line.contains("error") || line.contains("failed")));
    ensure!(complaint.is_none(), "{complaint:?}");
    Ok(())
}
