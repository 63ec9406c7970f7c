//! Running engines and OpenVPNs.

use std::fs;
use std::path::Path;

use udco_options::program;

use crate::client::{Stalled, Trouble};
use crate::doctor::facts::{Cause, DataPath, Engine, OpenVpn, Running, Silent};
use crate::openvpns::{self, Process, of, words};
use crate::survey::{Engine as Answering, Survey};
use crate::{state, units};

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
            let noun = units::noun(peers as u64, "peer");
            devices.push(format!("{} ({mode}, {peers} {noun})", device.name));
        }
        engines.push(Engine {
            pid: engine.pid,
            devices,
        });
    }
    Ok(Running {
        engines,
        silent: silent(survey),
        openvpns: openvpns::here().iter().map(openvpn).collect(),
        examined: None,
    })
}

fn silent(survey: &Survey<'_>) -> Vec<Silent> {
    let mut silent = survey.silent.iter();
    let engines = survey.troubles().into_iter().map(|why| {
        let Some((_, error)) = silent.next() else {
            // The process is in the words.
            return Silent {
                pid: None,
                why,
                cause: Cause::Unseen,
            };
        };
        let trouble = error.downcast_ref();
        let is_stalled = matches!(trouble, Some(Trouble::Silent | Trouble::Full));
        Silent {
            pid: error.downcast_ref::<Stalled>().map(|it| it.pid),
            why,
            cause: if is_stalled {
                Cause::Stalled
            } else {
                Cause::Other
            },
        }
    });
    engines.collect()
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

fn openvpn(process: &Process) -> OpenVpn {
    let command = process.words.iter().map(|word| word.to_string_lossy());
    let command = command.collect::<Vec<_>>().join(" ");
    OpenVpn {
        pid: process.pid,
        command: command.chars().take(SHOWN).collect(),
        path: data_path(process.pid),
    }
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
