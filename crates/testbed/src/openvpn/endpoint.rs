//! A running OpenVPN: its log, its offload, and its end.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::Launch;
use crate::host::Host;
use crate::process::{Process, read_lossy};
use crate::procfs::Proc;
use crate::udco::{self, Shown};
use crate::wait::eventually;

/// The log line that ends OpenVPN's start, and each reconnect.
pub(super) const COMPLETED: &str = "Initialization Sequence Completed";

/// How long an orderly end may take.
const ORDERLY_END: Duration = Duration::from_secs(10);

/// A running OpenVPN. Dropping it kills it.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) host: Host,
    pub(super) launch: Launch,
    /// It runs another build of udco than this tree's.
    pub(super) is_other_build: bool,
    pub(super) daemon: bool,
    pub(super) process: Process,
    pub(super) log: PathBuf,
    pub(super) status: PathBuf,
    pub(super) pid_file: PathBuf,
    pub(super) seen: usize,
}

impl Endpoint {
    /// The host it runs in.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The whole log so far: OpenVPN's log, then standard output and error.
    pub fn log(&self) -> String {
        read_lossy(&self.log) + &self.process.log()
    }

    /// OpenVPN's status file, which it rewrites every second.
    pub fn status(&self) -> String {
        read_lossy(&self.status)
    }

    /// Waits until the connection is up (a server: until it is ready); each call waits for the next time.
    ///
    /// # Errors
    /// After `timeout`, or if the process ends.
    pub fn wait_connected(&mut self, timeout: Duration) -> Result<()> {
        let wanted = self.seen + 1;
        let what = format!("`{COMPLETED}` ({wanted}.) in {}", self.log.display());
        self.wait(&what, timeout, |log| {
            log.matches(COMPLETED).count() >= wanted
        })?;
        self.seen = read_lossy(&self.log).matches(COMPLETED).count();
        Ok(())
    }

    /// Waits until the log contains `pattern`.
    ///
    /// # Errors
    /// After `timeout`, or if the process ends.
    pub fn wait_for_log(&mut self, pattern: &str, timeout: Duration) -> Result<()> {
        let what = format!("`{pattern}` in {}", self.log.display());
        self.wait(&what, timeout, |log| log.contains(pattern))
    }

    fn wait(&mut self, what: &str, timeout: Duration, found: impl Fn(&str) -> bool) -> Result<()> {
        eventually(what, timeout, || {
            // Checked first, so that the last lines of an ended process are still read.
            let ended = !self.daemon && !self.process.is_alive();
            if found(&self.log()) {
                return Ok(Some(()));
            }
            if ended {
                bail!("OpenVPN ended before {what}");
            }
            Ok(None)
        })
    }

    /// True if this end should be offloaded; false for a plain end and in a run that only proves the harness.
    pub fn is_udco(&self) -> bool {
        self.launch == Launch::Udco
    }

    /// Checks that a udco end really is offloaded: it logs `offload active`, and its engine, if of this tree's build,
    /// shows a peer. Does nothing for a plain end.
    ///
    /// # Errors
    /// After 5 s.
    pub fn require_offload(&mut self) -> Result<()> {
        if !self.is_udco() {
            return Ok(());
        }
        self.wait_for_log("offload active", Duration::from_secs(5))?;
        if self.is_other_build {
            // It may speak another version of the protocol, or run unconfined.
            return Ok(());
        }
        if let Ok(engine) = self.engine() {
            crate::confinement::require(&engine)?;
        }
        let mut last = None;
        let shown = eventually(
            "`udco show --json` with a peer",
            Duration::from_secs(5),
            || {
                let shown = self.show();
                let found = matches!(&shown, Ok(shown) if shown.peers().next().is_some());
                last = Some(shown);
                Ok(found.then_some(()))
            },
        );
        shown.with_context(|| format!("last answer: {last:?}"))
    }

    /// Checks that every received data packet was authentic and new: no such error in OpenVPN's log, no such drop in
    /// the engine.
    ///
    /// # Errors
    /// Quotes the log, or names the counters.
    pub fn require_authentic(&self) -> Result<()> {
        let log = self.log();
        let is_bad = |line: &&str| {
            ["Authenticate/Decrypt", "bad packet ID", "Bad encapsulated", "replay"]
                .iter()
                .any(|word| line.contains(word))
                // The option list at verb 4.
                && !line.contains(" = ")
        };
        if let Some(line) = log.lines().find(is_bad) {
            bail!("{}: {line}", self.log.display());
        }
        if self.is_udco() {
            self.show()?.require_authentic()?;
        }
        Ok(())
    }

    /// The output of `udco show --json` in this host.
    ///
    /// # Errors
    /// If it fails, or its output cannot be parsed.
    pub fn show(&self) -> Result<Shown> {
        udco::show(&self.host)
    }

    /// OpenVPN's own process (not the launcher).
    ///
    /// # Errors
    /// If it isn't running.
    pub fn openvpn(&self) -> Result<Proc> {
        let inner: u32 = read_lossy(&self.pid_file)
            .trim()
            .parse()
            .context("OpenVPN has not written its process id")?;
        Proc::in_namespace_of(self.host.holder())?
            .into_iter()
            .find(|process| process.inner == inner && process.command.contains("openvpn"))
            .with_context(|| format!("{}: OpenVPN does not run", self.log.display()))
    }

    /// The engine beside this endpoint: the process `udco engine …` of the same host. It is not a descendant.
    ///
    /// # Errors
    /// If there is none.
    pub fn engine(&self) -> Result<Proc> {
        Proc::in_namespace_of(self.host.holder())?
            .into_iter()
            .find(|process| {
                process.command.contains("udco engine")
                    && process.shares_network_with(self.host.holder())
            })
            .with_context(|| format!("no engine runs in {}", self.host.name()))
    }

    /// Makes OpenVPN reconnect (a server: restart).
    ///
    /// # Errors
    /// If it isn't running.
    pub fn sigusr1(&self) -> Result<()> {
        self.openvpn()?.signal(Signal::USR1)
    }

    /// Kills only OpenVPN, as the kernel's out-of-memory killer would.
    ///
    /// # Errors
    /// If it isn't running.
    pub fn kill9(&self) -> Result<()> {
        let process = self.openvpn()?;
        process.kill()?;
        eventually("OpenVPN's death", Duration::from_secs(2), || {
            Ok((!process.is_alive()).then_some(()))
        })
    }

    /// The same at any time, also while the process is still `udco run`; one that has ended by itself meanwhile is fine.
    ///
    /// # Errors
    /// If it is not ours.
    pub fn kill_now(&self) -> Result<()> {
        self.process.kill()
    }

    /// Waits until the launcher and all others have ended by themselves.
    ///
    /// # Errors
    /// After `timeout`.
    pub fn wait_end(&mut self, timeout: Duration) -> Result<()> {
        self.process.wait(timeout).map(drop)
    }

    /// True until the launcher (or OpenVPN, if plain) has ended.
    pub fn is_alive(&mut self) -> bool {
        self.process.is_alive()
    }

    /// Ends it in order: SIGTERM to the service manager's main process.
    ///
    /// # Errors
    /// If it hasn't ended after 10 s.
    pub fn stop(mut self) -> Result<()> {
        if self.daemon {
            self.openvpn()?.signal(Signal::TERM)?;
            return eventually("the daemon's end", ORDERLY_END, || {
                Ok(self.openvpn().is_err().then_some(()))
            });
        }
        self.process.terminate(ORDERLY_END).map(drop)
    }
}
