//! Surveys this machine's engines, and the kernel's own driver: their states, and why some do not answer (faults C4).

mod processes;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use udco_state::{FORMAT, KernelDevice, Report};

use crate::client::{Client, Trouble};
use crate::engines::{self, Silent};
use crate::left::{self, Left};
use crate::state::{self, EngineState};
use crate::{exit, kernel, runtime_dir};
use processes::{Process, processes};

/// The report of each engine that answered, with its socket; and those that did not.
type Answers = (Vec<(PathBuf, String)>, Vec<Silent>);

/// An engine that answers.
pub(crate) struct Engine<'a> {
    /// Where it listens.
    pub(crate) socket: &'a Path,
    pub(crate) state: EngineState<'a>,
}

/// The result of a survey.
pub(crate) struct Survey<'a> {
    /// The engines that answer.
    pub(crate) engines: Vec<Engine<'a>>,
    /// The devices of the kernel's own driver.
    pub(crate) kernel: Vec<KernelDevice>,
    /// Remarks about those.
    kernel_remarks: Vec<String>,
    /// Engines that do not answer, by their sockets, and why.
    pub(crate) silent: Vec<Silent>,
    /// Engine processes without a socket in the usual directories.
    pub(crate) unreachable: Vec<Process>,
    /// Devices whose engine has died.
    pub(crate) left: Vec<Left>,
    /// Devices that look like it, or are served by an engine that does not answer: one without a peer has no carrier
    /// either.
    pub(crate) unsure: Vec<Left>,
}

/// Requests the state of the engine at `path`, or of every engine.
///
/// # Errors
/// If the named engine does not answer.
pub(crate) fn states(path: Option<&Path>) -> anyhow::Result<Answers> {
    if let Some(path) = path {
        let text = Client::connect(path)?.state();
        let text = text.with_context(|| path.display().to_string())?;
        return Ok((vec![(path.to_owned(), text)], Vec::new()));
    }
    Ok(engines::each(&runtime_dir::sockets(), |mut client| {
        client.state()
    }))
}

/// The exit code for an engine's trouble.
pub(crate) const fn code(trouble: &Trouble) -> u8 {
    match trouble {
        Trouble::Denied => exit::DENIED,
        Trouble::Silent | Trouble::Full => exit::SILENT,
        Trouble::Absent | Trouble::Ended => exit::NONE_RUNS,
    }
}

impl<'a> Survey<'a> {
    /// What [`states`] has found: of the one engine that was named, or of all engines of this network namespace or
    /// `everywhere`, and of the kernel's own driver.
    ///
    /// # Errors
    /// If the named engine's version differs.
    pub(crate) fn of(
        texts: &'a [(PathBuf, String)],
        silent: Vec<Silent>,
        is_named: bool,
        everywhere: bool,
    ) -> anyhow::Result<Self> {
        match is_named {
            true => Self::of_one(texts),
            false => Ok(Self::of_all(
                texts,
                silent,
                everywhere,
                kernel::devices(None),
            )),
        }
    }

    /// The state of the one engine that was named.
    ///
    /// # Errors
    /// If its version differs.
    fn of_one(texts: &'a [(PathBuf, String)]) -> anyhow::Result<Self> {
        let engines = texts.iter().map(|(socket, text)| {
            let state = state::read(text).with_context(|| socket.display().to_string())?;
            Ok(Engine { socket, state })
        });
        Ok(Self {
            engines: engines.collect::<anyhow::Result<_>>()?,
            kernel: Vec::new(),
            kernel_remarks: Vec::new(),
            silent: Vec::new(),
            unreachable: Vec::new(),
            left: Vec::new(),
            unsure: Vec::new(),
        })
    }

    /// The state of all engines, of this network namespace or of all of them, and the problems found.
    pub(crate) fn of_all(
        texts: &'a [(PathBuf, String)],
        mut silent: Vec<Silent>,
        everywhere: bool,
        (kernel, kernel_remarks): kernel::Survey,
    ) -> Self {
        let mut engines = Vec::new();
        for (socket, text) in texts {
            match state::read(text) {
                Ok(state) => engines.push(Engine { socket, state }),
                Err(error) => silent.push((socket.clone(), error)),
            }
        }
        let known: HashSet<u32> = engines
            .iter()
            .map(|engine| engine.state.pid)
            .chain(silent.iter().filter_map(|(path, _)| process_of(path)))
            .collect();
        // Its socket does not say which process it is.
        let is_daemon_silent = silent.iter().any(|(path, _)| process_of(path).is_none());
        let is_known =
            |it: &Process| known.contains(&it.inner) || (it.is_daemon && is_daemon_silent);
        let mut left = left::devices(&served(&engines));
        let mut unsure = Vec::new();
        if silent.iter().any(|(path, _)| may_be_here(path)) {
            std::mem::swap(&mut left, &mut unsure);
        }
        engines.retain(|engine| everywhere || state::is_engine_here(&engine.state));
        Self {
            engines,
            kernel,
            kernel_remarks,
            silent,
            unreachable: processes(everywhere)
                .into_iter()
                .filter(|it| !is_known(it))
                .collect(),
            left,
            unsure,
        }
    }

