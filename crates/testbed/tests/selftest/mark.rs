//! Packets carry the mark of their transport socket (dco-behaviour 5.4).

use std::path::Path;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{Host, eventually, skip};

use super::bench::{BASE, Bench, INNER_SERVER, SOON, Variant};
use super::traffic::{for_each, transmitted};
use super::{requests, sequence};

/// As in the kernel's own selftest.
const MARK: u32 = 1056;

/// Echo requests per client.
const COUNT: u64 = 20;

#[test]
fn mark() -> Result<()> {
    if !["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"]
        .iter()
        .any(|nft| Path::new(nft).exists())
    {
        skip("there is no nft to drop marked packets with; cure: apt-get install nftables");
        return Ok(());
    }
    let bench = Bench::new(Variant {
        mark: Some(MARK),
        ..BASE
    })?;
    requests::install_keys(&bench, "primary", 0)?;
    every_client_is_answered(&bench)?;

    every_packet_is_counted(&bench)?;
    let rules = format!(
        "add table inet selftest; \
         add chain inet selftest output {{ type filter hook output priority 0; }}; \
         add rule inet selftest output meta mark {MARK} counter drop"
    );
    bench.server.run(&["nft", &rules])?;
    let before = bench.dropped("tx_transport_error")?;
    // First replies are lost, then the server's own requests.
    let answered = for_each(&bench, |client| {
        let at_client = transmitted(&client.host, INNER_SERVER, COUNT)?;
        let at_server = transmitted(&bench.server, &client.inner(), COUNT)?;
        Ok(at_client + at_server)
    })?;
    let lost = 2 * COUNT * bench.clients.len() as u64;
    let answered: u64 = answered.iter().map(|(_, answered)| answered).sum();
    ensure!(answered == 0, "{answered} pings got through");
    let counted = seen_by_rule(&bench.server)?;
    ensure!(
        counted == lost,
        "the rule dropped {counted}, {lost} were lost"
    );
    // The kernel reports its filter's drops to the sender.
    let dropped = bench.dropped("tx_transport_error")? - before;
    ensure!(
        dropped == lost,
        "{dropped} reported as dropped, {lost} were lost"
    );

    bench.server.run(&["nft", "flush ruleset"])?;
    every_client_is_answered(&bench)?;
    sequence::leave(bench, Vec::new())
}

fn every_client_is_answered(bench: &Bench) -> Result<()> {
    for_each(bench, |client| {
        Ping::to(INNER_SERVER).all_answered(&client.host)
    })
    .map(drop)
}

/// Limits and quotas on a mark count packets: as many as the tunnel has sent, not its system calls (faults E8).
fn every_packet_is_counted(bench: &Bench) -> Result<()> {
    let rules = format!(
        "add table inet selftest; \
         add chain inet selftest output {{ type filter hook output priority 0; }}; \
         add rule inet selftest output meta mark {MARK} counter"
    );
    let sent = || -> Result<u64> {
        // Packets refused by a full socket are sealed and counted, but never reach the rule.
        let refused = bench.dropped("tx_transport_full")? + bench.dropped("tx_transport_error")?;
        let peers = bench.json(&bench.server, "peer get tun0 --json")?;
        let peers = peers.as_array().into_iter().flatten();
        let sealed: u64 = peers
            .filter_map(|it| it["link"]["tx_packets"].as_u64())
            .sum();
        Ok(sealed - refused)
    };
    bench.server.run(&["nft", &rules])?;
    let before = sent()?;
    let client = &bench.clients[0];
    Stream::to(&client.inner())
        .seconds(1)
        .limit("100M")
        .run(&bench.server, &client.host)?;
    let mut last = (0, 0);
    let agree = eventually("the rule to have counted what was sent", SOON, || {
        last = (seen_by_rule(&bench.server)?, sent()? - before);
        Ok((last.0 == last.1).then_some(()))
    });
    agree.with_context(|| format!("counted and sent: {last:?}"))?;
    ensure!(last.0 > 1000, "no stream: {last:?}");
    bench.server.run(&["nft", "flush ruleset"]).map(drop)
}

/// The rule's counter.
fn seen_by_rule(host: &Host) -> Result<u64> {
    let shown = host.run(&["nft", "list chain inet selftest output"])?;
    let (_, after) = shown.split_once("counter packets ").context("no counter")?;
    let number = after.split_whitespace().next().context("no number")?;
    Ok(number.parse()?)
}
