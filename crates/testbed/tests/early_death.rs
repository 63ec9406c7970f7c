//! An engine that dies while OpenVPN is still connecting: the devices and routes of a killed run stay as they are
//! (faults A1, A2).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use udco_testbed::{
    Host, Pair, Proto, Signal, Version, addresses as at, connect, eventually, udco,
};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// How a client routes its packets into the tunnel, and the metric of the default route beside it.
const WAYS: [(&[&str], &str); 3] = [
    (&["redirect-gateway def1 ipv6"], "0"),
    (&["redirect-gateway ipv6"], "0"),
    (&["route 0.0.0.0 0.0.0.0", "route-ipv6 2000::/3"], "100"),
];

/// OpenVPN's script hooks before, and right after, it requests its device.
const HOOKS: [&str; 3] = ["tls-verify", "ipchange", "up"];

/// Addresses that are routed into the tunnel.
const BEYOND: [&str; 2] = ["198.51.100.1", "2001:db8:51::1"];

#[test]
fn an_early_death_of_the_engine_leaves_a_left_device_alone() -> Result<()> {
    in_turns(Version::V26)
}

#[test]
fn an_early_death_of_the_engine_leaves_a_left_device_alone_27() -> Result<()> {
    in_turns(Version::V27)
}

fn in_turns(version: Version) -> Result<()> {
    if udco::is_left_out("OpenVPN's own data path leaves no device") {
        return Ok(());
    }
    if !version.is_here_or_skip() {
        return Ok(());
    }
    thread::scope(|scope| {
        let runs = WAYS.map(|way| scope.spawn(move || all_hooks(version, way)));
        runs.into_iter().try_for_each(|run| {
            let outcome = run.join();
            outcome.unwrap_or_else(|_| bail!("a panic"))
        })
    })
}

fn all_hooks(version: Version, (lines, metric): (&[&str], &str)) -> Result<()> {
    let pair = Pair::new()?;
    let host = &pair.client;
    host.add_route(&["default", "via", at::SERVER, "metric", metric])?;
    host.add_route(&["default", "via", at::SERVER6])?;
    let server = pair.server(Proto::Udp4);
    let client = pair.udco_client(Proto::Udp4);
    let client = client.version(version).line_each(lines);
    let (_server, mut first) = connect(server, client.clone())?;
    first.kill_now()?;
    first.wait_end(SOON)?;
    let left = routing(host)?;
    let [reached, go_on] = ["reached", "go-on"].map(|name| pair.lab.directory().join(name));
    for (hook, port) in HOOKS.into_iter().zip(20_000..) {
        let context = || format!("{lines:?}, {hook}");
        let script = waiting_script(&reached, &go_on)?;
        let name = format!("early-{hook}");
        // A server ignores a client that returns from the same port at once.
        let start = client.clone().named(&name).local_port(port);
        let line = format!("{hook} {}", script.display());
        let mut start = start.line_each(&["script-security 2", &line]).spawn()?;
        eventually("the script", SOON, || Ok(reached.exists().then_some(())))
            .with_context(context)?;
        start.engine()?.signal(Signal::KILL)?;
        fs::write(&go_on, "")?;
        if start.wait_end(Duration::from_secs(3)).is_err() {
            start.kill_now()?;
            start.wait_end(SOON)?;
        }
        let now = routing(host)?;
        ensure!(left == now, "{}: was {left}\nis {now}", context());
        for file in [&reached, &go_on] {
            fs::remove_file(file)?;
        }
    }
    pair.lab.discard_logs();
    Ok(())
}

/// The routes of packets for the tunnel, and the device's addresses.
fn routing(host: &Host) -> Result<String> {
    let mut routing = host.run(&["ip", "-o", "addr", "show", "dev", "tun0"])?;
    for address in BEYOND {
        routing += &host.run(&["ip", "route", "get", address])?;
    }
    // A start may add its own host route to its server.
    for family in ["-4", "-6"] {
        routing += &host.run(&["ip", family, "route", "show", "dev", "tun0"])?;
    }
    Ok(routing)
}

/// A script that reports its start and waits until it may continue.
fn waiting_script(reached: &Path, go_on: &Path) -> Result<std::path::PathBuf> {
    let path = reached.with_extension("sh");
    let (reached, go_on) = (reached.display(), go_on.display());
    let text = format!(
        "#!/bin/sh\n[ -e {reached} ] && exit 0\ntouch {reached}\n\
         i=0; while [ ! -e {go_on} ] && [ $i -lt 200 ]; do sleep 0.1; i=$((i+1)); done\nexit 0\n"
    );
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
