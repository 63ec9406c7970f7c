//! `udco ping`: round trip, loss and the largest packet that passes, through a real tunnel.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use udco_testbed::{Host, Pair, Proto, addresses as at, connect, eventually, udco};

/// Long enough for a busy machine, on which an answer may come too late.
const SOON: Duration = Duration::from_secs(60);

/// The exit code of `udco ping` with these words, and what it prints.
fn ping(host: &Host, words: &str) -> Result<(i32, String)> {
    let mut all = vec![udco::program()?, "ping"];
    all.extend(words.split(' '));
    let output = host.output(&all)?;
    let code = output.status.code().context("killed")?;
    let text = [output.stdout, output.stderr].concat();
    Ok((code, String::from_utf8_lossy(&text).into_owned()))
}

/// Runs it until it ends well and prints all of this.
fn prints(host: &Host, words: &str, wanted: &[&str]) -> Result<()> {
    let mut last = String::new();
    let printed = eventually(words, SOON, || {
        let (code, text) = ping(host, words)?;
        let is_it = code == 0 && wanted.iter().all(|part| text.contains(part));
        last = text;
        Ok(is_it.then_some(()))
    });
    printed.with_context(|| format!("not {wanted:?}: {last}"))
}

/// Runs it once: it ends with this code and prints all of this.
fn fails(host: &Host, words: &str, wanted_code: i32, wanted: &[&str]) -> Result<()> {
    let (code, text) = ping(host, words)?;
    let is_it = code == wanted_code && wanted.iter().all(|part| text.contains(part));
    ensure!(
        is_it,
        "{words}: not {wanted_code}, {wanted:?}: {code}: {text}"
    );
    Ok(())
}

#[test]
fn the_other_end_answers_at_the_address_of_its_record_or_of_a_route() -> Result<()> {
    if udco::is_left_out("without udco there is no device to ping through") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let _ends = connect(pair.udco_server(Proto::Udp4), pair.udco_client(Proto::Udp4))?;
    let (server, client) = (&pair.server, &pair.client);
    let wanted = [
        "PING 10.8.0.2 (peer 0 of tun0) 56(84) bytes of data.",
        "64 bytes from 10.8.0.2: icmp_seq=3 time=",
        "3 packets transmitted, 3 received, 0% packet loss",
        "rtt min/avg/max/mdev = ",
        "largest packet that passes: 1500 bytes, as long as the device takes",
    ];
    prints(server, "tun0 -c 3 -i 0.05", &wanted)?;
    let address = format!("\"address\": \"{}\"", at::INNER_CLIENT6);
    let wanted = [&address, "\"received\": 2", "\"bytes\": 1500"];
    prints(server, "tun0 --id 0 -6 -c 2 -i 0.05 --json", &wanted)?;

    // A client is not told its server's address.
    let wanted = ["peer 0 of tun0 has no VPN address", "--address"];
    fails(client, "tun0 -c 1", 2, &wanted)?;
    let named = format!("tun0 -c 1 --address {}", at::INNER_SERVER);
    prints(client, &named, &["64 bytes from 10.8.0.1"])?;
    client.add_route(&["198.51.100.1", "via", at::INNER_SERVER])?;
    prints(client, "tun0 -c 1", &["PING 10.8.0.1 (peer 0 of tun0)"])?;

    let nobody = ["1 packets transmitted, 0 received, 100% packet loss"];
    fails(client, "tun0 -c 1 --address 10.8.0.99", 1, &nobody)?;
    for (words, error) in [
        ("tun7", "there is no interface tun7 here"),
        ("tun0 --id 9", "peer 9 of tun0: "),
        ("tun0 -c 1 -s 2000", "choose a smaller --size"),
    ] {
        fails(server, words, 2, &[error])?;
    }
    pair.lab.discard_logs();
    Ok(())
}

/// The size of packets is not to blame for the end of the peer.
#[test]
fn no_size_is_named_where_nothing_comes_back_any_more() -> Result<()> {
    if udco::is_left_out("without udco there is no device to ping through") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let server = pair.udco_server(Proto::Udp4);
    let (_server, client) = connect(server, pair.udco_client(Proto::Udp4))?;
    let line = "ping tun0 -c 100 -i 0.05";
    let mut ping = udco::spawn(&pair.server, "ping", line, "icmp_seq=3 ")?;
    client.kill_now()?;
    ping.wait(SOON)?;
    let said = ping.log();
    ensure!(said.contains("nothing comes back any more"), "{said}");
    ensure!(!said.contains("tun-mtu"), "{said}");
    pair.lab.discard_logs();
    Ok(())
}

#[test]
fn the_largest_packet_is_found_where_longer_ones_are_lost() -> Result<()> {
    if udco::is_left_out("without udco there is no device to ping through") {
        return Ok(());
    }
    const NARROW: u64 = 1200;
    // A virtual link leaves room for a VLAN tag; around the packet are IP, UDP and the record's overhead.
    let most = NARROW + 4 - 20 - 8 - 24;
    let pair = Pair::new()?;
    let _ends = connect(pair.udco_server(Proto::Udp4), pair.udco_client(Proto::Udp4))?;
    // What is longer than the far end takes is lost, and nobody says so. A super-packet would pass.
    let (link, mtu) = (&pair.link.b, NARROW.to_string());
    pair.client.run(&["ip", "link", "set", link, "mtu", &mtu])?;
    let mut last = Value::Null;
    let found = eventually("the largest packet", SOON, || {
        let (_, text) = ping(&pair.server, "tun0 -c 2 -i 0.05 --json")?;
        last = serde_json::from_str(&text)?;
        let bytes = last["largest_packet"]["bytes"].as_u64();
        let is_it = bytes.is_some_and(|bytes| (most - 4..=most).contains(&bytes));
        Ok(is_it.then_some(()))
    });
    found.with_context(|| format!("{last:#}"))?;
    ensure!(last["largest_packet"]["mtu"] == 1500, "{last:#}");
    ensure!(last["rtt_ms"]["avg"].as_f64() > Some(0.0), "{last:#}");
    pair.lab.discard_logs();
    Ok(())
}
