//! Hostile clients of an allowed user, and of one that is not allowed, against a daemon that serves root's tunnel
//! (faults D1 to D3).

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use udco_testbed::hostile::{Attack, Scene, fuzz};
use udco_testbed::skip;

const PROGRAM: &str = env!("CARGO_BIN_EXE_udco-lab-end");

#[test]
fn hostile_clients_cost_root_nothing() -> Result<()> {
    let Some(mut scene) = Scene::new()? else {
        skip("no second user in an unprivileged lab");
        return Ok(());
    };
    let mode = std::fs::metadata(scene.socket())?.permissions().mode() & 0o777;
    ensure!(mode == 0o660, "the socket's mode is {mode:o}");
    let time = Duration::from_secs(2);
    for attack in Attack::value_variants() {
        let start = || attack.start(&scene, PROGRAM, time);
        let hostile = vec![start()?, start()?];
        let found = scene.require_service(hostile, time);
        let (asked, most) = found.with_context(|| format!("{attack:?}"))?;
        println!("{attack:?}: root asked {asked} times; at most {most} KiB");
    }
    let knock = || Attack::Knock.start_as_stranger(&scene, PROGRAM, time);
    let strangers = vec![knock()?, knock()?];
    scene
        .require_service(strangers, time)
        .context("strangers")?;
    let lines = scene.log_lines();
    ensure!(lines < 200, "{lines} lines in the log");
    println!("{lines} lines in the log");
    scene.discard_logs();
    Ok(())
}

/// `cargo xtask fuzz client` does it for longer, and with other seeds.
#[test]
fn whatever_a_client_says_costs_root_nothing() -> Result<()> {
    match fuzz(PROGRAM, 20_261_128, Duration::from_secs(20))? {
        None => skip("no second user in an unprivileged lab"),
        Some(summary) => println!("{summary}"),
    }
    Ok(())
}
