//! OpenVPN and its engine are killed at random times, and nothing leaves in the clear (faults A1, A2, A5): 20 times
//! each. `cargo xtask leak` repeats it 1,000 times.

use std::thread;

use anyhow::{Result, bail, ensure};
use udco_testbed::leak::{self, Plan, Way};
use udco_testbed::udco;

const PROGRAM: &str = env!("CARGO_BIN_EXE_udco-lab-end");

/// Fixed, to reproduce a failure.
const SEED: u64 = 16;

#[test]
fn no_packet_leaves_in_the_clear_when_openvpn_or_its_engine_is_killed() -> Result<()> {
    if udco::is_left_out("OpenVPN's own data path fails open") {
        return Ok(());
    }
    let plans = Way::ALL.map(|way| Plan {
        way,
        openvpn: 7,
        engine: 7,
        seed: SEED,
    });
    let leaks: Vec<_> = thread::scope(|scope| {
        let runs = plans.map(|plan| scope.spawn(move || leak::run(&plan, PROGRAM)));
        let ended = runs.map(|run| run.join().unwrap_or_else(|_| bail!("a panic")));
        ended.into_iter().collect::<Result<_>>()
    })?;
    for (plan, leaks) in plans.iter().zip(leaks.into_iter().flatten()) {
        println!(
            "{plan:?}: {} sent, {} in the clear",
            leaks.sent,
            leaks.clear.len()
        );
        ensure!(leaks.sent > 1000, "{plan:?}: {} sent", leaks.sent);
        ensure!(
            leaks.clear.is_empty(),
            "{plan:?}: {} in the clear, the first: {:?}",
            leaks.clear.len(),
            leaks.clear.first()
        );
    }
    Ok(())
}
