//! `cargo xtask vanish`: a crowd of real clients dies at once, and an OpenVPN 2.6 server with udco drops every one
//! (promises F6).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use udco_testbed::Crowd;

use crate::step;

/// `keepalive`: a two-core machine must serve all clients meanwhile.
const KEEPALIVE: (u32, u32) = (2, 10);

/// Additional time for the server after the timeout.
const MARGIN: Duration = Duration::from_secs(10);

/// The result: the last line on standard output.
#[derive(Serialize)]
struct Vanishing {
    clients: u32,
    /// Time until all had connected.
    gathered_after_s: f64,
    /// From the first kill to the last.
    killed_within_s: f64,
    /// From the first kill until the server had no client instance.
    forgotten_after_s: f64,
    /// The server's timeout for a silent client.
    timeout_s: u32,
    /// Processor time from the kill until then.
    openvpn_cpu_s: f64,
    engine_cpu_s: f64,
}

/// Builds, connects the clients, kills them and waits; fails if one is not dropped in time, or a process spins
/// afterwards.
pub(crate) fn run(clients: u32) -> Result<()> {
    step::prepare()?;
    eprintln!("==> {clients} clients connect");
    let begin = Instant::now();
    let crowd = Crowd::gather(clients, KEEPALIVE)?;
    let gathered = begin.elapsed();
    let peers = crowd.show()?.peers().count();
    ensure!(peers == clients as usize, "the engine has {peers} peers");
    eprintln!("==> all of them are killed");
    let vanished = crowd.vanish(MARGIN)?;
    crowd.require_rest()?;
    crowd.pair.lab.discard_logs();
    let vanishing = Vanishing {
        clients,
        gathered_after_s: gathered.as_secs_f64(),
        killed_within_s: vanished.killed_within.as_secs_f64(),
        forgotten_after_s: vanished.after.as_secs_f64(),
        timeout_s: 2 * KEEPALIVE.1,
        openvpn_cpu_s: vanished.openvpn.as_secs_f64(),
        engine_cpu_s: vanished.engine.as_secs_f64(),
    };
    println!("{}", serde_json::to_string(&vanishing)?);
    Ok(())
}
