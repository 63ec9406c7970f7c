//! udco talks to stock OpenVPN and to itself: either end or both offloaded, OpenVPN 2.6 (family `ovpn-dco-v2`) and 2.7
//! (`ovpn`) in every mix, both outer families, every cipher, TCP.
//!
//! Each cell: pings of both families and TCP in both directions arrive, the udco ends are really offloaded, nothing is
//! in the clear on the wire, every data packet is authentic, and the counters agree with the capture.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::capture::{Capture, Trace};
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::udco::Counters;
use udco_testbed::{Endpoint, Launch, Pair, Proto, Version, addresses as at, connect};

/// One test per cell of the table. A module has the versions of server and client; a cell's name starts with the
/// offloaded end, and its row has the data path of each end.
macro_rules! cells {
    ($($versions:ident: $server_version:ident, $client_version:ident => {
        $($(#[$attribute:meta])? $name:ident: $server:ident, $client:ident, $proto:ident, $cipher:literal;)*
    })*) => {
        $(mod $versions {
            use udco_testbed::{Launch, Proto, Version};

            $(#[test]
            $(#[$attribute])?
            fn $name() -> anyhow::Result<()> {
                super::cell(
                    (Version::$server_version, Launch::$server),
                    (Version::$client_version, Launch::$client),
                    Proto::$proto,
                    $cipher,
                )
            })*
        })*
    };
}

cells! {
    openvpn26: V26, V26 => {
        both_udp4_aes_128_gcm: Udco, Udco, Udp4, "AES-128-GCM";
        both_udp4_aes_256_gcm: Udco, Udco, Udp4, "AES-256-GCM";
        both_udp4_chacha20_poly1305: Udco, Udco, Udp4, "CHACHA20-POLY1305";
        both_udp6_aes_128_gcm: Udco, Udco, Udp6, "AES-128-GCM";
        both_udp6_aes_256_gcm: Udco, Udco, Udp6, "AES-256-GCM";
        both_udp6_chacha20_poly1305: Udco, Udco, Udp6, "CHACHA20-POLY1305";
        server_udp4_aes_128_gcm: Udco, Plain, Udp4, "AES-128-GCM";
        server_udp4_aes_256_gcm: Udco, Plain, Udp4, "AES-256-GCM";
        server_udp4_chacha20_poly1305: Udco, Plain, Udp4, "CHACHA20-POLY1305";
        server_udp6_aes_128_gcm: Udco, Plain, Udp6, "AES-128-GCM";
        server_udp6_aes_256_gcm: Udco, Plain, Udp6, "AES-256-GCM";
        server_udp6_chacha20_poly1305: Udco, Plain, Udp6, "CHACHA20-POLY1305";
        server_udp4_aes_192_gcm: Udco, Plain, Udp4, "AES-192-GCM";
        client_udp4_aes_128_gcm: Plain, Udco, Udp4, "AES-128-GCM";
        client_udp4_aes_256_gcm: Plain, Udco, Udp4, "AES-256-GCM";
        client_udp4_chacha20_poly1305: Plain, Udco, Udp4, "CHACHA20-POLY1305";
        client_udp6_aes_128_gcm: Plain, Udco, Udp6, "AES-128-GCM";
        client_udp6_aes_256_gcm: Plain, Udco, Udp6, "AES-256-GCM";
        client_udp6_chacha20_poly1305: Plain, Udco, Udp6, "CHACHA20-POLY1305";
        both_tcp4_aes_256_gcm: Udco, Udco, Tcp4, "AES-256-GCM";
        both_tcp6_chacha20_poly1305: Udco, Udco, Tcp6, "CHACHA20-POLY1305";
        server_tcp4_aes_256_gcm: Udco, Plain, Tcp4, "AES-256-GCM";
        client_tcp4_aes_256_gcm: Plain, Udco, Tcp4, "AES-256-GCM";
    }
    openvpn27: V27, V27 => {
        both_udp4_aes_256_gcm: Udco, Udco, Udp4, "AES-256-GCM";
        server_udp4_aes_256_gcm: Udco, Plain, Udp4, "AES-256-GCM";
        client_udp4_aes_256_gcm: Plain, Udco, Udp4, "AES-256-GCM";
        both_udp6_aes_256_gcm: Udco, Udco, Udp6, "AES-256-GCM";
        server_udp6_aes_256_gcm: Udco, Plain, Udp6, "AES-256-GCM";
        client_udp6_aes_256_gcm: Plain, Udco, Udp6, "AES-256-GCM";
        both_udp4_chacha20_poly1305: Udco, Udco, Udp4, "CHACHA20-POLY1305";
        both_tcp4_aes_256_gcm: Udco, Udco, Tcp4, "AES-256-GCM";
        server_tcp6_aes_256_gcm: Udco, Plain, Tcp6, "AES-256-GCM";
        client_tcp6_aes_256_gcm: Plain, Udco, Tcp6, "AES-256-GCM";
    }
    server27_client26: V27, V26 => {
        both_udp4_aes_256_gcm: Udco, Udco, Udp4, "AES-256-GCM";
        server_udp4_aes_256_gcm: Udco, Plain, Udp4, "AES-256-GCM";
        client_udp4_aes_256_gcm: Plain, Udco, Udp4, "AES-256-GCM";
        both_udp6_aes_256_gcm: Udco, Udco, Udp6, "AES-256-GCM";
        server_udp6_aes_256_gcm: Udco, Plain, Udp6, "AES-256-GCM";
        client_udp6_aes_256_gcm: Plain, Udco, Udp6, "AES-256-GCM";
        both_tcp4_aes_256_gcm: Udco, Udco, Tcp4, "AES-256-GCM";
    }
    server26_client27: V26, V27 => {
        both_udp4_aes_256_gcm: Udco, Udco, Udp4, "AES-256-GCM";
        server_udp4_aes_256_gcm: Udco, Plain, Udp4, "AES-256-GCM";
        client_udp4_aes_256_gcm: Plain, Udco, Udp4, "AES-256-GCM";
        both_udp6_aes_256_gcm: Udco, Udco, Udp6, "AES-256-GCM";
        server_udp6_aes_256_gcm: Udco, Plain, Udp6, "AES-256-GCM";
        client_udp6_aes_256_gcm: Plain, Udco, Udp6, "AES-256-GCM";
        both_tcp4_aes_256_gcm: Udco, Udco, Tcp4, "AES-256-GCM";
    }
}

/// Which OpenVPN, and on which data path.
type End = (Version, Launch);

fn cell(server: End, client: End, proto: Proto, cipher: &str) -> Result<()> {
    if [server.0, client.0].contains(&Version::V27) && !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    let pair = Pair::new()?;
    let capture = Capture::start(&pair.link)?;
    let (server, client) = connect(
        pair.server(proto)
            .version(server.0)
            .launch(server.1)
            .cipher(cipher),
        pair.client(proto)
            .version(client.0)
            .launch(client.1)
            .cipher(cipher),
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
    println!(
        "{cipher}: up {:.0}, down {:.0} Mbit/s",
        up.bits_per_second / 1e6,
        down.bits_per_second / 1e6
    );
    ensure!(
        up.bits_per_second > 1e6 && down.bits_per_second > 1e6,
        "{up:?} {down:?}"
    );

    // Lets the last acknowledgements arrive; no keepalive is due yet.
    thread::sleep(Duration::from_millis(200));
    let before = [link_counters(&server)?, link_counters(&client)?];
    for end in [&server, &client] {
        says_that_it_is_offloaded(end)?;
        end.require_authentic()?;
    }
    if let Some(capture) = capture {
        let trace = capture.stop()?;
        // IPv6 sends at any time: the capture's count lies between two readings.
        let after = [link_counters(&server)?, link_counters(&client)?];
        wire_agrees(&trace, proto, before, after)?;
    }
    client.stop()?;
    server.stop()
}

/// Both families, both directions, small and large.
fn pings(pair: &Pair) -> Result<()> {
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    Ping::to(at::INNER_CLIENT)
        .size(1200)
        .all_answered(&pair.server)?;
    Ping::to(at::INNER_SERVER6)
        .size(1200)
        .all_answered(&pair.client)?;
    Ping::to(at::INNER_CLIENT6).all_answered(&pair.server)?;
    // Larger than the outer MTU: fragments outside or inside (dco-behaviour 1.7).
    Ping::to(at::INNER_SERVER)
        .size(3000)
        .all_answered(&pair.client)
        .map(drop)
}

/// OpenVPN itself took an offloaded device, and does not complain about it.
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

fn link_counters(end: &Endpoint) -> Result<Option<Counters>> {
    if !end.is_udco() {
        return Ok(None);
    }
    Ok(Some(end.show()?.peers().next().context("no peer")?.link))
}

fn wire_agrees(trace: &Trace, proto: Proto, before: Readings, after: Readings) -> Result<()> {
    if matches!(proto, Proto::Udp4 | Proto::Udp6) {
        trace.require_private()?;
        return counters_agree(trace, proto, before, after);
    }
    // A stream is not parsed into packets here, so data packets aren't counted.
    ensure!(
        trace.clear.is_empty(),
        "in clear: {:?}",
        trace.clear.first()
    );
    Ok(())
}

/// Link counters of server and client, where offloaded.
type Readings = [Option<Counters>; 2];

/// dco-behaviour 5.9: link counters count from the opcode on. The capture is at the server's device, so it sees exactly
/// what the server sends; arriving packets may still be dropped at a socket buffer, and packets between the capture and
/// the client may be lost in either direction.
fn counters_agree(trace: &Trace, proto: Proto, before: Readings, after: Readings) -> Result<()> {
    let (server, client) = match proto {
        Proto::Udp4 | Proto::Tcp4 => (at::SERVER, at::CLIENT),
        Proto::Udp6 | Proto::Tcp6 => (at::SERVER6, at::CLIENT6),
    };
    let seen = |address: &str| -> Result<_> {
        let address: IpAddr = address.parse()?;
        trace
            .data
            .get(&address)
            .copied()
            .with_context(|| format!("no data from {address}"))
    };
    let (down, up) = (seen(server)?, seen(client)?);
    if let [Some(first), _] = before
        && let [Some(last), _] = after
    {
        ensure!(
            (first.tx_packets..=last.tx_packets).contains(&down.packets)
                && (first.tx_bytes..=last.tx_bytes).contains(&down.bytes)
                && first.rx_packets <= up.packets
                && first.rx_bytes <= up.bytes,
            "server counted {first:?}, then {last:?}; on the wire: down {down:?}, up {up:?}"
        );
    }
    if let [_, Some(first)] = before
        && let [_, Some(last)] = after
    {
        ensure!(
            last.tx_packets >= up.packets
                && last.tx_bytes >= up.bytes
                && first.rx_packets <= down.packets
                && first.rx_bytes <= down.bytes,
            "client counted {first:?}, then {last:?}; on the wire: down {down:?}, up {up:?}"
        );
    }
    Ok(())
}
