//! Replays what was recorded of the kernel's driver, and compares byte for byte (docs/netlink-api.md).
//!
//! Each scenario runs as a program of its own under `udco run`, in a network namespace of its own: this executable
//! again, with the test [`replay`]. So the whole chain is compared: preload library, client protocol, engine.
#![allow(unsafe_code)]

mod calls;
mod compare;
mod deliberate;
mod replay;
mod strict;
mod transcript;
mod udco;

use deliberate::is_as_meant;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use transcript::Scenario;

/// Says which scenario [`replay`] replays, by file and name.
const FILE: &str = "UDCO_GOLDEN_FILE";
const SCENARIO: &str = "UDCO_GOLDEN_SCENARIO";

/// How `unshare` makes a network namespace for a user other than root; it then has a single user.
const AS_USER: &str = "-Urn";

#[test]
fn golden_transcripts_are_answered_as_the_kernel_answered() {
    replay_all(&recorded());
}

/// What was not recorded, written in the same format according to the rules.
#[test]
fn golden_rules_without_a_recording_are_kept() {
    replay_all(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/own"
    )));
}

/// Replays the transcripts of a folder.
fn replay_all(folder: &Path) {
    let Some(unshare) = unshare() else {
        let why = "no network namespace, or no /dev/net/tun, for the golden transcripts";
        // Whoever names a folder wants it compared.
        assert!(std::env::var_os("GOLDEN_DIR").is_none(), "{why}");
        return skip(why);
    };
    let binary = udco::binary();
    let mut count = Count::default();
    for file in transcripts(folder) {
        for scenario in transcript::read(&file) {
            if unshare == AS_USER && scenario.steps.iter().any(|step| step.op == "seteuid") {
                say(&format!("LEFT OUT: {} (needs root)", scenario.name));
                count.left_out += scenario.steps.len();
                continue;
            }
            let mut command = Command::new("unshare");
            // The recordings use the same two keys throughout.
            command
                .arg(unshare)
                .arg(&binary)
                .args(["run", "--allow-key-reuse", "--"]);
            command.arg(std::env::current_exe().expect("a path"));
            command.env(FILE, &file).env(SCENARIO, &scenario.name);
            run(&scenario, command, &mut count);
        }
    }
    say(&format!(
        "golden: {} steps compared, {} different on purpose, {} that expect nothing, {} left out, {} different",
        count.compared, count.deliberate, count.silent, count.left_out, count.different
    ));
    assert!(count.compared > 0, "nothing was compared");
    assert_eq!(count.different, 0, "answers differ from the kernel's");
}

/// The program that replays one scenario.
#[test]
#[ignore = "started by the other tests"]
fn replay() {
    let file = std::env::var_os(FILE).expect("a file");
    let name = std::env::var(SCENARIO).expect("a name");
    let scenarios = transcript::read(Path::new(&file));
    let scenario = scenarios.iter().find(|scenario| scenario.name == name);
    replay::run(scenario.expect("a scenario of this name"));
}

#[derive(Default)]
struct Count {
    compared: usize,
    /// Changes to the environment, after which nothing was recorded.
    silent: usize,
    deliberate: usize,
    left_out: usize,
    different: usize,
}

/// Runs a scenario's program and counts the results that it prints.
fn run(scenario: &Scenario, mut command: Command, count: &mut Count) {
    let output = command
        .args(["--exact", "replay", "--ignored", "--nocapture"])
        .stdin(Stdio::null())
        .output()
        .expect("unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut steps = 0;
    for line in said
        .lines()
        .filter_map(|line| line.strip_prefix(replay::STEP))
    {
        let (step, difference) = line.split_once(' ').expect("a step and its difference");
        let step: usize = step.parse().expect("a number");
        let of = &scenario.steps[step];
        let as_meant = is_as_meant(scenario, step, of, &compare::ours_in(difference));
        steps += 1;
        let what = match (difference, as_meant) {
            ("", None) if !of.expects() => {
                count.silent += 1;
                continue;
            }
            ("", None) => {
                count.compared += 1;
                continue;
            }
            ("", Some(_)) => "no difference any more".to_owned(),
            (_, Some(true)) => {
                count.deliberate += 1;
                continue;
            }
            (difference, Some(false)) => format!(
                "not the intended difference: {}",
                difference.replace('|', "\n    ")
            ),
            (difference, None) => difference.replace('|', "\n    "),
        };
        count.different += 1;
        say(&format!("{} {step} ({}): {what}", scenario.name, of.about));
    }
    if steps != scenario.steps.len() || !output.status.success() {
        count.different += 1;
        say(&format!(
            "{}: ended after {steps} of {} steps, {}\n{said}\n{}",
            scenario.name,
            scenario.steps.len(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ));
    }
}

/// The folder of the recordings: `recordings/`, unless `GOLDEN_DIR` names another one.
fn recorded() -> PathBuf {
    // Tests run in the folder of their crate.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("GOLDEN_DIR").unwrap_or_else(|| "recordings".into());
    let folder = root.join(named);
    let has_some = !transcripts(&folder).is_empty();
    assert!(has_some, "no transcripts in {}", folder.display());
    folder
}

/// The files with transcripts in a folder.
fn transcripts(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    files
}

/// How `unshare` makes a network namespace for this user; `None` where nothing of this can run.
fn unshare() -> Option<&'static str> {
    let mut tun = std::fs::File::options();
    tun.read(true).write(true).open("/dev/net/tun").ok()?;
    ["-n", AS_USER].into_iter().find(|option| {
        let mut command = Command::new("unshare");
        command.args([option, "true"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

fn skip(why: &str) {
    say(&format!("SKIPPED: {why}"));
}

/// Bypasses libtest's capture, which shows the output of failed tests only.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
