//! udco talks to stock OpenVPN and to itself: either end or both offloaded, both outer families, every cipher, TCP.
//!
//! Each cell: pings of both families and TCP in both directions arrive, the udco ends are really offloaded, nothing is
//! in clear on the wire, every data packet is authentic, and the counters agree with what was seen on the wire.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::capture::{Capture, Trace};
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::udco::Counters;
use udco_testbed::{Endpoint, Launch, Pair, Proto, addresses as at, connect};

const UDCO: Launch = Launch::Udco;
const PLAIN: Launch = Launch::Plain;

/// One test for each cell of the table.
macro_rules! cells {
    ($($(#[$attribute:meta])? $name:ident: $server:ident, $client:ident, $proto:ident, $cipher:literal;)*) => {
        $(#[test]
        $(#[$attribute])?
        fn $name() -> Result<()> {
            cell($server, $client, Proto::$proto, $cipher)
        })*
    };
}

cells! {
    both_udp4_aes_128_gcm: UDCO, UDCO, Udp4, "AES-128-GCM";
    both_udp4_aes_256_gcm: UDCO, UDCO, Udp4, "AES-256-GCM";
    both_udp4_chacha20_poly1305: UDCO, UDCO, Udp4, "CHACHA20-POLY1305";
    both_udp6_aes_128_gcm: UDCO, UDCO, Udp6, "AES-128-GCM";
    both_udp6_aes_256_gcm: UDCO, UDCO, Udp6, "AES-256-GCM";
    both_udp6_chacha20_poly1305: UDCO, UDCO, Udp6, "CHACHA20-POLY1305";
    server_udp4_aes_128_gcm: UDCO, PLAIN, Udp4, "AES-128-GCM";
    server_udp4_aes_256_gcm: UDCO, PLAIN, Udp4, "AES-256-GCM";
    server_udp4_chacha20_poly1305: UDCO, PLAIN, Udp4, "CHACHA20-POLY1305";
    server_udp6_aes_128_gcm: UDCO, PLAIN, Udp6, "AES-128-GCM";
    server_udp6_aes_256_gcm: UDCO, PLAIN, Udp6, "AES-256-GCM";
    server_udp6_chacha20_poly1305: UDCO, PLAIN, Udp6, "CHACHA20-POLY1305";
    client_udp4_aes_128_gcm: PLAIN, UDCO, Udp4, "AES-128-GCM";
    client_udp4_aes_256_gcm: PLAIN, UDCO, Udp4, "AES-256-GCM";
    client_udp4_chacha20_poly1305: PLAIN, UDCO, Udp4, "CHACHA20-POLY1305";
    client_udp6_aes_128_gcm: PLAIN, UDCO, Udp6, "AES-128-GCM";
    client_udp6_aes_256_gcm: PLAIN, UDCO, Udp6, "AES-256-GCM";
    client_udp6_chacha20_poly1305: PLAIN, UDCO, Udp6, "CHACHA20-POLY1305";
    #[ignore = "TCP transport is not served yet"]
    both_tcp4_aes_256_gcm: UDCO, UDCO, Tcp4, "AES-256-GCM";
    #[ignore = "TCP transport is not served yet"]
    both_tcp6_chacha20_poly1305: UDCO, UDCO, Tcp6, "CHACHA20-POLY1305";
    #[ignore = "TCP transport is not served yet"]
    server_tcp4_aes_256_gcm: UDCO, PLAIN, Tcp4, "AES-256-GCM";
    #[ignore = "TCP transport is not served yet"]
    client_tcp4_aes_256_gcm: PLAIN, UDCO, Tcp4, "AES-256-GCM";
}

fn cell(server: Launch, client: Launch, proto: Proto, cipher: &str) -> Result<()> {
    let pair = Pair::new()?;
    let capture = Capture::start(&pair.link)?;
    let (server, client) = connect(
        pair.server(proto).cipher(cipher).launch(server),
        pair.client(proto).cipher(cipher).launch(client),
    )?;

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
        .all_answered(&pair.client)?;
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

    // The last acknowledgements arrive; no keepalive is due yet.
    thread::sleep(Duration::from_millis(200));
    let before = [link_counters(&server)?, link_counters(&client)?];
    server.require_authentic()?;
    client.require_authentic()?;
    if let Some(capture) = capture {
        let trace = capture.stop()?;
        // IPv6 speaks up at any time: what was seen lies between two readings.
        let after = [link_counters(&server)?, link_counters(&client)?];
        wire_agrees(&trace, proto, before, after)?;
    }
    client.stop()?;
    server.stop()
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
    // A stream is not cut into packets again here, so data packets aren't counted.
    ensure!(
        trace.clear.is_empty(),
        "in clear: {:?}",
        trace.clear.first()
    );
    Ok(())
}

/// Link counters of server and client, where offloaded.
type Readings = [Option<Counters>; 2];

/// dco-behaviour 5.9: link counters count from the opcode on. The capture stands at the server's device, so what the
/// server sends is seen exactly; what arrives there may still be lost in a socket buffer, and the client may have
/// lost on its way what the server sent, or sent what never arrived.
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
