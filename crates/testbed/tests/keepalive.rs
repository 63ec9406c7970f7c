//! Keepalives keep an idle tunnel up, and detect a dead peer in time (dco-behaviour 5.8).

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{Launch, Pair, Proto, Version, addresses as at, connect};

/// `keepalive 1 4`: the client's timeout. OpenVPN doubles it for the server's side.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Whole seconds, and a machine under load.
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn an_idle_tunnel_stays_up() -> Result<()> {
    for (server, client) in [(Launch::Udco, Launch::Plain), (Launch::Plain, Launch::Udco)] {
        let pair = Pair::new()?;
        let (server, client) = connect(
            pair.server(Proto::Udp4).launch(server).keepalive(1, 3),
            pair.client(Proto::Udp4).launch(client),
        )?;
        thread::sleep(Duration::from_secs(8));
        for end in [&server, &client] {
            ensure!(
                !end.log().contains("restarting"),
                "a timeout in an idle tunnel"
            );
        }
        Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    }
    Ok(())
}

#[test]
fn the_server_notices_a_dead_client_in_time() -> Result<()> {
    let pair = Pair::new()?;
    let (mut server, _client) = connect(
        pair.udco_server(Proto::Udp4).keepalive(1, 4),
        pair.client(Proto::Udp4),
    )?;
    cut(&pair)?;
    let start = Instant::now();
    // Either "client-instance restarting" (OpenVPN's own timer) or "client-instance exiting" (the engine's
    // notification).
    server.wait_for_log("client-instance", 2 * TIMEOUT + SLACK)?;
    ensure!(
        start.elapsed() > 2 * TIMEOUT - SLACK,
        "too soon: {:?}",
        start.elapsed()
    );
    if server.is_udco() {
        ensure!(
            server.show()?.peers().count() == 0,
            "the peer is still there"
        );
    }
    Ok(())
}

#[test]
fn the_client_notices_a_dead_server_in_time() -> Result<()> {
    let pair = Pair::new()?;
    let (_server, mut client) = connect(
        pair.server(Proto::Udp4).keepalive(1, 4),
        pair.udco_client(Proto::Udp4),
    )?;
    cut(&pair)?;
    let start = Instant::now();
    client.wait_for_log("process restarting", TIMEOUT + SLACK)?;
    ensure!(
        start.elapsed() > TIMEOUT - SLACK,
        "too soon: {:?}",
        start.elapsed()
    );
    Ok(())
}

/// OpenVPN 2.7 is notified, with the reason EXPIRED (dco-behaviour 4.5).
#[test]
fn a_server_of_2_7_is_notified_of_a_dead_client() -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    let pair = Pair::new()?;
    let server = pair.udco_server(Proto::Udp4).version(Version::V27);
    let client = pair.udco_client(Proto::Udp4).version(Version::V27);
    let (mut server, client) = connect(server.keepalive(1, 3), client)?;
    client.kill9()?;
    server.wait_for_log("ovpn-dco: ping expired", Duration::from_secs(10))?;
    ensure!(!server.is_udco() || server.show()?.peers().count() == 0);
    server.stop()
}

/// Cuts the link (a queue of length 0); neither end's device reports it.
fn cut(pair: &Pair) -> Result<()> {
    for (host, device) in [(&pair.server, &pair.link.a), (&pair.client, &pair.link.b)] {
        host.run(&[
            "tc", "qdisc", "add", "dev", device, "root", "pfifo", "limit", "0",
        ])?;
    }
    Ok(())
}
