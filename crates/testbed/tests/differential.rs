//! Merged packets equal the sent ones once the kernel has split them, and we split the kernel's super-packets as it
//! does (promises E4, E5). `cargo xtask offload` repeats this with ten million.

use anyhow::{Result, ensure};
use udco_testbed::{differential, skip};

/// The program that holds the devices.
const PROGRAM: &str = env!("CARGO_BIN_EXE_udco-lab-end");

const PACKETS: u64 = 50_000;

#[test]
fn the_kernel_sees_no_difference() -> Result<()> {
    let Some(compared) = differential::run(PROGRAM, PACKETS, 1)? else {
        skip("this kernel does not segment UDP (Linux 6.2 does)");
        return Ok(());
    };
    println!("{compared:?}");
    // With fewer packets the test proves nothing.
    ensure!(compared.packets >= PACKETS && compared.segments >= PACKETS);
    ensure!(compared.merged > PACKETS / 4, "{compared:?}");
    ensure!(compared.refused < PACKETS / 20, "{compared:?}");
    Ok(())
}
