//! The Debian packages that the demo, the scenarios and the benchmark need.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::step;

/// A file that a package provides, and the package.
const NEEDED: [(&str, &str); 12] = [
    ("/usr/sbin/openvpn", "openvpn"),
    ("/usr/bin/iperf3", "iperf3"),
    ("/usr/bin/tcpdump", "tcpdump"),
    ("/usr/sbin/nft", "nftables"),
    ("/usr/bin/ping", "iputils-ping"),
    ("/usr/bin/ip", "iproute2"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/usr/bin/ps", "procps"),
    ("/usr/bin/strace", "strace"),
    ("/usr/bin/cc", "gcc"),
    ("/usr/bin/musl-gcc", "musl-tools"),
];

/// Additional files for the scenarios of `udco metrics`, `udco capture` and `udco top`.
const NEEDED_TO_WATCH: [(&str, &str); 3] = [
    ("/usr/bin/promtool", "prometheus"),
    ("/usr/bin/tshark", "tshark"),
    ("/usr/bin/tmux", "tmux"),
];

/// Additional files for the benchmark.
const NEEDED_TO_MEASURE: [(&str, &str); 4] = [
    ("/usr/sbin/ethtool", "ethtool"),
    ("/usr/bin/wg", "wireguard-tools"),
    ("/usr/sbin/tincd", "tinc"),
    ("/usr/bin/fastd", "fastd"),
];

/// Additional files for packages and their test.
const NEEDED_TO_PACKAGE: [(&str, &str); 5] = [
    ("/usr/bin/dpkg-deb", "dpkg"),
    ("/usr/bin/readelf", "binutils"),
    ("/usr/bin/lintian", "lintian"),
    ("/usr/bin/mmdebstrap", "mmdebstrap"),
    ("/usr/bin/systemd-nspawn", "systemd-container"),
];

/// Installs missing packages, or says how.
///
/// # Errors
/// If packages are missing and cannot be installed: the message is the command that installs them.
pub(crate) fn ensure() -> Result<()> {
    ensure_all(&NEEDED)
}

/// The same, including the benchmark's packages.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_to_measure() -> Result<()> {
    ensure_all(&[NEEDED.as_slice(), &NEEDED_TO_MEASURE].concat())
}

/// Installs what scenarios can do without, if they say so.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_to_watch() -> Result<()> {
    ensure_all(&NEEDED_TO_WATCH)
}

/// The same, including what makes packages and tests them.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_to_package() -> Result<()> {
    ensure_all(&[NEEDED.as_slice(), &NEEDED_TO_PACKAGE].concat())
}

fn ensure_all(needed: &[(&str, &'static str)]) -> Result<()> {
    let missing = missing(needed);
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/apt-get").exists() {
        bail!("packages are missing; install them with:\n  sudo apt-get install -y {packages}");
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    step::run("apt-get update", &mut apt(&["update", "-q"]))?;
    let mut install = apt(&["install", "-q", "-y", "--no-install-recommends"]);
    step::run(
        &format!("apt-get install {packages}"),
        install.args(&missing),
    )?;
    match self::missing(needed).as_slice() {
        [] => Ok(()),
        still => bail!("apt-get did not install {}", still.join(" ")),
    }
}

fn missing(needed: &[(&str, &'static str)]) -> Vec<&'static str> {
    let is_missing = |(file, _): &&(&str, &'static str)| {
        // Debian's merged /usr: a file may be in either place.
        let elsewhere = file.replacen("/usr", "", 1);
        let in_sbin = file.replacen("/usr/bin", "/usr/sbin", 1);
        ![*file, &elsewhere, &in_sbin]
            .iter()
            .any(|file| Path::new(file).exists())
    };
    needed
        .iter()
        .filter(is_missing)
        .map(|(_, package)| *package)
        .collect()
}
