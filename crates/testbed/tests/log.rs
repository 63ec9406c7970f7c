//! The engine's log reports what has happened (faults G4).

use anyhow::{Result, ensure};
use udco_testbed::{Lab, udco};

#[test]
fn a_refused_request_logs_no_success() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let binary = udco::program()?;
    let path = &lab.file("engine.sock")?;
    let daemon = udco::daemon(&host, "daemon.log", &["--verbose", "--socket", path])?;
    host.run(&[binary, "link", "add", "tun7", "--engine", path])?;
    let key = &lab.file("key.txt")?;
    host.run(&[binary, "key", "generate", key])?;
    let new = format!(
        "key new tun7 --peer 9 --slot primary --key-id 0 --cipher aes-gcm --direction 0 --file {key}"
    );
    for words in [
        "key swap tun7 --peer 9",
        "key del tun7 --peer 9 --slot primary",
        "key del tun7 --peer 9 --slot secondary",
        "peer del tun7 --id 9",
        &new,
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let output = host.output(&[&[binary], &words[..], &["--engine", path]].concat())?;
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            !output.status.success() && printed.contains("peer"),
            "{words:?}: {printed}"
        );
    }
    // Every line about a peer names an existing one.
    let log = daemon.log();
    ensure!(!log.contains("peer 9"), "{log}");
    lab.discard_logs();
    Ok(())
}
