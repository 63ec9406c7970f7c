//! `cargo xtask check`.

mod side_by_side;
mod tally;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use self::tally::Tally;
use crate::step::{self, Lack};
use crate::{architectures, dependencies, no_std, openvpn27, packages};

/// Crates that are of use to other programs.
const PUBLIC_CRATES: [&str; 4] = ["udco-core", "udco-crypto", "udco-ipc", "udco-netlink"];

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
    architectures(&mut tally, &target)?;
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
        side_by_side::test(
            "scenarios with OpenVPN",
            "udco-testbed",
            &target,
            &mut tally,
        )?;
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

/// Checks the other architectures, as far as possible here.
fn architectures(tally: &mut Tally, target: &Path) -> Result<()> {
    tally.count(architectures::check()?);
    match architectures::emulated() {
        Ok(emulated) => {
            let (words, variables) = (emulated.words, emulated.variables);
            let what = "tests on a big-endian processor";
            tally.test_with(what, &words, &variables, target)
        }
        Err(why) => {
            tally.count(vec![Lack::All(why)]);
            Ok(())
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
