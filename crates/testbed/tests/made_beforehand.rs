//! Devices created before OpenVPN started: the driver's are useless to it, ours are not.

use std::time::Duration;

use anyhow::{Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{Host, Pair, Proto, addresses as at, connect, eventually, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_device_made_beforehand_is_used_and_stays() -> Result<()> {
    let pair = Pair::new()?;
    let path = &pair.lab.file("engine.sock")?;
    let binary = udco::program()?;
    let daemon = udco::daemon(&pair.server, "daemon.log", &["--socket", path])?;
    let ip = |host: &Host, words: &[&str]| {
        let client = [binary, "run", "--engine", path, "--", "ip"];
        host.output(&[&client, words].concat())
    };
    let add = ["link", "add", "tun7", "type", "ovpn-dco"];
    for host in [&pair.server, &pair.client] {
        ensure!(ip(host, &add)?.status.success(), "the same name in each");
    }
    let again = ip(&pair.server, &add)?;
    let text = String::from_utf8_lossy(&again.stderr);
    ensure!(text.contains("File exists"), "ip printed: {text}");

    for _ in 0..2 {
        let (server, client) = connect(
            pair.server(Proto::Udp4).engine(path).device("tun7"),
            pair.client(Proto::Udp4)
                .line("route 10.99.0.0 255.255.0.0")
                .engine(path)
                .device("tun7"),
        )?;
        Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
        Ping::to(at::INNER_CLIENT6).all_answered(&pair.server)?;
        // As on a device of the client's own (faults A3).
        let route = pair.client.run(&["ip", "route", "show", "10.99.0.0/16"])?;
        ensure!(
            route.contains("dev tun7") && !route.contains("metric"),
            "{route}"
        );
        client.stop()?;
        server.stop()?;
        ensure!(pair.server.has_device("tun7"), "it went with its user");
    }
    ensure!(
        daemon.log().matches("created beforehand").count() == 4,
        "another device was used: {}",
        daemon.log()
    );

    // Whoever deletes it, through a client or not: the engine lets go of it.
    let shown = || {
        let show = [binary, "show", "--json", "--engine", path];
        let text = pair.server.run(&show)?;
        anyhow::Ok(text.matches("\"ifindex\"").count())
    };
    ensure!(shown()? == 2, "two devices");
    let deleted = ip(&pair.server, &["link", "del", "tun7"])?;
    ensure!(
        deleted.status.success() && !pair.server.has_device("tun7"),
        "deleted"
    );
    ensure!(shown()? == 1, "the server's has gone");
    pair.client.run(&["ip", "link", "del", "tun7"])?;
    eventually("the client's device to go", SOON, || {
        Ok((shown()? == 0).then_some(()))
    })
}
