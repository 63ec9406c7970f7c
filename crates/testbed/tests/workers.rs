//! Several workers, each with a queue of the device, and operation without each of the offloads.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{Endpoint, Host, Launch, Pair, Proto, addresses as at, connect, udco};

/// The offloads of the only device in `host`, by `udco show`.
fn offloads(host: &Host) -> Result<Value> {
    let text = udco::run(host, "show --json")?;
    let shown: Value = serde_json::from_str(&text)?;
    let offloads = shown.pointer("/devices/0/offloads");
    offloads
        .cloned()
        .with_context(|| format!("no offloads in: {text}"))
}

/// Connects a tunnel with these options of `udco run` at both ends, and checks that it carries packets.
fn tunnel(pair: &Pair, options: &[&str]) -> Result<(Endpoint, Endpoint)> {
    tunnel_to(pair, Launch::Udco, options)
}

fn tunnel_to(pair: &Pair, client: Launch, options: &[&str]) -> Result<(Endpoint, Endpoint)> {
    let (server, client) = connect(
        pair.udco_server(Proto::Udp4).udco_options(options),
        pair.client(Proto::Udp4)
            .launch(client)
            .udco_options(options),
    )?;
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    Ping::to(at::INNER_CLIENT6).all_answered(&pair.server)?;
    let streams = Stream::to(at::INNER_SERVER).parallel(4).seconds(1);
    for streams in [streams.clone(), streams.reverse()] {
        let throughput = streams.run(&pair.client, &pair.server)?;
        ensure!(throughput.bytes > 1 << 20, "{throughput:?}");
    }
    Ok((server, client))
}

#[test]
fn the_queues_of_a_server_are_for_all_workers_but_one() -> Result<()> {
    if udco::is_left_out("a run without udco has no workers") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let (server, client) = tunnel(&pair, &["--workers", "4", "--cpu", "0"])?;
    // All of a peer's packets leave by one worker, and a client has one peer.
    for (host, queues) in [(&pair.server, 3), (&pair.client, 1)] {
        let offloads = offloads(host)?;
        ensure!(
            offloads.get("queues") == Some(&Value::from(queues)),
            "{offloads}"
        );
    }
    client.require_authentic()?;
    server.require_authentic()?;
    client.stop()?;
    server.stop()
}

/// A stock client drops packets that are more than 64 late: packets to one peer from several workers must be in the
/// order of their packet ids, whatever the flows.
#[test]
fn a_stock_client_takes_what_four_workers_send() -> Result<()> {
    if udco::is_left_out("a run without udco has no workers") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let options = ["--workers", "4", "--cpu", "0"];
    let (server, client) = tunnel_to(&pair, Launch::Plain, &options)?;
    client.require_authentic()?;
    server.require_authentic()?;
    client.stop()?;
    server.stop()
}

#[test]
fn each_offload_can_be_left_out() -> Result<()> {
    if udco::is_left_out("a run without udco has no workers") {
        return Ok(());
    }
    let names = ["device-tcp", "device-udp", "merge", "segment", "coalesce"];
    let in_use = |options: &[&str]| -> Result<Value> {
        let pair = Pair::new()?;
        let (server, client) = tunnel(&pair, options)?;
        let offloads = offloads(&pair.server)?;
        client.require_authentic()?;
        client.stop()?;
        server.stop()?;
        Ok(offloads)
    };
    // An older kernel lacks some of them.
    let all = in_use(&[])?;
    ensure!(all.get("device-tcp") == Some(&Value::from(true)), "{all}");
    for without in names {
        let offloads = in_use(&["--without", without])?;
        for name in names {
            let off = Value::from(false);
            let wanted = if name == without {
                Some(&off)
            } else {
                all.get(name)
            };
            ensure!(
                offloads.get(name) == wanted,
                "without {without}: {offloads}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_processor_that_is_not_there_is_named() -> Result<()> {
    let pair = Pair::new()?;
    let output = udco::output(&pair.server, "daemon --cpu 4000")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "it started");
    ensure!(text.contains("4000"), "it printed: {text}");
    Ok(())
}
