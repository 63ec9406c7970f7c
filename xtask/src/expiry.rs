//! `cargo xtask expiry`: 100,000 peers expire while the listener sleeps for a minute.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::step;

/// Makes the engine's test do it at length.
const LONG: &str = "UDCO_EXPIRY_LONG";

/// Runs the engine's test optimised; its figures, one JSON object, go to standard output, all else to standard error.
pub(crate) fn run() -> Result<()> {
    eprintln!("==> 100,000 peers expire while nobody reads: two minutes and the build");
    let words = "test --quiet --release --package udco-engine --test expiry";
    let words: Vec<&str> = words.split(' ').collect();
    let mut test = step::cargo(&words)
        .env(LONG, "1")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let output = test.stdout.take().context("no standard output")?;
    let mut has_figures = false;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line.starts_with('{') {
            has_figures = true;
            println!("{line}");
        } else {
            eprintln!("{line}");
        }
    }
    let status = test.wait()?;
    ensure!(status.success(), "the test failed ({status})");
    ensure!(has_figures, "the test was left out: its output says why");
    Ok(())
}
