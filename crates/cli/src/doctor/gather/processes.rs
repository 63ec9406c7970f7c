//! Running engines and OpenVPNs.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use udco_options::program;

use crate::doctor::facts::{DataPath, Engine, OpenVpn, Running};
use crate::state;
use crate::survey::{Engine as Answering, Survey};

/// The preload library in a process's list of mapped files.
const LIBRARY: &str = "libudco_preload.so";

/// How much of a command to show.
const SHOWN: usize = 200;

pub(super) fn look(survey: &Survey<'_>) -> anyhow::Result<Running> {
    let mut engines = Vec::new();
    for Answering { state: engine, .. } in &survey.engines {
        let mut devices = Vec::new();
        for device in &engine.devices {
            let (peers, mode) = (state::peers(device)?.len(), device.mode.name());
            devices.push(format!("{} ({mode}, {peers} peers)", device.name));
        }
        engines.push(Engine {
            pid: engine.pid,
            devices,
        });
    }
    let here = fs::read_link("/proc/self/ns/net").ok();
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let found = pids.into_iter().filter_map(|pid| {
        let there = fs::read_link(of(pid, "ns/net")).ok();
        // Unknown if the process may not be inspected.
        let is_here = there.is_none() || there == here;
        openvpn(pid).filter(|_| is_here)
    });
    Ok(Running {
        engines,
        silent: survey.troubles(),
        openvpns: found.collect(),
        examined: None,
    })
}

/// The running OpenVPN with this configuration.
pub(super) fn with_config(running: &Running, config: &Path) -> Option<usize> {
    let config = config.canonicalize().ok()?;
    running.openvpns.iter().position(|openvpn| {
        let Some(directory) = fs::read_link(of(openvpn.pid, "cwd")).ok() else {
            return false;
        };
        let words = words(openvpn.pid).unwrap_or_default();
        let Some(found) = program::find(&words) else {
            return false;
        };
        let named = match found.arguments {
            [file] => Some(file),
            arguments => {
                let at = arguments.iter().position(|word| word == "--config");
                at.and_then(|at| arguments.get(at + 1))
            }
        };
        let named = named.and_then(|named| directory.join(named).canonicalize().ok());
        named.as_ref() == Some(&config)
    })
}

fn of(pid: u32, file: &str) -> PathBuf {
    format!("/proc/{pid}/{file}").into()
}

fn words(pid: u32) -> Option<Vec<OsString>> {
    let bytes = fs::read(of(pid, "cmdline")).ok()?;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    let words = bytes.split(|byte| *byte == 0);
    Some(
        words
            .map(|word| OsStr::from_bytes(word).to_owned())
            .collect(),
    )
}

fn openvpn(pid: u32) -> Option<OpenVpn> {
    let words = words(pid)?;
    program::find(&words)?;
    // A wrapper has the same words until it becomes OpenVPN, or waits for it.
    let base = match fs::read_link(of(pid, "exe")) {
        Ok(file) => file.file_name()?.to_str()?.to_owned(),
        Err(_) => fs::read_to_string(of(pid, "comm")).ok()?.trim().to_owned(),
    };
    let is_openvpn = base.starts_with("openvpn") || base.starts_with("ld-");
    let command = words.iter().map(|word| word.to_string_lossy());
    let command = command.collect::<Vec<_>>().join(" ");
    is_openvpn.then(|| OpenVpn {
        pid,
        command: command.chars().take(SHOWN).collect(),
        path: data_path(pid),
    })
}

fn data_path(pid: u32) -> DataPath {
    let (Ok(maps), Some(device)) = (fs::read_to_string(of(pid, "maps")), device(pid)) else {
        return DataPath::Unknown;
    };
    let is_preloaded = maps.contains(LIBRARY);
    match device {
        Some(device) => DataPath::Own {
            device,
            is_preloaded,
        },
        None if is_preloaded => DataPath::Engine,
        None => DataPath::NoDevice,
    }
}

/// The TUN device that a process holds; the outer `None` if it may not be inspected.
#[allow(clippy::option_option, reason = "two different kinds of nothing")]
fn device(pid: u32) -> Option<Option<String>> {
    let entries = fs::read_dir(of(pid, "fd")).ok()?;
    let mut devices = entries.flatten().filter_map(|entry| {
        let file = fs::read_link(entry.path()).ok()?;
        (file == Path::new("/dev/net/tun")).then_some(())?;
        let number = entry.file_name();
        let info = fs::read_to_string(of(pid, "fdinfo").join(number)).ok()?;
        let name = info.lines().find_map(|line| line.strip_prefix("iff:"))?;
        Some(name.trim().to_owned())
    });
    Some(devices.next())
}
