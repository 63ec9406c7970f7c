//! What the command line takes beside very many peers: to look at one of them takes no more than beside few.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use udco_testbed::{Host, Lab, udco};

const PEERS: u32 = 20_000;

/// Resident bytes for a question about one peer.
const MEMORY: usize = 16 << 20;

/// Long enough for a busy machine; it takes milliseconds.
const SOON: Duration = Duration::from_secs(20);

/// Runs `udco` with these words; returns what it printed and how long that took.
fn timed(host: &Host, words: &str) -> Result<(String, Duration)> {
    let begin = Instant::now();
    let text = udco::run(host, words)?;
    Ok((text, begin.elapsed()))
}

/// The most resident bytes that any ended process below this one has had.
fn peak() -> Result<usize> {
    let kilobytes = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    Ok(usize::try_from(kilobytes)? << 10)
}

#[test]
fn one_peer_of_very_many_is_cheap_to_look_at() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let _daemon = udco::daemon(&host, "daemon", &[])?;
    let _peers = udco::peers(&lab, &host, PEERS)?;

    let (text, one) = timed(&host, "peer get tun0 --id 7 --json")?;
    let peer: Value = serde_json::from_str(&text)?;
    ensure!(peer["id"] == 7 && peer["vpn4"] == "10.9.0.7", "{text}");
    let (_, set) = timed(&host, "peer set tun0 --id 7 --keepalive 10:60")?;
    // Before anything that takes more.
    let memory = peak()?;
    let (text, all) = timed(&host, "show --json")?;
    println!(
        "beside {PEERS} peers: peer get {one:.1?}, peer set {set:.1?}, at most {} KiB; show --json {all:.1?}, {} KiB",
        memory >> 10,
        peak()? >> 10
    );
    let shown: Value = serde_json::from_str(&text)?;
    let peers = shown["devices"][0]["peers"]
        .as_array()
        .context("no peers")?;
    ensure!(peers.len() == PEERS as usize, "{} peers", peers.len());
    ensure!(peers[6]["keepalive"]["timeout"] == 60, "{}", peers[6]);
    ensure!(memory < MEMORY, "{memory} bytes for one peer");
    ensure!(one.max(set).max(all) < SOON, "too slow");
    lab.discard_logs();
    Ok(())
}
