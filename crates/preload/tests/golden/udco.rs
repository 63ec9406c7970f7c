//! The program under test.

use std::path::PathBuf;
use std::process::Command;

/// The `udco` binary with the library beside it: that of `UDCO_BIN`, else built here, in the profile of this test.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("UDCO_BIN").map(PathBuf::from) {
        return path.canonicalize().expect("UDCO_BIN is a file");
    }
    let executable = std::env::current_exe().expect("a path");
    let built = executable.ancestors().nth(2).expect("target/profile/deps");
    let profile = built.file_name().expect("a profile");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "-p", "udco", "-p", "udco-preload"]);
    build.args([
        "--manifest-path",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ]);
    build
        .arg("--target-dir")
        .arg(built.parent().expect("target"));
    if profile != "debug" {
        build.arg("--profile").arg(profile);
    }
    assert!(build.status().expect("cargo").success());
    built.join("udco")
}
