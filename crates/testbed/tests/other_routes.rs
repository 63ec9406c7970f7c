//! A start that takes over the device of a killed run names the routes there that it has not set, and how to remove
//! them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::{CONNECT, Endpoint, Pair, Proto, Version, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Begins the line.
const LINE: &str = "with routes that OpenVPN itself has not set again: ";

/// Those of a full tunnel. The host has no other default route, so OpenVPN finds none to its server's address.
const FULL: [&str; 6] = [
    "0.0.0.0/1",
    "128.0.0.0/1",
    "::/3",
    "2000::/4",
    "3000::/4",
    "fc00::/7",
];

#[test]
fn routes_of_a_killed_run_are_named() -> Result<()> {
    are_named(Version::V26)
}

#[test]
fn routes_of_a_killed_run_are_named_27() -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    are_named(Version::V27)
}

fn are_named(version: Version) -> Result<()> {
    if udco::is_left_out("OpenVPN's own device goes with it") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let _server = pair.patient_server()?;
    let start = |name: &str, options: &[&str]| -> Result<Endpoint> {
        let client = pair.udco_client(Proto::Udp4).named(name).version(version);
        let mut client = client.device("tun7").line_each(options).spawn()?;
        client.wait_connected(CONNECT)?;
        client.require_offload()?;
        Ok(client)
    };
    let full = ["redirect-gateway def1 ipv6", "route 10.99.0.0 255.255.0.0"];
    let mut first = start("first", &full)?;
    ensure!(!first.log().contains(LINE), "{}", first.log());
    first.kill_now()?;
    first.wait_end(SOON)?;

    let mut same = start("same", &full)?;
    ensure!(!same.log().contains(LINE), "{}", same.log());
    same.kill_now()?;
    same.wait_end(SOON)?;

    let mut split = start("split", &["route 10.99.0.0 255.255.0.0"])?;
    let log = split.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(LINE)).collect();
    ensure!(lines.len() == 1, "{log}");
    let (_, named) = lines[0].split_once(LINE).context("it contains it")?;
    let (named, command) = named.split_once(';').context("a list")?;
    for route in FULL {
        ensure!(
            named.split(", ").any(|it| it == route),
            "{route} is not named: {log}"
        );
        let shown = pair
            .client
            .run(&["ip", family(route), "route", "show", route])?;
        ensure!(shown.contains("tun7"), "{route} is gone");
    }
    ensure!(!named.contains("10.99."), "set again: {log}");
    let command = command.split('`').nth(1).context("a command")?;
    for route in named.split(", ") {
        let command = command.replace(FULL[0], route);
        pair.client.run(&command.split(' ').collect::<Vec<_>>())?;
    }
    // A restart of its own does not take over anything.
    split.sigusr1()?;
    split.wait_for_log("SIGUSR1", SOON)?;
    split.wait_connected(CONNECT)?;
    split.kill_now()?;
    split.wait_end(SOON)?;
    let clean = start("clean", &["route 10.99.0.0 255.255.0.0"])?;
    ensure!(!clean.log().contains(LINE), "{}", clean.log());
    clean.stop()
}

fn family(route: &str) -> &'static str {
    if route.contains(':') { "-6" } else { "-4" }
}
