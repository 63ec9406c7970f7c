//! A background process in a host, with its log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::confinement;
use crate::procfs::{self, Proc};
use crate::wait::eventually;

/// A process in a host. Dropping it kills it (its own children only die with the lab).
#[derive(Debug)]
pub struct Process {
    /// `nsenter`, which waits for the actual process and exits with its status.
    outer: Child,
    pid: u32,
    log: PathBuf,
    /// Where its own output begins in the log.
    begin: usize,
}

impl Process {
    pub(crate) fn spawn(mut command: Command, log: PathBuf) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        // An earlier process may have written to the same log.
        let begin = usize::try_from(file.metadata()?.len())?;
        command.stdout(file.try_clone()?).stderr(file);
        let mut outer = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let wrapper = outer.id();
        let mut ended = None;
        let pid = eventually(
            "nsenter to start its program",
            Duration::from_secs(5),
            || {
                if let Some(&pid) = procfs::children(wrapper).first() {
                    return Ok(Some(pid));
                }
                ended = outer.try_wait()?;
                // It ended before it could be found; its log says why.
                Ok(ended.map(|_| 0))
            },
        )?;
        Ok(Self {
            outer,
            pid,
            log,
            begin,
        })
    }

    /// Process id as the testbed sees it; 0 if it ended at once.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.begin..).unwrap_or_default()).into_owned()
    }

    /// Waits until the log contains `pattern`.
    ///
    /// # Errors
    /// After `timeout`, or if the process ends without having logged it.
    pub fn wait_for_log(&mut self, pattern: &str, timeout: Duration) -> Result<()> {
        let what = format!("`{pattern}` in {}", self.log.display());
        eventually(&what, timeout, || {
            let ended = self.outer.try_wait()?;
            if self.log().contains(pattern) {
                // The daemon is ready, whether started directly or by a shell.
                if pattern.contains("listening at")
                    && let Some(engine) = self.named("udco")
                {
                    confinement::require(&engine)?;
                }
                return Ok(Some(()));
            }
            if let Some(status) = ended {
                bail!("ended ({status}) before {what}:\n{}", self.log());
            }
            Ok(None)
        })
    }

    /// The process, or the child of it, that has this name.
    fn named(&self, name: &str) -> Option<Proc> {
        let children = procfs::children(self.pid).into_iter();
        let mut all = std::iter::once(self.pid)
            .chain(children)
            .filter_map(Proc::read);
        all.find(|process| process.name == name)
    }

    /// Kills the process that waits for it, so that it becomes an orphan.
    ///
    /// # Errors
    /// The system's.
    pub fn abandon(&mut self) -> Result<()> {
        self.outer.kill()?;
        self.outer.wait()?;
        Ok(())
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        procfs::signal_pid(self.pid, signal)
    }

    /// Ends it by SIGKILL; one that has ended by itself meanwhile is fine.
    ///
    /// # Errors
    /// If it is not ours.
    pub(crate) fn kill(&self) -> Result<()> {
        Proc::read(self.pid).map_or(Ok(()), |process| process.kill())
    }

    /// True until it has ended.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.outer.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// After `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("the end of the process that logs to {}", self.log.display());
        eventually(&what, timeout, || Ok(self.outer.try_wait()?))
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Errors
    /// If it hasn't ended after `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        if self.is_alive() {
            let _ = self.signal(Signal::TERM);
        }
        self.wait(timeout)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_alive() {
            // nsenter itself would not ignore a signal, but its death alone would orphan the process.
            let _ = procfs::signal_pid(self.pid, Signal::KILL);
            let _ = self.outer.kill();
        }
        let _ = self.outer.wait();
    }
}

pub(crate) fn read_lossy(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
