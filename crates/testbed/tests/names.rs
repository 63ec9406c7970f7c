//! Names chosen by a tenant reach a log or a terminal as text only (faults D4).

use std::time::Duration;

use anyhow::{Result, ensure};
use udco_testbed::{Lab, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Takes the cursor home and clears the screen.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// A line that a tenant wants to forge in the engine's log.
const FORGED: &str = "udco: forged";

#[test]
fn a_name_forges_no_line_and_no_escape_sequence() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let binary = udco::program()?;
    let path = &lab.file("engine.sock")?;
    let mut daemon = udco::daemon(&host, "daemon.log", &["--verbose", "--socket", path])?;

    // A client with a hostile name creates a device with another one.
    let device = format!("t{CLEAR}");
    let make = "cp \"$(command -v ip)\" \"$1\" && \
        exec \"$3\" run --engine \"$4\" -- \"$1\" link add name \"$2\" type ovpn";
    let program = format!("i\n{FORGED}{CLEAR}");
    let program = lab.directory().join(program);
    let words = [
        "sh",
        "-c",
        make,
        "sh",
        &program.to_string_lossy(),
        &device,
        binary,
        path,
    ];
    host.run(&words)?;
    daemon.wait_for_log("which stays", SOON)?;
    let log = daemon.log();
    let shown: Vec<String> = [
        vec!["show"],
        vec!["show", "--json"],
        vec!["link", "show"],
        vec!["link", "show", &device, "--json"],
        vec!["key", "swap", &device, "--peer", "1"],
        vec!["link", "del", "no\u{1b}[31m"],
    ]
    .into_iter()
    .map(|words| {
        let output = host.output(&[&[binary], &words[..], &["--engine", path]].concat())?;
        let printed = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&printed).into_owned())
    })
    .collect::<Result<_>>()?;
    for printed in shown.iter().chain([&log]) {
        ensure!(
            !printed.contains('\u{1b}'),
            "an escape sequence: {printed:?}"
        );
        let forged = printed.lines().any(|line| line.starts_with(FORGED));
        ensure!(!forged, "a forged line: {printed:?}");
    }
    ensure!(shown[0].contains("t\\u{1b}[H"), "no device: {shown:?}");
    lab.discard_logs();
    Ok(())
}
