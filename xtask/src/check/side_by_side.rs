//! The test programs of a package, several at a time: a scenario mostly waits, for a handshake or for time to pass.
//!
//! cargo runs one program after the other, and at the end of each a last test that waits alone.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::tally::{BINARY, BUILT, Tally};
use crate::step;

/// Programs at a time, on a machine with two processors. They need about one of these.
const PROGRAMS: usize = 3;

/// Tests at a time of each.
const TESTS: &str = "--test-threads=2";

/// Programs that take a minute or more, so that none of them is left for the end.
const LONGEST: [&str; 4] = ["interop", "rekey", "tcp", "recovery"];

/// A test program that cargo has built.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    name: String,
    executable: PathBuf,
    /// The folder of its package, in which it runs.
    package: PathBuf,
}

/// What a program has printed, once it has ended.
struct Ended {
    name: String,
    output: Result<(String, bool)>,
}

/// Builds the test programs of a package, runs them, shows the output of each when it ends, and adds up their results.
pub(super) fn test(what: &str, package: &str, target: &Path, tally: &mut Tally) -> Result<()> {
    eprintln!("==> {what}");
    let programs = build(package)?;
    ensure!(!programs.is_empty(), "{package} has no test programs");
    let binary = target.join(BUILT);
    let waiting = Mutex::new(programs.into_iter());
    let (ended, all) = channel();
    thread::scope(|scope| {
        for _ in 0..PROGRAMS.min(thread::available_parallelism()?.get() + 1) {
            let ended = ended.clone();
            scope.spawn(|| run_each(&waiting, &binary, ended));
        }
        drop(ended);
        for Ended { name, output } in all {
            println!("==> {name}");
            let (output, is_success) = output.with_context(|| name.clone())?;
            let before = tally.failed;
            for line in output.lines() {
                println!("{line}");
                tally.add(line);
            }
            if !is_success && tally.failed == before {
                bail!("{name} ended without a result");
            }
        }
        Ok(())
    })?;
    tally.test(
        "its examples",
        &format!("test --doc --package {package}"),
        target,
    )
}

/// Runs one waiting program after the other.
fn run_each(waiting: &Mutex<impl Iterator<Item = Program>>, binary: &Path, ended: Sender<Ended>) {
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()
    };
    while let Some(program) = next() {
        let output = run(&program, binary);
        let name = program.name;
        if ended.send(Ended { name, output }).is_err() {
            return;
        }
    }
}

/// Runs a program, and returns its output and whether it succeeded.
fn run(program: &Program, binary: &Path) -> Result<(String, bool)> {
    let (mut reader, writer) = std::io::pipe()?;
    let mut command = Command::new(&program.executable);
    command
        .args(["--quiet", TESTS])
        .current_dir(&program.package)
        .env("CARGO_MANIFEST_DIR", &program.package)
        .env(BINARY, binary)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn().context("cannot start it")?;
    // Its copies of the writer would keep the reader from coming to an end.
    drop(command);
    let mut output = Vec::new();
    reader.read_to_end(&mut output)?;
    let status = child.wait()?;
    let output = String::from_utf8_lossy(&output).into_owned();
    Ok((output, status.success()))
}

/// Builds the test programs of a package; the longest come first.
fn build(package: &str) -> Result<Vec<Program>> {
    let mut cargo =
        step::cargo("test --no-run --quiet --message-format=json-render-diagnostics --package");
    let mut cargo = cargo.arg(package).stdout(Stdio::piped()).spawn()?;
    let messages = BufReader::new(cargo.stdout.take().context("no output")?);
    let mut programs = Vec::new();
    for line in messages.lines() {
        programs.extend(built(&line?));
    }
    ensure!(
        cargo.wait()?.success(),
        "cannot build the tests of {package}"
    );
    let place = |name: &str| LONGEST.iter().position(|long| *long == name);
    programs.sort_by_key(|program| place(&program.name).unwrap_or(LONGEST.len()));
    Ok(programs)
}

/// The test program that a message of cargo's is about, if it is.
fn built(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_test = message["profile"]["test"] == true;
    let executable = message["executable"].as_str().filter(|_| is_test)?;
    let manifest = Path::new(message["manifest_path"].as_str()?);
    Some(Program {
        name: message["target"]["name"].as_str()?.to_owned(),
        executable: executable.into(),
        package: manifest.parent()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_a_test_with_an_executable() {
        let message = |is_test: bool, executable: &str| {
            format!(
                r#"{{"manifest_path": "/w/crates/testbed/Cargo.toml", "target": {{"name": "tcp"}},
                    "profile": {{"test": {is_test}}}, "executable": {executable}}}"#
            )
        };
        let program = built(&message(true, r#""/w/target/debug/deps/tcp-1""#));
        let wanted = Program {
            name: "tcp".into(),
            executable: "/w/target/debug/deps/tcp-1".into(),
            package: "/w/crates/testbed".into(),
        };
        assert_eq!(program, Some(wanted));
        assert_eq!(built(&message(false, r#""/w/target/debug/udco""#)), None);
        assert_eq!(built(&message(true, "null")), None);
        assert_eq!(built("warning: no JSON"), None);
    }
}
