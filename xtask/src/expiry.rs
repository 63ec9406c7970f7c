//! `cargo xtask expiry`: 100,000 peers expire while the listener sleeps for a minute.

use anyhow::Result;

use crate::step;

/// Runs the engine's test optimised; its figures go to standard output, everything else to standard error.
pub(crate) fn run() -> Result<()> {
    eprintln!("==> 100,000 peers expire unread: two minutes and the build");
    step::figures(
        "test --quiet --release --package udco-engine --test expiry",
        "UDCO_EXPIRY_LONG",
    )
}
