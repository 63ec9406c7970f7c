//! `udco show`: one device, one peer, again and again with rates, and for people on a terminal.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use udco_testbed::{Host, Lab, Process, skip_part, udco};

/// The error that `udco` ends with.
fn error(host: &Host, line: &str) -> Result<String> {
    let output = udco::output(host, line)?;
    ensure!(output.status.code() == Some(1), "{line}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A device with peers 1 and 2.
fn two_peers(lab: &Lab, host: &Host) -> Result<[Process; 2]> {
    let daemon = udco::daemon(host, "daemon", &["--workers", "1"])?;
    let peers = udco::peers(lab, host, 2)?;
    Ok([daemon, peers])
}

#[test]
fn one_device_or_peer_is_shown_by_name_and_id() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let _processes = two_peers(&lab, &host)?;
    udco::run(&host, "link add tun1")?;

    let device = udco::run(&host, "show tun0")?;
    ensure!(device.contains("tun0 (mp, ovpn), 2 peers"), "{device}");
    ensure!(
        device.contains("peer 1 at") && !device.contains("tun1"),
        "{device}"
    );
    let peer = udco::run(&host, "show tun0 2")?;
    ensure!(peer.contains("peer 2 at 127.0.0.1:20002"), "{peer}");
    ensure!(
        !peer.contains("peer 1 at") && !peer.contains("offloads"),
        "{peer}"
    );
    let json: Value = serde_json::from_str(&udco::run(&host, "show tun0 2 --json")?)?;
    let peers = json["devices"][0]["peers"].as_array().context("no peers")?;
    ensure!(peers.len() == 1 && peers[0]["id"] == 2, "{json:#}");
    ensure!(
        json["devices"].as_array().is_some_and(|it| it.len() == 1),
        "{json:#}"
    );

    let none = error(&host, "show tun7")?;
    ensure!(none.contains("no engine has a device tun7 here"), "{none}");
    for json in ["", " --json"] {
        let none = error(&host, &format!("show tun0 9{json}"))?;
        ensure!(none.contains("tun0 has no peer 9"), "{none}");
    }
    lab.discard_logs();
    Ok(())
}

#[test]
fn a_device_that_cannot_be_found_ends_with_the_reason() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    for json in ["", " --json"] {
        let line = format!("show tun0{json}");
        let output = udco::output(&host, &line)?;
        ensure!(output.status.code() == Some(3), "{line}: {}", output.status);
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(error.contains("no engine is running"), "{error}");
    }
    let left = error(&host, "link show lo")?;
    ensure!(left.contains("lo is not a udco device"), "{left}");
    Ok(())
}

#[test]
fn a_watch_shows_rates() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let _processes = two_peers(&lab, &host)?;
    let watch = udco::spawn(
        &host,
        "watch",
        "show --watch=1",
        "receives 0 bit/s, 0 packets/s",
    )?;
    let log = watch.log();
    let first = log.split("\n\n").next().unwrap_or_default();
    ensure!(
        first.contains("tun0 (mp") && !first.contains("bit/s"),
        "{first}"
    );
    ensure!(log.contains("% busy)"), "each worker's load: {log}");
    lab.discard_logs();
    Ok(())
}

#[test]
fn engines_and_namespaces_are_told_apart() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let _processes = two_peers(&lab, &host)?;
    let one = udco::run(&host, "show")?;
    ensure!(!one.contains("engine "), "one engine: {one}");

    let second = "daemon --workers 1 --socket /run/udco/second.sock";
    let _second = udco::spawn(&host, "second", second, "listening at")?;
    // In a namespace of its own, which lives as long as the device.
    let add = [udco::program()?, "link", "add", "tun0", "--engine"];
    host.run(&[&["unshare", "--net"], &add[..], &["/run/udco/second.sock"]].concat())?;
    let both = udco::run(&host, "show")?;
    for words in [
        "engine /run/udco/engine.sock: process ",
        "engine /run/udco/second.sock: process ",
        "tun0 (mp, ovpn), 2 peers",
        "tun0 (p2p, ovpn, in namespace ",
    ] {
        ensure!(both.contains(words), "no {words}: {both}");
    }
    let metrics = udco::run(&host, "metrics")?;
    ensure!(
        metrics.contains("udco_device_peers{device=\"tun0\"} 2\n"),
        "{metrics}"
    );
    ensure!(
        metrics.contains("udco_device_peers{device=\"tun0\",netns=\""),
        "{metrics}"
    );
    lab.discard_logs();
    Ok(())
}

#[test]
fn a_terminal_gets_colours_and_units_unless_unwanted() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let _processes = two_peers(&lab, &host)?;
    let show = format!("{} show", udco::program()?);
    if host.run(&["which", "script"]).is_err() {
        skip_part("no script; cure: apt-get install bsdutils");
        return Ok(());
    }
    let script = ["script", "--quiet", "--command", &show, "/dev/null"];
    let terminal = ["env", "TERM=xterm", "NO_COLOR="];
    let shown = host.run(&[&terminal[..], &script].concat())?;
    ensure!(
        shown.contains("\u{1b}[1mtun0 (mp, ovpn), 2 peers"),
        "{shown:?}"
    );
    ensure!(shown.contains("received 0 B in 0 packets"), "{shown:?}");
    let plain = ["env", "TERM=xterm", "NO_COLOR=1"];
    let shown = host.run(&[&plain[..], &script].concat())?;
    ensure!(
        shown.contains("tun0 (mp, ovpn)") && !shown.contains('\u{1b}'),
        "{shown:?}"
    );
    let shown = udco::run(&host, "show")?;
    ensure!(shown.contains("received 0 bytes in 0 packets"), "{shown}");
    lab.discard_logs();
    Ok(())
}
