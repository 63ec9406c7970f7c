//! Where offload is impossible, OpenVPN runs on its own data path, and a log line says so.

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{CONNECT, Endpoint, Launch, Pair, Proto, addresses as at, skip_part, udco};

#[test]
fn a_cbc_cipher_rules_offload_out() -> Result<()> {
    falls_back(
        Proto::Udp4,
        Launch::Udco,
        &[],
        &["data-ciphers AES-256-CBC"],
    )
}

#[test]
fn fragment_rules_offload_out() -> Result<()> {
    falls_back(Proto::Udp4, Launch::Udco, &[], &["fragment 1300"])
}

#[test]
fn an_engine_that_is_not_there_leaves_openvpn_on_its_own() -> Result<()> {
    falls_back(
        Proto::Udp4,
        Launch::Preload,
        &[("UDCO_SOCKET", "/run/no-such-engine.sock")],
        &[],
    )
}

fn falls_back(
    proto: Proto,
    launch: Launch,
    environment: &[(&str, &str)],
    lines: &[&str],
) -> Result<()> {
    let pair = Pair::new()?;
    let server = pair.server(proto).launch(launch).line_each(lines);
    let mut server = environment
        .iter()
        .fold(server, |server, (name, value)| server.env(name, value))
        .spawn()?;
    server.wait_connected(CONNECT).context("server")?;
    let mut client = pair.client(proto).line_each(lines).spawn()?;
    client.wait_connected(CONNECT).context("client")?;
    Ping::to(at::INNER_SERVER).all_answered_once_keyed(&pair.client)?;
    Ping::to(at::INNER_CLIENT6).all_answered(&pair.server)?;
    if udco::harness_only() {
        skip_part("no line to look for: both ends are plain");
        return Ok(());
    }
    says_so(&server)
}

/// users C6: users complain of silent fallback.
fn says_so(end: &Endpoint) -> Result<()> {
    let log = end.log();
    ensure!(!log.contains("offload active"), "claims to be offloaded");
    // The library's text if no engine answers, the engine's if OpenVPN chose its own device.
    let says_so = |line: &str| {
        line.contains("udco: ")
            && (line.contains("own data path") || line.contains("offload is NOT active"))
    };
    ensure!(
        log.lines().any(says_so),
        "no line of udco tells of the fallback"
    );
    Ok(())
}
