//! `cargo xtask demo`: udco's main use, live.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{Launch, Pair, Proto, addresses, connect};

use crate::step;

/// Seconds of each TCP measurement.
const STREAM: u32 = 4;

/// Echo requests of each size.
const PINGS: u32 = 200;

/// The output of `--json`.
#[derive(Serialize)]
struct Demo {
    udco: Outcome,
    plain: Outcome,
    /// TCP throughput with udco relative to without, client to server.
    ratio: f64,
}

/// One pair of server and client.
#[derive(Serialize)]
struct Outcome {
    /// Whether the data channel is offloaded at the server.
    server_offload: bool,
    /// The same at the client.
    client_offload: bool,
    /// Pings with 64 bytes of payload.
    ping_64: Echoes,
    /// Pings with 1,400 bytes of payload.
    ping_1400: Echoes,
    /// TCP payload from client to server, bits per second.
    tcp_bits_per_second: f64,
    /// The same from server to client.
    tcp_reverse_bits_per_second: f64,
}

#[derive(Serialize)]
struct Echoes {
    sent: u32,
    lost: u32,
    rtt_median_ms: f64,
}

/// Runs the demo.
pub(crate) fn run(json: bool) -> Result<()> {
    step::prepare()?;
    let udco = measure(Launch::Udco)?;
    let plain = measure(Launch::Plain)?;
    let ratio = udco.tcp_bits_per_second / plain.tcp_bits_per_second;
    let demo = Demo { udco, plain, ratio };
    if json {
        println!("{}", serde_json::to_string_pretty(&demo)?);
    } else {
        print(&demo);
    }
    Ok(())
}

fn measure(launch: Launch) -> Result<Outcome> {
    let name = if launch == Launch::Udco {
        "with udco"
    } else {
        "without udco"
    };
    eprintln!("==> OpenVPN server and client, {name}");
    let pair = Pair::new()?;
    let (mut server, mut client) = connect(
        pair.server(Proto::Udp4).launch(launch),
        pair.client(Proto::Udp4).launch(launch),
    )?;
    let offloaded = |endpoint: &mut udco_testbed::Endpoint| {
        launch == Launch::Udco && endpoint.require_offload().is_ok()
    };
    let ping = |size| -> Result<Echoes> {
        let ping = Ping::to(addresses::INNER_SERVER)
            .count(PINGS)
            .interval(Duration::from_millis(10))
            .size(size);
        let echo = ping.run(&pair.client)?;
        let rtt_median_ms = echo.median_ms().unwrap_or(f64::NAN);
        Ok(Echoes {
            sent: echo.sent,
            lost: echo.sent - echo.received,
            rtt_median_ms,
        })
    };
    let (ping_64, ping_1400) = (ping(64)?, ping(1400)?);
    let stream = Stream::to(addresses::INNER_SERVER).seconds(STREAM);
    let forth = stream.run(&pair.client, &pair.server)?;
    let back = stream.reverse().run(&pair.client, &pair.server)?;
    let (server_offload, client_offload) = (offloaded(&mut server), offloaded(&mut client));
    pair.lab.discard_logs();
    Ok(Outcome {
        server_offload,
        client_offload,
        ping_64,
        ping_1400,
        tcp_bits_per_second: forth.bits_per_second,
        tcp_reverse_bits_per_second: back.bits_per_second,
    })
}

fn print(demo: &Demo) {
    let row =
        |name: &str, udco: String, plain: String| println!("{name:<32} {udco:>14} {plain:>14}");
    let active = |active: bool| if active { "active" } else { "-" }.to_owned();
    let lost = |echoes: &Echoes| format!("{} of {}", echoes.lost, echoes.sent);
    let rtt = |echoes: &Echoes| format!("{:.3} ms", echoes.rtt_median_ms);
    let rate = |bits: f64| format!("{:.2} Gbit/s", bits / 1e9);
    let (udco, plain) = (&demo.udco, &demo.plain);
    row("", "with udco".into(), "without".into());
    row(
        "offload at the server",
        active(udco.server_offload),
        active(plain.server_offload),
    );
    row(
        "offload at the client",
        active(udco.client_offload),
        active(plain.client_offload),
    );
    row(
        "64-byte pings lost",
        lost(&udco.ping_64),
        lost(&plain.ping_64),
    );
    row(
        "1,400-byte pings lost",
        lost(&udco.ping_1400),
        lost(&plain.ping_1400),
    );
    row(
        "64-byte ping, median",
        rtt(&udco.ping_64),
        rtt(&plain.ping_64),
    );
    row(
        "1,400-byte ping, median",
        rtt(&udco.ping_1400),
        rtt(&plain.ping_1400),
    );
    row(
        "TCP, client to server",
        rate(udco.tcp_bits_per_second),
        rate(plain.tcp_bits_per_second),
    );
    row(
        "TCP, server to client",
        rate(udco.tcp_reverse_bits_per_second),
        rate(plain.tcp_reverse_bits_per_second),
    );
    println!(
        "\nTCP throughput with udco is {:.1} times that without.",
        demo.ratio
    );
}
