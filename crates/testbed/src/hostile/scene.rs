//! A daemon that serves root's tunnel, and its guarantees while hostile clients use it, too.

use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{TENANT, TENANT_UID, as_user};
use crate::measure::Ping;
use crate::{Builder, Endpoint, Host, Pair, Process, Proto, addresses as at};
use crate::{connect, eventually, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// How much longer than asked hostile clients may run.
const OVERTIME: Duration = Duration::from_secs(60);

/// The most memory that the engine may take, in KiB.
const MOST_MEMORY: u64 = 64 << 10;

/// A daemon with root's tunnel, and a host for the hostile clients.
#[derive(Debug)]
pub struct Scene {
    pair: Pair,
    elsewhere: Host,
    theirs: Host,
    daemon: Process,
    socket: String,
    binary: &'static str,
    /// The daemon's threads and open files while it has no other clients.
    rest: (u64, u64),
    _tunnel: (Endpoint, Endpoint),
}

impl Scene {
    /// `None` where there is no second user.
    ///
    /// # Errors
    /// If the lab, the daemon or the tunnel does not come up.
    pub fn new() -> Result<Option<Self>> {
        let pair = Pair::new()?;
        if !pair.lab.is_privileged() {
            return Ok(None);
        }
        let (elsewhere, theirs) = (pair.lab.host("elsewhere")?, pair.lab.host("theirs")?);
        let socket = pair.lab.file("engine.sock")?;
        let binary = udco::program()?;
        let daemon = udco::daemon(
            &elsewhere,
            "daemon.log",
            &["--socket", &socket, "--allow-uid", TENANT_UID],
        )?;
        let launch = |builder: Builder| builder.engine(&socket);
        let tunnel = connect(
            launch(pair.server(Proto::Udp4)),
            launch(pair.client(Proto::Udp4)),
        )?;
        let mut scene = Self {
            pair,
            elsewhere,
            theirs,
            daemon,
            socket,
            binary,
            rest: (0, 0),
            _tunnel: tunnel,
        };
        scene.rest = (scene.status("Threads")?, scene.open_files()?);
        ensure!(scene.rest > (3, 10), "{:?}: not the engine", scene.rest);
        Ok(Some(scene))
    }

    /// The daemon's socket file.
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// Lines in the daemon's log.
    pub fn log_lines(&self) -> usize {
        self.daemon.log().lines().count()
    }

    /// Call it once everything has been shown: does not print the logs.
    pub fn discard_logs(&self) {
        self.pair.lab.discard_logs();
    }

    /// Starts a hostile client of the user that may connect.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, program: &str, words: &[&str]) -> Result<Child> {
        self.start_as(&TENANT, program, words)
    }

    pub(super) fn start_as(&self, user: &[&str], program: &str, words: &[&str]) -> Result<Child> {
        let words = [&["lab-end"], words].concat();
        as_user(&self.theirs, user, program, &words)
            .spawn()
            .context("cannot start a hostile client")
    }

    /// Until these clients end, root's tunnel loses nothing, each of root's requests is answered, and memory is
    /// bounded; then threads and files are released. Returns how many requests root made, and the most memory in KiB.
    ///
    /// # Errors
    /// Reports which guarantee failed.
    pub fn require_service(
        &mut self,
        mut hostile: Vec<Child>,
        time: Duration,
    ) -> Result<(u32, u64)> {
        let begin = Instant::now();
        let mut asked = 0;
        while hostile
            .iter_mut()
            .any(|it| matches!(it.try_wait(), Ok(None)))
        {
            ensure!(self.daemon.is_alive(), "the engine has ended");
            let question = [self.binary, "show", "--engine", &self.socket];
            let output = self.elsewhere.output(&question)?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success(), "root's question {asked}: {text}");
            asked += 1;
            Ping::to(at::INNER_SERVER)
                .count(5)
                .all_answered(&self.pair.client)?;
            ensure!(begin.elapsed() < time + OVERTIME, "they do not end");
        }
        for mut client in hostile {
            ensure!(client.wait()?.success(), "a hostile client failed");
        }
        ensure!(self.daemon.is_alive(), "the engine has ended");
        ensure!(asked > 1, "root asked {asked} times");
        let most = self.status("VmHWM")?;
        ensure!(most < MOST_MEMORY, "{most} KiB");
        self.delete_devices()?;
        let given_back = eventually("threads and files to be given back", SOON, || {
            let now = (self.status("Threads")?, self.open_files()?);
            Ok((now.0 <= self.rest.0 && now.1 <= self.rest.1).then_some(()))
        });
        given_back.with_context(|| {
            let now = (self.status("Threads"), self.open_files());
            format!("threads and files: {:?} before, {now:?} now", self.rest)
        })?;
        Ok((asked, most))
    }

    /// A device that a client made for others stays; deleting its interface removes it.
    fn delete_devices(&self) -> Result<()> {
        let links = self.theirs.run(&["ip", "-o", "link"])?;
        let names = links
            .lines()
            .filter_map(|line| line.split([':', ' ']).nth(2));
        for name in names.filter(|name| !matches!(*name, "lo" | "")) {
            // It may have disappeared by itself.
            let _ = self.theirs.output(&["ip", "link", "del", name])?;
        }
        Ok(())
    }

    /// A number of `/proc/PID/status` of the daemon.
    fn status(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        Ok(number.context("no such field")?.parse()?)
    }

    /// How many files the daemon has open.
    fn open_files(&self) -> Result<u64> {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.daemon.pid()))?;
        Ok(files.count() as u64)
    }
}