    /// How many devices the engines and the kernel's driver serve.
    pub(crate) fn devices(&self) -> usize {
        let devices = self.engines.iter().map(|it| it.state.devices.len());
        devices.sum::<usize>() + self.kernel.len()
    }

    /// What a user should know besides the devices, one line each.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for Left { name, .. } in &self.left {
            lines.push(format!(
                "{name}: its engine or OpenVPN was killed, and no packet leaves through it; start OpenVPN again, or, to \
                 go on without the tunnel, in the clear, run `ip link del {name}`"
            ));
        }
        for Left { name, .. } in &self.unsure {
            lines.push(format!(
                "{name}: no engine that answers serves it; if its engine was killed, no packet leaves through it"
            ));
        }
        lines.extend(self.kernel_remarks.iter().cloned());
        lines.extend(self.troubles());
        lines
    }

    /// Why engines do not answer, one line each.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.silent.iter().map(engines::why).collect();
        for process in &self.unreachable {
            let pid = process.pid;
            let why = if process.is_contained() {
                "it is in a container: run `udco show` there, or share /run/udco with it".into()
            } else if process.has_other_run {
                format!(
                    "its mount namespace has another /run: ask it there, with `nsenter -m -t {pid} udco show`"
                )
            } else {
                "it had no place for its socket (is /run writable, and does its unit's RestrictAddressFamilies= include AF_UNIX?), \
                 or it listens elsewhere (give the path with --engine)"
                    .into()
            };
            lines.push(format!(
                "process {pid} is an engine that cannot be reached: {why}"
            ));
        }
        lines
    }

    /// Removes the engines that deny this user access, and returns how many there are.
    pub(crate) fn take_denied(&mut self) -> usize {
        let before = self.silent.len();
        self.silent.retain(|(_, error)| !is_denied(error));
        before - self.silent.len()
    }

    /// The message if no engine serves a device.
    pub(crate) fn no_devices(&self) -> &'static str {
        if !self.engines.is_empty() {
            "no devices: an engine is running, but no program has made one; OpenVPN may not have reached its server yet, or \
             moves its packets itself (`udco doctor` says why)"
        } else if self.silent.is_empty() && self.unreachable.is_empty() {
            "no engine is running: start OpenVPN with `udco run -- openvpn …`"
        } else {
            "no engine answers"
        }
    }

    /// The exit code for the worst problem found; 0 if there is none.
    pub(crate) fn exit_code(&self) -> u8 {
        let any_silent = self.silent.iter().any(|(_, error)| !is_denied(error));
        if !self.left.is_empty() {
            exit::LEFT
        } else if any_silent {
            exit::SILENT
        } else if self.devices() > 0 {
            0
        } else if !self.unreachable.is_empty() {
            exit::UNREACHABLE
        } else if !self.engines.is_empty() {
            0
        } else if !self.silent.is_empty() {
            exit::DENIED
        } else {
            exit::NONE_RUNS
        }
    }

    /// The object that `--json` prints.
    pub(crate) fn into_report(self) -> Report<state::Device<'a>> {
        let silent = self.silent.iter().map(|(path, error)| udco_state::Silent {
            socket: path.display().to_string(),
            denied: is_denied(error),
            error: format!("{error:#}"),
        });
        let mut report = Report {
            format: FORMAT,
            devices: Vec::new(),
            kernel_devices: self.kernel,
            engines: Vec::new(),
            left: self.left.into_iter().map(|left| left.name).collect(),
            silent: silent.collect(),
            unreachable: self.unreachable.into_iter().map(|it| it.pid).collect(),
        };
        for Engine { socket, state } in self.engines {
            let socket = socket.display().to_string();
            let (mut engine, mut devices) = state.into_parts();
            for device in &mut devices {
                device.engine = Some(socket.clone());
            }
            engine.socket = Some(socket);
            report.engines.push(engine);
            report.devices.extend(devices);
        }
        report
    }
}

/// Whether an engine denies this user access.
fn is_denied(error: &anyhow::Error) -> bool {
    error.downcast_ref() == Some(&Trouble::Denied)
}

/// Indexes of the devices of this network namespace that engines serve.
fn served(engines: &[Engine<'_>]) -> HashSet<u32> {
    let devices = engines.iter().flat_map(|it| &it.state.devices);
    let here = devices.filter(|device| state::is_here(device));
    here.map(|device| device.ifindex).collect()
}

/// Whether the engine with this socket may have devices here: not if its process is known to be in another network
/// namespace.
fn may_be_here(path: &Path) -> bool {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let there = process_of(path).and_then(|pid| of(&pid.to_string()));
    there.is_none() || there == of("self")
}

/// The process id in the socket name of a private engine.
fn process_of(path: &Path) -> Option<u32> {
    let name = path.file_stem()?.to_str()?;
    name.split('-').next()?.parse().ok()
}
