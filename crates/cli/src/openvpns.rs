//! Running OpenVPNs, as `/proc` lists them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use udco_options::program;

/// An OpenVPN's process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Its command, also behind a loader.
    pub(crate) words: Vec<OsString>,
}

/// Those of this network namespace, by their ids; of others' only what they may be asked.
pub(crate) fn here() -> Vec<Process> {
    let here = fs::read_link("/proc/self/ns/net").ok();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let found = pids.into_iter().filter_map(|pid| {
        let there = fs::read_link(of(pid, "ns/net")).ok();
        // Unknown if the process may not be inspected.
        let is_here = there.is_none() || there == here;
        is_here.then(|| openvpn(pid)).flatten()
    });
    found.collect()
}

/// A file of a process below `/proc`.
pub(crate) fn of(pid: u32, file: &str) -> PathBuf {
    format!("/proc/{pid}/{file}").into()
}

/// The command of a process.
pub(crate) fn words(pid: u32) -> Option<Vec<OsString>> {
    let bytes = fs::read(of(pid, "cmdline")).ok()?;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    let words = bytes.split(|byte| *byte == 0);
    Some(
        words
            .map(|word| OsStr::from_bytes(word).to_owned())
            .collect(),
    )
}

fn openvpn(pid: u32) -> Option<Process> {
    let words = words(pid)?;
    program::find(&words)?;
    // A wrapper has the same words until it becomes OpenVPN, or waits for it.
    let base = match fs::read_link(of(pid, "exe")) {
        Ok(file) => file.file_name()?.to_str()?.to_owned(),
        Err(_) => fs::read_to_string(of(pid, "comm")).ok()?.trim().to_owned(),
    };
    let is_openvpn = base.starts_with("openvpn") || base.starts_with("ld-");
    is_openvpn.then_some(Process { pid, words })
}
