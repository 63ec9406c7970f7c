//! OpenVPN's own options for hardening and addressing work the same as without udco.

use std::fs;

use anyhow::{Result, ensure};
use udco_testbed::capture::Capture;
use udco_testbed::measure::Ping;
use udco_testbed::{
    Builder, CONNECT, Launch, Pair, Proto, Version, addresses as at, connect, skip,
};

#[test]
fn user_nobody_with_persistent_tun_and_key() -> Result<()> {
    restart_as_nobody(Version::V26)
}

#[test]
fn user_nobody_with_persistent_tun_and_key_27() -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    restart_as_nobody(Version::V27)
}

/// Both ends run as another user, and are restarted one after the other.
fn restart_as_nobody(version: Version) -> Result<()> {
    let pair = Pair::new()?;
    if !pair.lab.is_privileged() {
        skip("an unprivileged lab has only one user, so OpenVPN cannot become nobody");
        return Ok(());
    }
    let server = unprivileged(pair.server(Proto::Udp4)).version(version);
    let (mut server, mut client) = connect(
        server.line("explicit-exit-notify 1"),
        unprivileged(pair.client(Proto::Udp4)).version(version),
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
    Ping::to(at::INNER_SERVER).all_answered_once_keyed(&pair.client)?;
    server.sigusr1()?;
    server.wait_connected(CONNECT)?;
    client.wait_connected(CONNECT)?;
    Ping::to(at::INNER_SERVER6).all_answered_once_keyed(&pair.client)?;
    client.stop()?;
    server.stop()
}

#[test]
fn chroot_and_a_restart_within() -> Result<()> {
    let pair = Pair::new()?;
    if !pair.lab.is_privileged() {
        skip("an unprivileged lab has only one user, so OpenVPN cannot become nobody");
        return Ok(());
    }
    let jail = pair.lab.directory().join("jail");
    fs::create_dir_all(jail.join("tmp"))?;
    let server = unprivileged(pair.server(Proto::Udp4))
        .line(&format!("chroot {}", jail.display()))
        .line("explicit-exit-notify 1");
    let (mut server, mut client) = connect(server, pair.udco_client(Proto::Udp4))?;
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    server.sigusr1()?;
    server.wait_connected(CONNECT)?;
    client.wait_connected(CONNECT)?;
    Ping::to(at::INNER_SERVER)
        .all_answered_once_keyed(&pair.client)
        .map(drop)
}

fn unprivileged(builder: Builder) -> Builder {
    builder.launch(Launch::Udco).line_each(&[
        "user nobody",
        "group nogroup",
        "persist-tun",
        "persist-key",
    ])
}

#[test]
fn daemon_at_both_ends() -> Result<()> {
    let pair = Pair::new()?;
    let (server, client) = connect(
        pair.udco_server(Proto::Udp4).line("daemon"),
        pair.udco_client(Proto::Udp4).line("daemon"),
    )?;
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    Ping::to(at::INNER_CLIENT6).all_answered(&pair.server)?;
    client.stop()?;
    server.stop()
}

#[test]
fn the_first_free_tun_beside_a_foreign_one() -> Result<()> {
    let pair = Pair::new()?;
    pair.server
        .run(&["ip", "tuntap", "add", "tun0", "mode", "tun"])?;
    let (server, _client) = connect(
        pair.udco_server(Proto::Udp4).device("tun"),
        pair.udco_client(Proto::Udp4).device("tun"),
    )?;
    ensure!(pair.server.has_device("tun1"), "no tun1");
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    server.stop()?;
    ensure!(pair.server.has_device("tun0"), "the foreign device is gone");
    ensure!(!pair.server.has_device("tun1"), "our own is still there");
    Ok(())
}

#[test]
fn multihome_answers_from_the_address_that_was_called() -> Result<()> {
    const SECOND: &str = "192.0.2.10";
    let pair = Pair::new()?;
    pair.server
        .add_address(&pair.link.a, &format!("{SECOND}/24"))?;
    let capture = Capture::start(&pair.link)?;
    let (_server, _client) = connect(
        pair.udco_server(Proto::Udp4).line("multihome"),
        pair.udco_client(Proto::Udp4).remote(SECOND),
    )?;
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    Ping::to(at::INNER_CLIENT6).all_answered(&pair.server)?;
    let Some(capture) = capture else {
        return Ok(());
    };
    let trace = capture.stop()?;
    trace.require_private()?;
    let senders: Vec<String> = trace.data.keys().map(ToString::to_string).collect();
    ensure!(
        senders == [at::CLIENT, SECOND],
        "data came from {senders:?}"
    );
    Ok(())
}
