//! `cargo xtask tcp`: ten minutes of rekeys beside streams that saturate a TCP transport, a minute in which one of 50
//! peers does not read, and inner TCP over a path that is narrower than Ethernet.

use anyhow::Result;

use crate::step;

/// Makes the tests run at length.
const LONG: &str = "UDCO_TCP_LONG";

/// Builds and runs them, one after the other; their figures, JSON objects, go to standard output, everything else to
/// standard error.
pub(crate) fn run() -> Result<()> {
    step::prepare()?;
    for (what, test) in [
        (
            "TCP inside, paths of 1,500 and 1,400 bytes in turns",
            "path_mtu tcp_over_a_narrower_path_is_nearly_as_fast",
        ),
        (
            "one of 50 peers does not read for a minute",
            "tcp a_peer_with_a_zero_window_takes_nothing_from_the_others",
        ),
        (
            "a rekey every 5 s for ten minutes",
            "tcp rekeys_of_2_6_change_no_byte_of_a_stream",
        ),
    ] {
        eprintln!("==> {what}");
        let words = "test --quiet --release --package udco-testbed --test";
        let choice = "-- --exact --include-ignored --nocapture";
        step::figures(&format!("{words} {test} {choice}"), LONG)?;
    }
    Ok(())
}
