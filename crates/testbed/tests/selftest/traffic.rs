//! Traffic through the tunnels: packets on the wire, deliveries, counters.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use udco_testbed::capture::{Capture, Trace};
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{Host, eventually, skip_part};

use super::bench::{Bench, Client, INNER_SERVER, SOON};

/// DATA_V2 with key id 0 and peer id 0 (dco-behaviour 1.1).
const FIRST_WORD: u32 = 0x4800_0000;

/// An echo request of ping(8), and its reply: IP and ICMP header and 56 bytes.
const ECHO: u64 = 84;

/// Opcode, packet id and tag (dco-behaviour 1.2).
const OVERHEAD: u64 = 24;

/// Step 3: each end's packets carry the peer id that the other end expects, and these key ids; nothing is in the clear.
pub(crate) fn look_at_the_wire(bench: &Bench, from_server: u32, from_client: u32) -> Result<()> {
    // Over TCP the capture cannot find packet headers.
    if bench.variant.tcp {
        return Ok(());
    }
    for (client, trace) in captured(bench, |client| {
        let few = Ping::to(INNER_SERVER).count(5);
        few.all_answered(&client.host)?;
        let few = Ping::to(&client.inner()).count(5);
        few.all_answered(&bench.server).map(drop)
    })? {
        let ends = [(1, from_server, client.id), (2, from_client, client.number)];
        for (end, key_id, peer_id) in ends {
            let address: IpAddr = client.outer(end).0.parse()?;
            let seen = trace.first_words.get(&address);
            let expected = BTreeSet::from([FIRST_WORD | key_id << 24 | peer_id]);
            ensure!(
                seen == Some(&expected),
                "{address}, peer {}: first words {seen:x?}, not {expected:x?}",
                client.number
            );
        }
        trace.require_private()?;
    }
    Ok(())
}

/// Captures all links while `action` runs for each client, all at once. `None` where capturing is not permitted.
fn captured(
    bench: &Bench,
    action: impl Fn(&Client) -> Result<()> + Sync,
) -> Result<Vec<(&Client, Trace)>> {
    if !bench.lab.is_privileged() {
        // Six captures would report it six times, and again later.
        bench
            .blind
            .call_once(|| skip_part("no look at the wire: it takes root"));
        for_each(bench, action)?;
        return Ok(Vec::new());
    }
    let mut traces = Vec::new();
    for (client, trace) in for_each(bench, |client| {
        let capture = Capture::start(&client.link)?;
        action(client)?;
        capture.map(Capture::stop).transpose()
    })? {
        traces.extend(trace.map(|trace| (client, trace)));
    }
    Ok(traces)
}

/// Runs `action` for each client, all at once.
pub(crate) fn for_each<T: Send>(
    bench: &Bench,
    action: impl Fn(&Client) -> Result<T> + Sync,
) -> Result<Vec<(&Client, T)>> {
    let act = |client| action(client).with_context(|| format!("client {}", client.number));
    thread::scope(|scope| {
        let start = |client| (client, scope.spawn(move || act(client)));
        let started: Vec<_> = bench.clients.iter().map(start).collect();
        let join = |(client, handle): (_, thread::ScopedJoinHandle<'_, Result<T>>)| {
            let done = handle.join().map_err(|_| anyhow!("a thread panicked"))??;
            Ok((client, done))
        };
        started.into_iter().map(join).collect()
    })
}

/// Step 4: floods of echo requests of two sizes from all clients at once. The larger are fragmented inside the tunnel.
pub(crate) fn flood(bench: &Bench) -> Result<()> {
    for_each(bench, |client| {
        let flood = Ping::to(INNER_SERVER).interval(Duration::from_millis(4));
        flood.clone().count(150).all_answered(&client.host)?;
        flood.count(50).size(3000).all_answered(&client.host)
    })
    .map(drop)
}

/// A packet of the device's MTU leaves in fragments; a larger one in fragments of fragments. All of them arrive.
pub(crate) fn require_outer_fragments(bench: &Bench) -> Result<()> {
    let full = bench.variant.mtu as usize - 28;
    for (client, trace) in captured(bench, |client| {
        for size in [full, 3000] {
            Ping::to(INNER_SERVER)
                .count(5)
                .size(size)
                .all_answered(&client.host)?;
        }
        Ok(())
    })? {
        for end in [1, 2] {
            let address: IpAddr = client.outer(end).0.parse()?;
            let seen = trace.fragments.get(&address).copied().unwrap_or(0);
            // Two per full packet; a larger packet makes two full ones.
            ensure!(seen >= 5 * 2 + 5 * 4, "{address}: {seen} fragments");
        }
        trace.require_private()?;
    }
    Ok(())
}

/// Counters are exact: packets and bytes, inside and outside, at both ends (dco-behaviour 5.9).
pub(crate) fn counted(bench: &Bench, client: &Client) -> Result<()> {
    counted_while(bench, client, || Ok(()))
}

