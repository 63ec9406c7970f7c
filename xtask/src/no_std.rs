//! Checks that the core, the ciphers that need no C, and everything below them use no `std`.
//!
//! Links them into a library with a panic handler of its own: `std` has one, too, and a program cannot have two, so
//! the build fails if any crate pulls in `std`. That needs only the machine's own target.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::step;

const MANIFEST: &str = r#"[package]
name = "no-std-probe"
version = "0.0.0"
edition = "2024"

[lib]
crate-type = ["staticlib"]

[dependencies]
udco-core = { path = "CRATES/core" }
udco-crypto = { path = "CRATES/crypto", default-features = false, features = ["rustcrypto"] }

[profile.dev]
panic = "abort"

[workspace]
"#;

const PROBE: &str = r#"#![no_std]

use core::alloc::{GlobalAlloc, Layout};

pub use {udco_core, udco_crypto};

struct Nothing;

unsafe impl GlobalAlloc for Nothing {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static NOTHING: Nothing = Nothing;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
"#;

/// Builds the probe below `target`.
pub(crate) fn check(workspace: &Path, target: &Path) -> Result<()> {
    let probe = target.join("no-std-probe");
    fs::create_dir_all(probe.join("src"))?;
    let crates = workspace.join("crates");
    let crates = crates.to_str().context("a path that is not UTF-8")?;
    fs::write(probe.join("Cargo.toml"), MANIFEST.replace("CRATES", crates))?;
    fs::write(probe.join("src/lib.rs"), PROBE)?;
    // The workspace's versions, so that nothing is fetched for the probe alone.
    fs::copy(workspace.join("Cargo.lock"), probe.join("Cargo.lock"))?;
    step::run(
        "core and the ciphers without C use nothing of std",
        step::cargo("build --quiet")
            .current_dir(&probe)
            .env("CARGO_TARGET_DIR", &probe),
    )
}
