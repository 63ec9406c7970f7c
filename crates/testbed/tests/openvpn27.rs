//! Features of OpenVPN 2.7 only (family `ovpn`), offloaded at both ends; the cells with 2.7 are in `interop.rs`.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{
    Builder, CONNECT, Launch, Pair, Proto, Version, addresses as at, connect, skip, soon,
};

/// PEER_DEL_NTF with the reason EXPIRED (dco-behaviour 4.5).
#[test]
fn a_server_is_notified_of_a_dead_client() -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    let pair = Pair::new()?;
    let (mut server, client) = connect(
        configured(pair.server(Proto::Udp4)).keepalive(1, 3),
        configured(pair.client(Proto::Udp4)),
    )?;
    client.kill9()?;
    server.wait_for_log("ovpn-dco: ping expired", Duration::from_secs(10))?;
    ensure!(!server.is_udco() || server.show()?.peers().count() == 0);
    server.stop()
}

#[test]
fn both_ends_restart_as_another_user() -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    let pair = Pair::new()?;
    if !pair.lab.is_privileged() {
        skip("an unprivileged lab has only one user, so OpenVPN cannot become nobody");
        return Ok(());
    }
    let unprivileged = |builder: Builder| {
        builder.line_each(&["user nobody", "group nogroup", "persist-tun", "persist-key"])
    };
    let (mut server, mut client) = connect(
        unprivileged(configured(pair.server(Proto::Udp4))).line("explicit-exit-notify 1"),
        unprivileged(configured(pair.client(Proto::Udp4))),
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
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    server.sigusr1()?;
    server.wait_connected(CONNECT)?;
    client.wait_connected(CONNECT)?;
    // The client is connected a moment before the server has its keys.
    soon("an answer", CONNECT, || {
        let echo = Ping::to(at::INNER_SERVER6).count(1).run(&pair.client)?;
        Ok(echo.lost.is_empty().then_some(()))
    })?;
    Ping::to(at::INNER_SERVER6).all_answered(&pair.client)?;
    client.stop()?;
    server.stop()
}

fn configured(builder: Builder) -> Builder {
    builder.version(Version::V27).launch(Launch::Udco)
}
