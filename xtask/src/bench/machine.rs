//! What the figures were measured on, and with which programs.

use std::fs;

use serde::Serialize;

use super::vpn::Program;
use crate::step;

/// A machine and what runs on it; empty words where it wouldn't say.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) openvpn: String,
    /// The other VPNs.
    pub(crate) vpns: Vec<String>,
    /// The commit, with `-dirty` if the tree has other changes.
    pub(crate) udco: String,
}

impl Machine {
    pub(crate) fn here(programs: &[Program]) -> Self {
        let openvpn = step::first_line("openvpn", &["--version"]);
        let words: Vec<&str> = openvpn.split_whitespace().take(2).collect();
        Self {
            date: step::first_line("date", &["--utc", "--iso-8601"]),
            kernel: read("/proc/sys/kernel/osrelease"),
            processor: read("/proc/cpuinfo")
                .lines()
                .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
                .map(|(_, model)| model.to_owned())
                .unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            openvpn: words.join(" "),
            vpns: programs
                .iter()
                .map(|program| program.version.clone())
                .collect(),
            udco: step::first_line("git", &["describe", "--always", "--dirty"]),
        }
    }
}

fn read(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}
