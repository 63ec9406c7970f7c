//! Other architectures: the product compiles for them, and the pure crates' tests run on a big-endian one.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::step::{self, Lack};

/// An architecture as in Rust's target and in the target of Debian's C compiler. The last one is big-endian.
const ARCHITECTURES: [&str; 3] = ["aarch64", "i686", "s390x"];

/// The architecture that is emulated to run tests.
const EMULATED: &str = "s390x";

/// What is compiled where a C compiler for the architecture is missing: all that has no C in it.
const WITHOUT_C: [&str; 6] = [
    "udco-core",
    "udco-netlink",
    "udco-ipc",
    "udco-state",
    "udco-sys",
    "udco-preload",
];

/// The static program of the packages: all of it that has no C.
const STATIC: &str = "check --quiet --package udco-netlink --package udco-ipc --package udco-state --package udco-sys";

/// The ciphers in Rust alone, which the engine does not use.
const CIPHERS_WITHOUT_C: &str =
    "check --quiet --package udco-crypto --no-default-features --features rustcrypto";

/// Crates whose tests need nothing that an emulator of processors lacks.
const EMULATED_CRATES: [&str; 5] = [
    "udco-core",
    "udco-crypto",
    "udco-netlink",
    "udco-ipc",
    "udco-preload",
];

/// Tests that take minutes there, and use no multi-byte numbers.
const TOO_SLOW: [&str; 2] = ["replay::tests", "cow_map::tests"];

/// Tests on another processor: arguments of `cargo`, and variables.
pub(crate) struct Emulated {
    pub(crate) words: String,
    pub(crate) variables: [(String, String); 2],
}

/// Compiles all crates of the product and their tests for each architecture whose standard library is installed, and
/// with musl what the packages' static program is made of.
///
/// # Errors
/// If one does not compile.
pub(crate) fn check() -> Result<Vec<Lack>> {
    let mut lacks = Vec::new();
    for architecture in ARCHITECTURES {
        let target = target(architecture);
        if !has_library(&target) {
            lacks.push(Lack::All(format!(
                "{architecture}: needs `rustup target add {target}`"
            )));
            continue;
        }
        let mut cargo = step::cargo("check --quiet --all-targets");
        cargo.args(["--target", &target]);
        if has_compiler(architecture) {
            cargo.args(["--workspace", "--exclude", "udco-testbed"]);
            cargo.args(["--exclude", "xtask"]);
        } else {
            cargo.args(WITHOUT_C.iter().flat_map(|package| ["--package", package]));
            lacks.push(Lack::Part(format!(
                "{architecture}: the engine and the program need a C compiler, of the package gcc-{architecture}-linux-gnu"
            )));
        }
        step::run(&format!("compiles for {architecture}"), &mut cargo)?;
        let mut ciphers = step::cargo(CIPHERS_WITHOUT_C);
        ciphers.args(["--target", &target]);
        step::run(
            &format!("the ciphers without C compile for {architecture}"),
            &mut ciphers,
        )?;
    }
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    if has_library(&target) {
        let mut cargo = step::cargo(STATIC);
        cargo.args(["--target", &target]);
        step::run("compiles with musl", &mut cargo)?;
    } else {
        lacks.push(Lack::All(format!(
            "musl: needs `rustup target add {target}`"
        )));
    }
    Ok(lacks)
}

/// The tests on a big-endian processor, or why they cannot run.
pub(crate) fn emulated() -> Result<Emulated, String> {
    let target = target(EMULATED);
    if !has_library(&target) {
        return Err(format!("{EMULATED}: needs `rustup target add {target}`"));
    }
    if !has_compiler(EMULATED) {
        return Err(format!(
            "{EMULATED}: needs a linker, of the package gcc-{EMULATED}-linux-gnu"
        ));
    }
    let emulator = format!("qemu-{EMULATED}");
    if !starts(&emulator) {
        return Err(format!(
            "{EMULATED}: needs {emulator}, of the package qemu-user"
        ));
    }
    let packages = EMULATED_CRATES.map(|package| format!(" --package {package}"));
    let skipped = TOO_SLOW.map(|test| format!(" --skip {test}"));
    // `serve` is the entry point of all Netlink handling. Of the ciphers, those in Rust run: aws-lc tests its C itself.
    let words = format!(
        "test --target {target}{} --no-default-features --features udco-crypto/rustcrypto --lib --test serve --{}",
        packages.concat(),
        skipped.concat()
    );
    let prefix = format!(
        "CARGO_TARGET_{}",
        target.to_ascii_uppercase().replace('-', "_")
    );
    let variables = [
        ("LINKER", format!("{EMULATED}-linux-gnu-gcc")),
        ("RUNNER", format!("{emulator} -L /usr/{EMULATED}-linux-gnu")),
    ];
    Ok(Emulated {
        words,
        variables: variables.map(|(name, value)| (format!("{prefix}_{name}"), value)),
    })
}

fn target(architecture: &str) -> String {
    format!("{architecture}-unknown-linux-gnu")
}

/// Whether Rust's standard library for a target is installed.
fn has_library(target: &str) -> bool {
    let library = step::first_line("rustc", &["--print", "target-libdir", "--target", target]);
    !library.is_empty() && Path::new(&library).is_dir()
}

fn has_compiler(architecture: &str) -> bool {
    starts(&format!("{architecture}-linux-gnu-gcc"))
}

fn starts(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}
