//! Clients that vanish all at once: the server forgets every one.
//!
//! OpenVPN 2.6 has room for one notification only and forgets what it reads while it waits for an answer, so each must
//! be told when the one before was dealt with (promises F6). `cargo xtask vanish` does it with 1,024.

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
