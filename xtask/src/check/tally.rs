//! What all test programs together have passed, failed and skipped.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::step::{self, Lack};

/// The variable that tells scenarios which binary to run, and where that is in the target directory.
pub(super) const BINARY: &str = "UDCO_BIN";
pub(super) const BUILT: &str = "release/udco";

/// Sums over all test programs.
#[derive(Default)]
pub(super) struct Tally {
    /// Tests that ran and passed.
    pub(super) passed: u64,
    pub(super) failed: u64,
    /// Tests that are ignored, or could not run here: each says `SKIPPED` once.
    pub(super) skipped: u64,
    /// Parts of tests that could not run here: each says `LEFT OUT`.
    pub(super) left_out: u64,
    /// `SKIPPED` lines of the running test program, whose tests libtest will count as passed.
    unsettled: u64,
}

impl Tally {
    /// Reports and counts what could not be checked here.
    pub(super) fn count(&mut self, lacks: Vec<Lack>) {
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
    pub(super) fn test(&mut self, what: &str, words: &str, target: &Path) -> Result<()> {
        self.test_with(what, words, &[], target)
    }

    /// The same, with environment variables for cargo.
    pub(super) fn test_with(
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
            .env(BINARY, target.join(BUILT))
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

    pub(super) fn add(&mut self, line: &str) {
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
