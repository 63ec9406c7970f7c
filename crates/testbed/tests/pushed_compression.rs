//! A server that pushes compression, with which OpenVPN refuses offload: a log line says so, and names remedies that
//! work (faults E6).

use std::time::Duration;

use anyhow::{Result, ensure};
use udco_testbed::addresses as at;
use udco_testbed::measure::Ping;
use udco_testbed::{CONNECT, Endpoint, Pair, Proto, Version, eventually, udco};

/// OpenVPN's log line at each refusal.
const REFUSAL: &str = "framing is not allowed since data-channel offloading is enabled";

/// udco's log line.
const LINE: &str = "its server pushes compression";

/// Several attempts to connect, a second or two apart.
const ATTEMPTS: Duration = Duration::from_secs(40);

#[test]
fn a_pushed_compression_is_explained_at_the_second_refusal() -> Result<()> {
    for (version, pushed) in [(Version::V26, "comp-lzo no"), (Version::V27, "compress")] {
        if version.is_here_or_skip() {
            is_explained(version, pushed)?;
        }
    }
    Ok(())
}

fn is_explained(version: Version, pushed: &str) -> Result<()> {
    if udco::is_left_out("nothing of udco to look at") {
        return Ok(());
    }
    let pair = Pair::new()?;
    // As in container images: the server uses the compression that it pushes.
    let push = format!("push \"{pushed}\"");
    let mut server = pair
        .server(Proto::Udp4)
        .line_each(&["allow-compression yes", pushed, &push])
        .spawn()?;
    server.wait_connected(CONNECT)?;
    let client = || pair.udco_client(Proto::Udp4).version(version);
    let mut refused = client().spawn()?;
    eventually("a third refusal", ATTEMPTS, || {
        Ok((refusals(&refused) >= 3).then_some(()))
    })?;
    refused.wait_for_log(LINE, ATTEMPTS)?;
    let log = refused.log();
    ensure!(
        log.matches(LINE).count() == 1,
        "logged more than once: {log}"
    );
    for cure in ["compress migrate", "disable-dco"] {
        ensure!(log.contains(cure), "{cure} is not named");
    }
    refused.stop()?;
    // The remedy at the client.
    let mut cured = client().line("disable-dco").spawn()?;
    cured.wait_connected(CONNECT)?;
    Ping::to(at::INNER_SERVER).all_answered_once_keyed(&pair.client)?;
    cured.stop()?;
    server.stop()?;
    // The remedy at the server.
    let mut server = pair.server(Proto::Udp4).line("compress migrate").spawn()?;
    server.wait_connected(CONNECT)?;
    let mut cured = client().spawn()?;
    cured.wait_connected(CONNECT)?;
    cured.require_offload()?;
    Ping::to(at::INNER_SERVER).all_answered_once_keyed(&pair.client)?;
    Ok(())
}

/// Reconnects with another cause are not blamed on compression.
#[test]
fn a_server_that_is_not_there_is_not_blamed_on_compression() -> Result<()> {
    let pair = Pair::new()?;
    let client = pair
        .udco_client(Proto::Udp4)
        .line("server-poll-timeout 1")
        .spawn()?;
    let attempts = |log: &str| log.matches("UDPv4 link remote: ").count();
    eventually("a fourth attempt", ATTEMPTS, || {
        Ok((attempts(&client.log()) >= 4).then_some(()))
    })?;
    ensure!(!client.log().contains(LINE), "{}", client.log());
    Ok(())
}

fn refusals(endpoint: &Endpoint) -> usize {
    endpoint.log().matches(REFUSAL).count()
}