/// The same, and runs `action` before the packets are sent.
pub(crate) fn counted_while(
    bench: &Bench,
    client: &Client,
    action: impl FnOnce() -> Result<()>,
) -> Result<()> {
    const COUNT: u64 = 10;
    let ends = bench.ends(client);
    let before = ends.map(|(host, id)| counters(bench, host, id));
    action()?;
    transmitted(&client.host, INNER_SERVER, COUNT)?;
    for ((host, id), before) in ends.into_iter().zip(before) {
        let before = before?;
        let expected = [
            COUNT,
            COUNT,
            COUNT * ECHO,
            COUNT * ECHO,
            COUNT,
            COUNT,
            COUNT * (ECHO + OVERHEAD),
            COUNT * (ECHO + OVERHEAD),
        ];
        let mut counted = Vec::new();
        let outcome = eventually("exact counters", Duration::from_secs(3), || {
            let after = counters(bench, host, id)?;
            let differences = after
                .iter()
                .zip(&before)
                .map(|(after, before)| after - before);
            counted = differences.collect();
            Ok((counted == expected).then_some(()))
        });
        outcome.with_context(|| {
            format!(
                "{}, peer {id}: counted {counted:?}, not {expected:?}",
                host.name()
            )
        })?;
    }
    Ok(())
}

fn counters(bench: &Bench, host: &Host, id: u32) -> Result<Vec<u64>> {
    let peer: Value = bench.json(host, &format!("peer get tun0 --id {id} --json"))?;
    let mut all = Vec::new();
    for side in ["vpn", "link"] {
        for counter in ["rx_packets", "tx_packets", "rx_bytes", "tx_bytes"] {
            all.push(peer[side][counter].as_u64().context("no counter")?);
        }
    }
    Ok(all)
}

/// Sends exactly `count` echo requests, and returns how many replies ping(8) waited for: it may give up on the last
/// ones early.
pub(crate) fn transmitted(host: &Host, to: &str, count: u64) -> Result<u64> {
    let number = count.to_string();
    let words = [
        "ping", "-q", "-n", "-c", &number, "-i", "0.01", "-W", "1", to,
    ];
    let output = host.output(&words)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let printed = |what: &str| -> Option<u64> {
        let (before, _) = text.split_once(what)?;
        before.rsplit([' ', '\n']).next()?.parse().ok()
    };
    ensure!(printed(" packets transmitted") == Some(count), "{text}");
    printed(" received").with_context(|| format!("ping printed: {text}"))
}

/// Step 5: the next hop of its route leads to a network behind client 1, and the same route admits its packets. Packets
/// from another client that claims an address of it are dropped (dco-behaviour 5.1, 5.3).
pub(crate) fn reach_the_network_behind(bench: &Bench) -> Result<()> {
    let [behind, spoofer] = [1, 2].map(|number| bench.client(number));
    let (behind, spoofer) = (behind?, spoofer?);
    for (client, address) in [(behind, "10.9.0.1/32"), (spoofer, "10.9.0.2/32")] {
        client.host.add_address("lo", address)?;
    }
    let route = ["10.9.0.0/24", "via", &behind.inner()];
    bench.server.add_route(&route)?;
    // Once the engine knows the route.
    Ping::to("10.9.0.1").answered_within(SOON, &bench.server)?;
    Ping::to("10.9.0.1").all_answered(&bench.server)?;

    let before = bench.dropped("rx_spoofed_source")?;
    let words = "ping -q -n -c 5 -i 0.01 -W 1 -I 10.9.0.2 10.8.0.1";
    let words: Vec<_> = words.split_whitespace().collect();
    let output = spoofer.host.output(&words)?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        printed.contains("5 packets transmitted, 0 received"),
        "a spoofed source was let in: {printed}"
    );
    let dropped = bench.dropped("rx_spoofed_source")? - before;
    ensure!(dropped == 5, "{dropped} packets dropped, 5 were spoofed");
    // Its own address is still admitted.
    Ping::to(INNER_SERVER)
        .count(3)
        .all_answered(&spoofer.host)?;
    Ok(())
}

/// Step 6: each client gets another outer address. The engine finds it, keeps its keys and counters, and notifies the
/// server: the notifications are returned.
pub(crate) fn float(bench: &Bench) -> Result<Vec<String>> {
    let mut notified = Vec::new();
    for client in &bench.clients {
        let ((_, old), (_, new)) = (client.outer(2), client.outer(3));
        counted_while(bench, client, || {
            client.host.change_address(&client.link.b, &old, &new)
        })?;
        let remote = client.endpoint(3);
        let get = format!("peer get tun0 --id {} --json", client.number);
        let peer = bench.json(&bench.server, &get)?;
        ensure!(peer["remote"] == remote.as_str(), "{peer}");
        Ping::to(&client.inner())
            .count(3)
            .all_answered(&bench.server)?;
        notified.push(super::monitor::floated(client.number, &remote));
    }
    bench.monitor.expect(&notified)?;
    Ok(notified)
}

/// Step 7: TCP from client 1 to the server, and back.
pub(crate) fn stream(bench: &Bench) -> Result<()> {
    let client = &bench.client(1)?.host;
    for stream in [Stream::to(INNER_SERVER), Stream::to(INNER_SERVER).reverse()] {
        let rate = stream.run(client, &bench.server)?;
        ensure!(rate.bits_per_second > 1e6, "{rate:?}");
    }
    Ok(())
}
