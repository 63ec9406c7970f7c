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
    /// `nsenter`, which waits for the process proper and ends as it does.
    outer: Child,
    pid: u32,
    log: PathBuf,
    /// Where its own lines begin in the log.
    begin: usize,
}

impl Process {
    pub(crate) fn spawn(mut command: Command, log: PathBuf) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        // Another process may have written to it before.
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
                // Ended before it could be seen: the log tells.
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

    /// Its log file.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.begin..).unwrap_or_default()).into_owned()
    }

    /// Waits until the log contains `pattern`.
    ///
    /// # Errors
    /// Fails after `timeout`, or if the process ends without having written it.
    pub fn wait_for_log(&mut self, pattern: &str, timeout: Duration) -> Result<()> {
        let what = format!("`{pattern}` in {}", self.log.display());
        eventually(&what, timeout, || {
            let ended = self.outer.try_wait()?;
            if self.log().contains(pattern) {
                // A daemon that is ready, by itself or under a shell.
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

    /// Kills what waits for it, so that it becomes an orphan.
    ///
    /// # Errors
    /// Of the system.
    pub fn abandon(&mut self) -> Result<()> {
        self.outer.kill()?;
        self.outer.wait()?;
        Ok(())
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// Fails if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        procfs::signal_pid(self.pid, signal)
    }

    /// True until it has ended.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.outer.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Fails after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("the end of the process that logs to {}", self.log.display());
        eventually(&what, timeout, || Ok(self.outer.try_wait()?))
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// Fails if it hasn't ended after `timeout`.
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
            // nsenter itself would ignore nothing, but its death alone would orphan the program.
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
