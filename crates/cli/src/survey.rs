//! What runs here: which engines answer, and what stands in the way of the others (faults C4).

use std::collections::HashSet;
use std::path::Path;

use rustix::process::getuid;
use serde_json::{Value, json};

use crate::client::{Client, Trouble};
use crate::engines::{self, Silent};
use crate::left::{self, Left};

/// Exit codes of `udco show`, beside 0, 1 and 2.
const NONE_RUNS: u8 = 3;
const DENIED: u8 = 4;
const SILENT: u8 = 5;
const UNREACHABLE: u8 = 6;
const LEFT: u8 = 7;

/// All that could be learnt.
pub(crate) struct Survey {
    /// The state of each engine that answers.
    pub(crate) states: Vec<Value>,
    /// Engines that do not, by their sockets, and why.
    silent: Vec<Silent>,
    /// Processes of engines that have no socket where one is looked for.
    unreachable: Vec<u32>,
    /// Devices whose engine has died.
    left: Vec<Left>,
}

impl Survey {
    /// Asks the engine at `path`, or every one there is, of this network namespace or of all.
    ///
    /// # Errors
    /// If the engine that was named does not answer.
    pub(crate) fn take(path: Option<&Path>, everywhere: bool) -> anyhow::Result<Self> {
        if let Some(path) = path {
            return Ok(Self {
                states: vec![Client::connect(path)?.state()?],
                silent: Vec::new(),
                unreachable: Vec::new(),
                left: Vec::new(),
            });
        }
        let (clients, mut silent) = engines::all();
        let mut states = Vec::new();
        for (path, mut client) in clients {
            match client.state() {
                Ok(state) => states.push(state),
                Err(error) => silent.push((path, error)),
            }
        }
        let known: HashSet<u32> = states
            .iter()
            .filter_map(|state| u32::try_from(state.get("pid")?.as_u64()?).ok())
            .chain(silent.iter().filter_map(|(path, _)| process_of(path)))
            .collect();
        let left = left::devices(&served(&states));
        states.retain(|state| everywhere || engines::is_here(state));
        Ok(Self {
            states,
            silent,
            unreachable: processes(everywhere)
                .into_iter()
                .filter(|(_, inner)| !known.contains(inner))
                .map(|(pid, _)| pid)
                .collect(),
            left,
        })
    }

    /// How many devices the engines serve.
    pub(crate) fn devices(&self) -> usize {
        let devices = |state: &Value| state.get("devices")?.as_array().map(Vec::len);
        self.states.iter().filter_map(devices).sum()
    }

    /// What a person must know besides the devices, a line each.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for Left { name, .. } in &self.left {
            lines.push(format!(
                "{name}: its engine or OpenVPN was killed, and no packet leaves through it; start OpenVPN again, or, to \
                 go on without the tunnel, in the clear, run `ip link del {name}`"
            ));
        }
        for (path, error) in &self.silent {
            let path = path.display().to_string();
            let why = format!("{error:#}");
            // An error of the connection names the path itself.
            lines.push(if why.contains(&path) {
                why
            } else {
                format!("{path}: {why}")
            });
        }
        for pid in &self.unreachable {
            lines.push(format!(
                "process {pid} is an engine that cannot be reached: it had no place for its socket (is /run writable?), or \
                 it listens elsewhere (give the path with --engine)"
            ));
        }
        lines
    }

    /// What to say where no engine serves a device.
    pub(crate) fn no_devices(&self) -> &'static str {
        if !self.states.is_empty() {
            "no devices: an engine is running, but no program has created one"
        } else if self.silent.is_empty() && self.unreachable.is_empty() {
            "no engine is running: start OpenVPN with `udco run -- openvpn …`"
        } else {
            "no engine answers"
        }
    }

    /// The worst of what was found, as an exit code; 0 if nothing is wrong.
    pub(crate) fn exit_code(&self) -> u8 {
        let is_denied = |error: &anyhow::Error| error.downcast_ref() == Some(&Trouble::Denied);
        let any_silent = self.silent.iter().any(|(_, error)| !is_denied(error));
        if !self.left.is_empty() {
            LEFT
        } else if any_silent {
            SILENT
        } else if self.devices() > 0 {
            0
        } else if !self.unreachable.is_empty() {
            UNREACHABLE
        } else if !self.states.is_empty() {
            0
        } else if !self.silent.is_empty() {
            DENIED
        } else {
            NONE_RUNS
        }
    }

    /// What `--json` has of this, beside devices and engines.
    pub(crate) fn troubles(&self) -> Value {
        let left: Vec<&str> = self.left.iter().map(|left| left.name.as_str()).collect();
        let silent = self.silent.iter().map(|(path, error)| {
            let denied = error.downcast_ref() == Some(&Trouble::Denied);
            json!({
                "socket": path.display().to_string(),
                "denied": denied,
                "error": format!("{error:#}"),
            })
        });
        json!({
            "left": left,
            "silent": silent.collect::<Vec<_>>(),
            "unreachable": self.unreachable,
        })
    }
}

/// Indexes of the devices of this network namespace that engines serve.
fn served(states: &[Value]) -> HashSet<u32> {
    let devices = states.iter().filter_map(|state| state.get("devices"));
    let devices = devices.filter_map(Value::as_array).flatten();
    let here = devices.filter(|device| engines::is_device_here(device));
    here.filter_map(|device| u32::try_from(device.get("ifindex")?.as_u64()?).ok())
        .collect()
}

/// The process id in the name of the socket of an engine of one program.
fn process_of(path: &Path) -> Option<u32> {
    let name = path.file_stem()?.to_str()?;
    name.split('-').next()?.parse().ok()
}

/// Processes that are engines, by what `/proc` says of them: their ids here and in their own pid namespace. Those of
/// other users only for root, and of other network namespaces only if asked for.
fn processes(everywhere: bool) -> Vec<(u32, u32)> {
    let here = std::fs::read_link("/proc/self/ns/net").ok();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|pid| {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        if read("comm")?.trim_end() != "udco" {
            return None;
        }
        let words = read("cmdline")?;
        let verb = words.split('\0').nth(1)?;
        let status = read("status")?;
        let field = |name: &str| {
            let mut lines = status.lines();
            lines
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        // What starts an engine, or waits for its end, has one thread.
        let is_engine = matches!(verb, "engine" | "daemon") && field("Threads:")? != "1";
        let uid = field("Uid:")?.split_whitespace().next()?.parse::<u32>();
        let may_ask = getuid().is_root() || uid == Ok(getuid().as_raw());
        // Unknown for a process that may not be looked into.
        let there = std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let is_here = everywhere || there.is_none() || there == here;
        let inner = field("NSpid:")?.split_whitespace().last()?.parse().ok()?;
        (is_engine && may_ask && is_here).then_some((pid, inner))
    })
    .collect()
}
