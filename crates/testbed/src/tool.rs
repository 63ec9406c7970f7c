//! The programs that a lab needs.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command};

use anyhow::{Context, Result, bail, ensure};

/// Each with its Debian package.
const TOOLS: [(&str, &str); 9] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("iperf3", "iperf3"),
    ("openssl", "openssl"),
    ("openvpn", "openvpn"),
    ("tcpdump", "tcpdump"),
];

/// A command whose search path includes the system directories, which an ordinary user's often lacks.
pub(crate) fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", search_path()).env("LC_ALL", "C");
    command
}

/// Checks that all of them are installed.
///
/// # Errors
/// Names the packages to install.
pub(crate) fn require_all() -> Result<()> {
    let path = search_path();
    let is_missing = |tool: &str| {
        let mut folders = path.split(':');
        !folders.any(|folder| Path::new(folder).join(tool).is_file())
    };
    let missing = TOOLS.iter().filter(|(tool, _)| is_missing(tool));
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    ensure!(
        missing.is_empty(),
        "missing tools; cure: apt-get install {}",
        missing.join(" ")
    );
    Ok(())
}

/// Waits for the line `ready`, so that namespaces and mounts are in place afterwards.
pub(crate) fn await_ready(child: &mut Child) -> Result<()> {
    let stdout = child.stdout.take().context("no standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.trim() == "ready" {
        return Ok(());
    }
    let mut words = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut words);
    }
    let _ = child.wait();
    bail!("{}", words.trim())
}

fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}
