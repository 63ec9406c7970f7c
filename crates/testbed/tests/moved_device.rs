//! A device that is moved to another network namespace, by OpenVPN's script or by hand, keeps working, and nothing is
//! left behind (faults A7).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{
    Builder, CONNECT, Endpoint, Host, Launch, Pair, Proto, Version, addresses as at, eventually,
    skip_part,
};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// The commands of a script like netns-up or namespaced-openvpn. Its first argument is the device.
const MOVE: &str = r#"#!/bin/sh
set -e
ip netns add vpn 2>/dev/null || true
ip link set dev "$1" netns vpn
ip -n vpn address add ADDRESS/24 dev "$1"
ip -n vpn link set dev "$1" up
ip -n vpn route add default dev "$1"
"#;

#[test]
fn a_device_that_an_up_script_moves_works_on() -> Result<()> {
    by_script(Version::V26, "up")
}

#[test]
fn a_device_that_a_route_up_script_moves_works_on_27() -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    by_script(Version::V27, "route-up")
}

fn by_script(version: Version, option: &str) -> Result<()> {
    let pair = Pair::new()?;
    let script = script(&pair, at::INNER_CLIENT)?;
    let mut server = pair.server(Proto::Udp4).spawn()?;
    server.wait_connected(CONNECT)?;
    // Without udco it works in the same namespace, before and after.
    for launch in [Launch::Udco, Launch::Plain, Launch::Udco] {
        let mut client = pair
            .client(Proto::Udp4)
            .version(version)
            .launch(launch)
            .line_each(&["script-security 2", "ifconfig-noexec", "route-noexec"])
            .line(&format!("{option} \"{script} tun0\""))
            .spawn()?;
        client.wait_connected(CONNECT)?;
        client.require_offload()?;
        answered(&pair.client, at::INNER_SERVER)?;
        // A new device replaces it: the script moves that, too.
        client.sigusr1()?;
        client.wait_connected(CONNECT)?;
        answered(&pair.client, at::INNER_SERVER)?;
        client.stop()?;
        nothing_left(&pair.client)?;
    }
    Ok(())
}

/// While it is connected; then another interface takes its index or its name.
#[test]
fn a_device_that_is_moved_while_connected_works_on() -> Result<()> {
    let pair = Pair::new()?;
    let script = script(&pair, at::INNER_CLIENT)?;
    let host = &pair.client;
    let mut server = pair.server(Proto::Udp4).spawn()?;
    server.wait_connected(CONNECT)?;
    let connected = |lines: &[&str]| -> Result<Endpoint> {
        let client = pair.udco_client(Proto::Udp4);
        let mut client = client.line_each(lines).spawn()?;
        client.wait_connected(CONNECT)?;
        client.require_offload()?;
        Ping::to(at::INNER_SERVER).all_answered_once_keyed(host)?;
        let index = host.run(&["cat", "/sys/class/net/tun0/ifindex"])?;
        host.run(&[&script, "tun0"])?;
        answered(host, at::INNER_SERVER)?;
        let other = ["ip", "link", "add", "tun0", "index", index.trim()];
        host.run(&[&other[..], &["type", "bridge"]].concat())?;
        host.run(&["ip", "link", "set", "tun0", "up"])?;
        answered(host, at::INNER_SERVER)?;
        Ok(client)
    };
    let client = connected(&["persist-tun", "persist-key"])?;
    host.run(&["ip", "link", "del", "tun0"])?;
    answered(host, at::INNER_SERVER)?;
    let mut client = client;
    client.sigusr1()?;
    client.wait_connected(CONNECT)?;
    answered(host, at::INNER_SERVER)?;
    client.stop()?;
    nothing_left(host)?;
    // OpenVPN deletes by name: the other interface must stay.
    let client = connected(&[])?;
    client.stop()?;
    ensure!(host.has_device("tun0"), "it deleted another interface");
    host.run(&["ip", "link", "del", "tun0"])?;
    nothing_left(host)?;
    // A plain TUN device disappears with a killed OpenVPN, too, where its packets have no other route.
    let mut client = connected(&[])?;
    client.kill9()?;
    client.wait_end(SOON)?;
    host.run(&["ip", "link", "del", "tun0"])?;
    eventually("the device to go", SOON, || Ok(nothing_left(host).ok()))
}

#[test]
fn a_servers_device_that_is_moved_works_on() -> Result<()> {
    let pair = Pair::new()?;
    let script = script(&pair, at::INNER_SERVER)?;
    let server = |builder: Builder| {
        builder
            .launch(Launch::Udco)
            .line_each(&["script-security 2", "ifconfig-noexec"])
            .line(&format!("up \"{script} tun0\""))
    };
    let mut server = server(pair.server(Proto::Udp4)).spawn()?;
    server.wait_connected(CONNECT)?;
    let mut client = pair.client(Proto::Udp4).spawn()?;
    client.wait_connected(CONNECT)?;
    server.require_offload()?;
    answered(&pair.server, at::INNER_CLIENT)?;
    Ping::to(at::INNER_SERVER).all_answered_once_keyed(&pair.client)?;
    server.stop()?;
    nothing_left(&pair.server)
}

fn script(pair: &Pair, address: &str) -> Result<String> {
    if !pair.lab.is_privileged() {
        skip_part("named namespaces may be refused in an unprivileged lab");
    }
    let path = pair.lab.directory().join("move.sh");
    fs::write(&path, MOVE.replace("ADDRESS", address))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path.display().to_string())
}

/// Checks that pings from the other namespace are answered.
fn answered(host: &Host, to: &str) -> Result<()> {
    let words = [
        "ip", "netns", "exec", "vpn", "ping", "-n", "-c", "3", "-i", "0.05",
    ];
    let words = [&words[..], &["-W", "1", to]].concat();
    eventually("answers in the other namespace", SOON, || {
        let output = host.output(&words)?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.contains(" 0% packet loss").then_some(()))
    })
}

/// Checks that the device is in neither namespace.
fn nothing_left(host: &Host) -> Result<()> {
    ensure!(!host.has_device("tun0"), "tun0 is left here");
    let there = host.output(&["ip", "-n", "vpn", "link", "show", "dev", "tun0"])?;
    ensure!(
        !there.status.success(),
        "tun0 is left in the other namespace"
    );
    Ok(())
}
