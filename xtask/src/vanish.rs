//! `cargo xtask vanish`: a crowd of real clients dies at once, and an OpenVPN 2.6 server with udco forgets every one
//! (promises F6).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use udco_testbed::Crowd;

use crate::{packages, step};

/// `keepalive`: a machine of two cores has to serve all clients meanwhile.
const KEEPALIVE: (u32, u32) = (2, 10);

/// What the server may need beyond the timeout.
const MARGIN: Duration = Duration::from_secs(10);

/// The result: the last line on standard output.
#[derive(Serialize)]
struct Vanishing {
    clients: u32,
    /// Until all had connected.
    gathered_after_s: f64,
    /// From the first kill to the last.
    killed_within_s: f64,
    /// From the first kill until the server had no client instance.
    forgotten_after_s: f64,
    /// The timeout that the server has for a silent client.
    timeout_s: u32,
    /// Processor time from the kill until then.
    openvpn_cpu_s: f64,
    engine_cpu_s: f64,
}

/// Builds, connects the clients, kills them and waits; fails if one is not forgotten in time, or somebody spins
/// afterwards.
pub(crate) fn run(clients: u32) -> Result<()> {
    packages::ensure()?;
    step::run(
        "build",
        &mut step::cargo(&["build", "--quiet", "--release"]),
    )?;
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
