//! A client that changes its outer address keeps its session (dco-behaviour 5.4).

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{Pair, Proto, Version, addresses as at, connect, eventually, udco};

#[test]
fn a_client_with_a_new_ipv4_address_keeps_its_session() -> Result<()> {
    float(Version::V26, Proto::Udp4)
}

#[test]
fn a_client_with_a_new_ipv6_address_keeps_its_session() -> Result<()> {
    float(Version::V26, Proto::Udp6)
}

/// 2.6 on Linux ignores a float; 2.7 receives PEER_FLOAT_NTF (dco-behaviour 4.5).
#[test]
fn openvpn_2_7_learns_a_new_ipv4_address() -> Result<()> {
    float(Version::V27, Proto::Udp4)
}

#[test]
fn openvpn_2_7_learns_a_new_ipv6_address() -> Result<()> {
    float(Version::V27, Proto::Udp6)
}

fn float(version: Version, proto: Proto) -> Result<()> {
    if !version.is_here_or_skip() {
        return Ok(());
    }
    let (old, new, prefix) = match proto {
        Proto::Udp4 | Proto::Tcp4 => (at::CLIENT, "192.0.2.77", 24),
        Proto::Udp6 | Proto::Tcp6 => (at::CLIENT6, "2001:db8::77", 64),
    };
    let pair = Pair::new()?;
    let (mut server, client) = connect(
        pair.udco_server(proto).version(version).line("float"),
        pair.udco_client(proto).version(version),
    )?;
    let inner = Ping::to(at::INNER_SERVER);
    inner.all_answered(&pair.client)?;
    let monitor = server
        .is_udco()
        .then(|| udco::spawn(&pair.server, "monitor", "monitor tun0", "listening"))
        .transpose()?;
    let series = inner.clone().count(150).start(&pair.client);
    std::thread::sleep(Duration::from_secs(1));
    pair.client.change_address(
        &pair.link.b,
        &format!("{old}/{prefix}"),
        &format!("{new}/{prefix}"),
    )?;
    let echo = series
        .join()
        .map_err(|_| anyhow!("ping's thread panicked"))??;
    // While the address changes there is no route; 100 requests were due after it.
    ensure!(
        echo.received >= 130,
        "lost {:?} of {}",
        echo.lost,
        echo.sent
    );
    inner.all_answered(&pair.client)?;
    if server.is_udco() {
        eventually(
            "the new address in `udco show`",
            Duration::from_secs(2),
            || {
                Ok(server
                    .show()?
                    .peers()
                    .any(|peer| udco::is_at(peer, new))
                    .then_some(()))
            },
        )?;
    } else {
        server.wait_for_log(new, Duration::from_secs(5))?;
    }
    // Whichever OpenVPN it is: an operator looks for a client that moves.
    if let Some(mut monitor) = monitor {
        monitor.wait_for_log("peer 0 is now at ", Duration::from_secs(5))?;
        ensure!(monitor.log().contains(new), "{}", monitor.log());
    }
    if version == Version::V27 {
        server.wait_for_log("floated from", Duration::from_secs(2))?;
        // An idle server wakes up at least every 10 s, and only then checks whether the file is due.
        eventually(
            "the new address in OpenVPN's status file",
            Duration::from_secs(15),
            || {
                let status = server.status();
                Ok((status.contains(new) && !status.contains(&format!("{old}:"))).then_some(()))
            },
        )?;
    }
    // The same session: neither end has restarted.
    ensure!(
        client
            .log()
            .matches("Initialization Sequence Completed")
            .count()
            == 1
    );
    server.require_authentic()
}

/// promises D8: sticky, but not too sticky.
#[test]
fn a_server_forgets_an_address_that_is_gone() -> Result<()> {
    const SECOND: &str = "192.0.2.9";
    let pair = Pair::new()?;
    let device = &pair.link.a;
    pair.server.add_address(device, &format!("{SECOND}/24"))?;
    // A client without `--float` ignores packets from another address, and so teaches the server no new one.
    let (server, client) = connect(
        pair.udco_server(Proto::Udp4).line("multihome"),
        pair.client(Proto::Udp4).remote(SECOND),
    )?;
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    if udco::is_left_out("OpenVPN's own data path does not say which address it sends from") {
        return Ok(());
    }
    let local = || -> Result<_> { Ok(server.show()?.peers().next().context("no peer")?.local) };
    let second = Some(SECOND.parse()?);
    ensure!(local()? == second, "sends from {:?}", local()?);
    pair.server.run(&[
        "ip",
        "address",
        "del",
        &format!("{SECOND}/24"),
        "dev",
        device,
    ])?;
    eventually(
        "the address to be forgotten",
        Duration::from_secs(5),
        || {
            Ping::to(at::INNER_CLIENT).count(3).run(&pair.server)?;
            Ok(local()?.is_none().then_some(()))
        },
    )?;
    client.stop()?;
    server.stop()
}
