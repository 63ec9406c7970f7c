//! Clients that vanish all at once: the server drops every one.
//!
//! OpenVPN 2.6 has room for one notification only and discards those that it reads while it waits for an answer, so the
//! engine must send each when the one before has been handled (promises F6). `cargo xtask vanish` repeats this with
//! 1,024.

use std::time::Duration;

use anyhow::{Result, ensure};
use udco_testbed::Crowd;

#[test]
fn a_server_forgets_all_clients_that_are_killed_at_once() -> Result<()> {
    let crowd = Crowd::gather(48, (1, 4))?;
    if crowd.server.is_udco() {
        ensure!(crowd.show()?.peers().count() == 48);
    }
    let vanished = crowd.vanish(Duration::from_secs(5))?;
    println!("{vanished:?}");
    ensure!(vanished.openvpn < Duration::from_secs(2), "{vanished:?}");
    if crowd.server.is_udco() {
        crowd.require_rest()?;
    }
    Ok(())
}
