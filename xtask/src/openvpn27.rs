//! `cargo xtask openvpn27`: OpenVPN 2.7 with libraries of its own, unpacked and not installed.
//!
//! Debian's backports for trixie have it, the releases that most machines run do not. An apt with directories of its
//! own and an empty list of installed packages fetches it with all its dependencies, down to the C library; the
//! machine's packages, lists and caches stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use udco_testbed::version;

use crate::apt::{self, Apt};
use crate::check;

/// The release, and the suite on top of it that has OpenVPN 2.7.
const RELEASE: &str = "trixie";
const BACKPORTS: &str = "trixie-backports";

/// Runs the command.
pub(crate) fn run() -> Result<()> {
    let root = ensure(&check::target()?)?;
    println!("{}", root.display());
    Ok(())
}

/// Unpacks it to `openvpn-2.7` in the target directory unless it is there.
///
/// # Errors
/// Says why the packages are unavailable; leaves nothing behind that a later run would mistake for a complete one.
pub(crate) fn ensure(target: &Path) -> Result<PathBuf> {
    let root = target.join("openvpn-2.7");
    if let Some(words) = version::unpacked(&root) {
        eprintln!("==> {} is already unpacked", reported(&words)?);
        return Ok(root);
    }
    let fresh = target.join("openvpn-2.7.new");
    apt::remove(&fresh)?;
    fs::create_dir_all(&fresh)?;
    let what = format!("OpenVPN 2.7 of {BACKPORTS}");
    let apt = Apt::new(&fresh.join("apt"), &what, &[RELEASE, BACKPORTS])?;
    apt.run("update", &["update", "-q", "--error-on=any"])?;
    let install = ["install", "-q", "-y", "--download-only", "-t", BACKPORTS];
    apt.run(
        "download openvpn",
        &[install.as_slice(), &["openvpn"]].concat(),
    )?;
    apt::unpack(&apt.archives(), &fresh)?;
    link_merged_usr(&fresh)?;
    apt::remove(apt.root())?;
    let words = version::unpacked(&fresh).context("the packages contain no OpenVPN that runs")?;
    let version = reported(&words)?;
    ensure!(
        version.starts_with("OpenVPN 2.7"),
        "{BACKPORTS} has {version}"
    );
    apt::remove(&root)?;
    fs::rename(&fresh, &root)?;
    eprintln!("==> {version} is in {}", root.display());
    Ok(root)
}

/// The first words of its output.
fn reported(words: &[std::ffi::OsString]) -> Result<String> {
    let (program, arguments) = words.split_first().context("no command")?;
    let output = Command::new(program)
        .args(arguments)
        .arg("--version")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut first = text.split_whitespace();
    match (first.next(), first.next()) {
        (Some(name), Some(number)) => Ok(format!("{name} {number}")),
        _ => bail!(
            "the unpacked OpenVPN does not run ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ),
    }
}

/// Debian's merged /usr, which packages take for granted.
fn link_merged_usr(root: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let link = root.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(Path::new("usr").join(name), &link)?;
        }
    }
    Ok(())
}
