//! `cargo xtask check`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::step::{self, Lack};
use crate::{architectures, dependencies, no_std, openvpn27, packages};

/// Crates that are of use to other programs.
const PUBLIC_CRATES: [&str; 4] = ["udco-core", "udco-crypto", "udco-ipc", "udco-netlink"];

/// Sums over all test programs.
#[derive(Default)]
struct Tally {
    /// Tests that ran and passed.
    passed: u64,
    failed: u64,
    /// Tests that are ignored, or could not run here: each says `SKIPPED` once.
    skipped: u64,
    /// Parts of tests that could not run here: each says `LEFT OUT`.
    left_out: u64,
    /// `SKIPPED` lines of the running test program, whose tests libtest will count as passed.
    unsettled: u64,
}

/// Runs every check, with `busy` busy loops running; the last line is the sum of all tests.
pub(crate) fn run(quick: bool, busy: u8) -> Result<()> {
    let begin = Instant::now();
    for _ in 0..busy {
        thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    packages::ensure()?;
    let workspace = workspace()?;
    let target = target()?;

    step::run("format", &mut step::cargo("fmt --all --check"))?;
    let lints = "clippy --quiet --workspace --all-targets -- -D warnings";
    step::run("lints", &mut step::cargo(lints))?;
    // The other implementation of the ciphers, which no crate here uses.
    let lints = "clippy --quiet --package udco-crypto --all-targets --all-features -- -D warnings";
    step::run("lints of all ciphers", &mut step::cargo(lints))?;
    let mut doc = step::cargo("doc --quiet --workspace --no-deps --document-private-items");
    step::run("docs", doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    no_std::check(&workspace, &target)?;
    let mut package = step::cargo("package --quiet --no-verify --allow-dirty --offline");
    package.args(PUBLIC_CRATES.iter().flat_map(|name| ["--package", name]));
    step::run("packages of the crates for others", &mut package)?;

    let mut tally = Tally::default();
    tally.count(dependencies::check()?);
    tally.architectures(&target)?;
    step::build_release()?;
    let tests = "test --workspace --exclude udco-testbed";
    tally.test("unit and property tests", tests, &target)?;
    let tests = "test --package udco-crypto --all-features";
    tally.test("tests of all ciphers", tests, &target)?;
    if quick {
        let why = "the scenarios with OpenVPN (--quick)".to_owned();
        tally.count(vec![Lack::Part(why)]);
    } else {
        if let Err(error) = openvpn27::ensure(&target) {
            // Each scenario that needs it reports that itself, and is counted there.
            eprintln!("no scenarios with OpenVPN 2.7: {error:#}");
        }
        if let Err(error) = packages::ensure_to_watch() {
            // As above.
            eprintln!("no scenarios with Prometheus, tshark or tmux: {error:#}");
        }
        // Two at a time: each scenario has several processes, and few machines have cores to spare for more.
        let scenarios = "test --package udco-testbed -- --test-threads=2";
        tally.test("scenarios with OpenVPN", scenarios, &target)?;
    }

    println!("checked in {} s", begin.elapsed().as_secs());
    println!(
        "{} passed, {} failed, {} skipped ({} parts left out)",
        tally.passed, tally.failed, tally.skipped, tally.left_out
    );
    if tally.failed > 0 {
        bail!("tests failed");
    }
    Ok(())
}

impl Tally {
    /// Checks the other architectures, as far as possible here.
    fn architectures(&mut self, target: &Path) -> Result<()> {
        self.count(architectures::check()?);
        match architectures::emulated() {
            Ok(emulated) => {
                let (words, variables) = (emulated.words, emulated.variables);
                self.test_with(
                    "tests on a big-endian processor",
                    &words,
                    &variables,
                    target,
                )
            }
            Err(why) => {
                self.count(vec![Lack::All(why)]);
                Ok(())
            }
        }
    }

    /// Reports and counts what could not be checked here.
    fn count(&mut self, lacks: Vec<Lack>) {
        for lack in lacks {
            match lack {
                Lack::All(why) => {
                    eprintln!("SKIPPED: {why}");
                    self.skipped += 1;
                }
                Lack::Part(why) => {
                    eprintln!("LEFT OUT: {why}");
                    self.left_out += 1;
                }
            }
        }
    }

    /// Runs test programs, shows their output, and adds up their results.
    fn test(&mut self, what: &str, words: &str, target: &Path) -> Result<()> {
        self.test_with(what, words, &[], target)
    }

    /// The same, with environment variables for cargo.
    fn test_with(
        &mut self,
        what: &str,
        words: &str,
        variables: &[(String, String)],
        target: &Path,
    ) -> Result<()> {
        eprintln!("==> {what}");
        let (words, after) = words.split_once(" -- ").unwrap_or((words, ""));
        let mut tests = step::cargo(words)
            .args(["--quiet", "--no-fail-fast", "--"])
            .args(after.split_whitespace())
            .env("UDCO_BIN", target.join("release/udco"))
            .envs(variables.iter().cloned())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start cargo")?;
        let output = tests.stdout.take().context("no output")?;
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            self.add(&line);
        }
        let status = tests.wait()?;
        if !status.success() && self.failed == 0 {
            bail!("{what}: failed ({status})");
        }
        Ok(())
    }

    fn add(&mut self, line: &str) {
        // libtest's dots may precede it.
        let Some(result) = line.strip_prefix("test result: ") else {
            self.unsettled += u64::from(line.contains("SKIPPED: "));
            self.left_out += u64::from(line.contains("LEFT OUT: "));
            return;
        };
        let unsettled = std::mem::take(&mut self.unsettled);
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let Some(count) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
                continue;
            };
            match words.next() {
                Some("passed") => {
                    let skipped = unsettled.min(count);
                    self.passed += count - skipped;
                    self.skipped += skipped;
                }
                Some("failed") => self.failed += count,
                Some("ignored") => self.skipped += count,
                _ => {}
            }
        }
    }
}

/// The root of the workspace, where this program was built.
pub(crate) fn workspace() -> Result<PathBuf> {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(xtask
        .parent()
        .context("xtask is not in a workspace")?
        .to_owned())
}

/// cargo's target directory: `target` in the workspace, unless the user's cargo has another one.
pub(crate) fn target() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    // <target>/<profile>/xtask
    let target = program.ancestors().nth(2);
    Ok(target
        .context("xtask is in no target directory")?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::Tally;

    /// The counts in these lines: passed, failed, skipped, left out.
    fn sums(output: &str) -> [u64; 4] {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.add(line));
        [tally.passed, tally.failed, tally.skipped, tally.left_out]
    }

    #[test]
    fn a_test_that_skipped_itself_has_not_passed() {
        let output = "running 5 tests\n..SKIPPED: no OpenVPN 2.7\n.i.\n\
            test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.07s\n";
        assert_eq!(sums(output), [3, 0, 2, 0]);
    }

    #[test]
    fn a_part_left_out_is_no_test() {
        let output = "running 2 tests\n.LEFT OUT: no look at the wire\nLEFT OUT: no second user\n.\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s\n";
        assert_eq!(sums(output), [2, 0, 0, 2]);
    }

    #[test]
    fn programs_are_added_up_and_do_not_share_what_was_skipped() {
        let output = "SKIPPED: one\nSKIPPED: two\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
            running 3 tests\n\
            test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n\
            test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out\n";
        assert_eq!(sums(output), [2, 1, 2, 0]);
    }
}
