//! Some hundred runs of all scenarios. `SIM_SEED=…` replays one of them, `SIM_SEEDS=…` runs that many.

use udco_sim::fault::Fault;
use udco_sim::scenario::{Scenario, run};

const SEEDS: u64 = 450;

/// The number in a variable of the environment, if it is set.
fn variable(name: &str) -> Option<u64> {
    let value = std::env::var_os(name)?;
    let number = value.to_str().and_then(|value| value.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name}={} is not a number", value.display())))
}

#[test]
fn whatever_the_network_does_packets_arrive_or_are_accounted_for() {
    let seeds = match variable("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let failures: Vec<String> = seeds
        .filter_map(|seed| run(seed, Fault::None).err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_run_depends_on_nothing_but_its_seed() {
    let count = Scenario::ALL.len() as u64;
    let reports = |from| (from..from + 3 * count).map(|seed| run(seed, Fault::None));
    let reports = |from| reports(from).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(reports(0), reports(0));
    let mut hashes: Vec<u64> = reports(0).iter().map(|report| report.hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len() as u64, 3 * count);
}

/// What the simulation is worth: a bug that it does not find is none that it could keep out.
#[test]
fn bugs_on_purpose_are_found() {
    let found = |fault: Fault| {
        let mut failures = (0..300).filter_map(|seed| run(seed, fault).err());
        failures.next().unwrap_or_default()
    };
    assert!(found(Fault::DeliversTwice).contains("twice"));
    assert!(found(Fault::ForgetsReplays).contains("twice"));
    assert!(found(Fault::ChangesBytes).contains("changed"));
    let silent = found(Fault::LosesSilently);
    assert!(
        silent.contains("sent") && silent.contains("delivered"),
        "{silent}"
    );
    assert!(silent.contains("--example replay -- "), "{silent}");
}
