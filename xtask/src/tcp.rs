//! `cargo xtask tcp`: ten minutes of rekeys beside streams that saturate a TCP transport, and a minute in which one of 50
//! peers does not read.

use anyhow::Result;

use crate::{packages, step};

/// Makes the tests do it at length.
const LONG: &str = "UDCO_TCP_LONG";

/// Builds and runs them, one after the other; their figures, JSON objects, go to standard output, all else to standard
/// error.
pub(crate) fn run() -> Result<()> {
    packages::ensure()?;
    step::run(
        "build",
        &mut step::cargo(&["build", "--quiet", "--release"]),
    )?;
    for (what, test) in [
        (
            "one of 50 peers does not read for a minute",
            "a_peer_with_a_zero_window_takes_nothing_from_the_others",
        ),
        (
            "a rekey every 5 s for ten minutes",
            "rekeys_of_2_6_change_no_byte_of_a_stream",
        ),
    ] {
        eprintln!("==> {what}");
        let words = "test --quiet --release --package udco-testbed --test tcp";
        step::figures(&format!("{words} {test} -- --exact --nocapture"), LONG)?;
    }
    Ok(())
}
