//! The sockets' owners are killed while their peers are in use.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use udco_testbed::Signal;
use udco_testbed::measure::Ping;

use super::bench::{BASE, Bench, INNER_SERVER, SOON, Variant};
use super::monitor::deleted;
use super::sequence;

#[test]
fn close_socket() -> Result<()> {
    peers_end_with_their_sockets(BASE)
}

/// Peers end as `transport-disconnect` (dco-behaviour 5.10, 5.11); devices stay until they are deleted.
pub(crate) fn peers_end_with_their_sockets(variant: Variant) -> Result<()> {
    let mut bench = Bench::new(variant)?;
    sequence::set_up(&bench)?;
    let pings = Ping::to(INNER_SERVER).count(100);
    let start = |host| {
        pings
            .clone()
            .interval(Duration::from_millis(10))
            .start(host)
    };
    let running: Vec<_> = bench.clients.iter().map(|it| start(&it.host)).collect();
    thread::sleep(Duration::from_millis(300));
    bench.peers.signal(Signal::KILL)?;
    bench.peers.wait(SOON)?;
    for client in &mut bench.clients {
        // Over TCP the server's end may have ended this one by now.
        let _ = client.peer.signal(Signal::KILL);
        client.peer.wait(SOON)?;
    }
    for (client, running) in bench.clients.iter().zip(running) {
        let echo = running.join().map_err(|_| anyhow!("a thread panicked"))??;
        ensure!(
            echo.received > 0 && !echo.lost.is_empty(),
            "client {}: {} of {} answered",
            client.number,
            echo.received,
            echo.sent
        );
    }
    let all: Vec<_> = (1..=6)
        .map(|id| deleted(id, "transport-disconnect"))
        .collect();
    bench.monitor.expect_ending(&all, 0)?;
    for client in &bench.clients {
        let disconnected = deleted(client.id, "transport-disconnect");
        let notified = client.monitor.expect(std::slice::from_ref(&disconnected));
        // Over TCP a ping may have met the connection's end before its owner was killed.
        let broken = deleted(client.id, "transport-error");
        notified.or_else(|error| match variant.tcp {
            true => client.monitor.expect(&[broken]),
            false => Err(error),
        })?;
        let left = bench.json(&client.host, "peer get tun0 --json")?;
        ensure!(left.as_array().is_some_and(Vec::is_empty), "{left}");
        ensure!(client.host.has_device("tun0"), "the device went too");
    }
    let left = bench.json(&bench.server, "peer get tun0 --json")?;
    ensure!(left.as_array().is_some_and(Vec::is_empty), "{left}");
    bench.delete_devices()?.end_engine()
}
