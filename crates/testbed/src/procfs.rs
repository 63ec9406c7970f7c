//! The processes of a lab, read from `/proc`.
//!
//! The testbed is outside the lab's pid namespace, so it sees every process by its outer id and can signal it;
//! OpenVPN's `writepid` file holds the inner id. `NSpid` in `/proc/<pid>/status` has both.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitOptions};

/// One process of a lab.
#[derive(Clone, Debug)]
pub struct Proc {
    /// Process id as the testbed sees it.
    pub pid: u32,
    /// Process id inside the lab.
    pub inner: u32,
    /// Parent's process id as the testbed sees it.
    pub parent: u32,
    /// `R`, `S`, …; `Z` is a zombie: no process reaps orphans in a lab.
    pub state: char,
    /// The executable's short name.
    pub name: String,
    /// The command line, joined by blanks.
    pub command: String,
}

impl Proc {
    /// All processes in the pid namespace of process `member`, except zombies.
    pub(crate) fn in_namespace_of(member: u32) -> Result<Vec<Self>> {
        let namespace = namespace(member).context("the lab is gone")?;
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            if namespace_is(pid, &namespace)
                && let Some(process) = Self::read(pid)
                && process.state != 'Z'
            {
                found.push(process);
            }
        }
        Ok(found)
    }

    /// The process with this outer id, if there is one.
    pub fn read(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |key: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
                .map(str::trim)
        };
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some(Self {
            pid,
            inner: field("NSpid")?.split_whitespace().last()?.parse().ok()?,
            parent: field("PPid")?.parse().ok()?,
            state: field("State")?.chars().next()?,
            name: field("Name")?.to_owned(),
            command: String::from_utf8_lossy(&command)
                .replace('\0', " ")
                .trim()
                .to_owned(),
        })
    }

    /// True if the process is in the same network namespace as process `other`.
    pub(crate) fn shares_network_with(&self, other: u32) -> bool {
        let namespace = |pid| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        namespace(self.pid).is_some_and(|own| Some(own) == namespace(other))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the process is gone or not ours.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal_pid(self.pid, signal)
    }

    /// Ends it by SIGKILL; one that has ended by itself meanwhile is fine.
    ///
    /// # Errors
    /// If it is not ours.
    pub fn kill(&self) -> Result<()> {
        let sent = self.signal(Signal::KILL);
        if self.is_alive() { sent } else { Ok(()) }
    }

    /// Its process group and its session, by their ids inside the lab.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn group_and_session(&self) -> Result<(u32, u32)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let innermost = |name: &str| -> Result<u32> {
            let line = status.lines().find(|line| line.starts_with(name));
            let id = line.and_then(|line| line.split_whitespace().last());
            id.with_context(|| format!("no {name}"))?
                .parse()
                .context("an id")
        };
        Ok((innermost("NSpgid:")?, innermost("NSsid:")?))
    }

    /// Processor time so far, user and system, to the hundredth of a second.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // Fields 14 and 15, counted after the name, which may contain anything.
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// How long its threads have been ready to run without a processor, all together: what a busy machine has cost it.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn starved(&self) -> Result<Duration> {
        let mut starved = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            // It may just have ended.
            let schedstat = fs::read_to_string(thread?.path().join("schedstat"));
            let schedstat = schedstat.unwrap_or_default();
            let second = schedstat.split_whitespace().nth(1).unwrap_or("0");
            starved += second.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(starved))
    }

    /// True until the process has ended (a zombie has).
    pub fn is_alive(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.state != 'Z' && now.inner == self.inner)
    }
}

/// Sends `signal` to the process with this outer id.
pub(crate) fn signal_pid(pid: u32, signal: Signal) -> Result<()> {
    let id = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("no such process id")?;
    rustix::process::kill_process(id, signal).with_context(|| format!("signal to process {pid}"))
}

/// Process ids of the children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .map(|list| {
            list.split_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect()
        })
        .unwrap_or_default()
}

/// Makes this process the parent of labs' orphans, whatever a container's first process does with its own.
pub(crate) fn adopt_orphans() {
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Reaps adopted processes that have ended: a lab's pid namespace lives as long as they exist. They are in inner pid
/// namespaces, where this process has started none itself.
pub(crate) fn reap_orphans() {
    let levels = |pid: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let ids = status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))?;
        Some(ids.split_whitespace().count())
    };
    let Some(own) = levels("self") else {
        return;
    };
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    for task in tasks.flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            if levels(child).is_some_and(|levels| levels > own)
                && let Some(pid) = child.parse().ok().and_then(Pid::from_raw)
            {
                let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }
}

fn namespace(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// If a root process has dropped to another user, an unprivileged testbed cannot read its namespace; there is no such
/// process there, since an unprivileged lab has one user.
fn namespace_is(pid: u32, wanted: &PathBuf) -> bool {
    namespace(pid).as_ref() == Some(wanted)
}
