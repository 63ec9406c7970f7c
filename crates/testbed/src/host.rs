//! A host of the lab: a network namespace with a `/run` and a `/sys` of its own, held by a sleeping process.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use crate::process::Process;
use crate::procfs::{self, Proc};
use crate::tool::{await_ready, tool};

/// `/sys` belongs to the network namespace in which it was mounted; where a new mount is refused, the old one stays.
const HOLDER: &str = "mount -t tmpfs tmpfs /run && ip link set lo up && \
    { mount -t sysfs sysfs /sys 2>/dev/null; echo ready; exec sleep infinity; }";

/// A network namespace of a [`crate::Lab`]. A clone is the same host. It ends with the lab.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    holder: u32,
    privileged: bool,
    directory: PathBuf,
}

impl Host {
    pub(crate) fn start(name: &str, lab: u32, privileged: bool, directory: &Path) -> Result<Self> {
        let mut enter = nsenter(lab, privileged);
        let mut outer = enter
            .args(["unshare", "--mount", "--net", "sh", "-c", HOLDER])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        await_ready(&mut outer).with_context(|| format!("cannot make host {name}"))?;
        let holder = *procfs::children(outer.id())
            .first()
            .context("the host's process is gone")?;
        // Reaped when the lab kills the holder; then the thread ends, too.
        std::thread::spawn(move || outer.wait());
        Ok(Self {
            name: name.to_owned(),
            holder,
            privileged,
            directory: directory.to_owned(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lab's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A command that will run in this host.
    pub fn command(&self, program: &str) -> Command {
        let mut command = nsenter(self.holder, self.privileged);
        command.arg(program).stdin(Stdio::null());
        // A system call that is not in its table kills the engine, which fails the scenario.
        command.env("UDCO_STRICT", "1");
        command
    }

    /// Runs a command and returns its standard output.
    ///
    /// # Errors
    /// Fails with its error output if the command does.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let output = self.output(words)?;
        ensure!(
            output.status.success(),
            "{}: `{}` failed: {}",
            self.name,
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a command and returns its output, whether it succeeds or not.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn output(&self, words: &[&str]) -> Result<Output> {
        let (program, arguments) = words.split_first().context("no command")?;
        self.command(program)
            .args(arguments)
            .output()
            .with_context(|| format!("{}: cannot run {program}", self.name))
    }

    /// Starts a command in the background; its output goes to `<directory>/<log>.log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, log: &str, words: &[&str]) -> Result<Process> {
        let (program, arguments) = words.split_first().context("no command")?;
        let mut command = self.command(program);
        command.args(arguments);
        Process::spawn(command, self.directory.join(format!("{log}.log")))
    }

    /// Adds `address/prefix` to a device; IPv6 without duplicate address detection, which costs a second.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn add_address(&self, device: &str, address: &str) -> Result<()> {
        let mut words = vec!["ip", "address", "add", address, "dev", device];
        if address.contains(':') {
            words.push("nodad");
        }
        self.run(&words).map(drop)
    }

    /// Replaces an address by another on a device, as a roaming client does.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn change_address(&self, device: &str, old: &str, new: &str) -> Result<()> {
        // In this order: deleting the primary address deletes all secondary ones. In one process, since there is no route
        // meanwhile, and on a busy machine the start of another takes half a second.
        let nodad = if new.contains(':') { " nodad" } else { "" };
        let changes =
            format!("address del {old} dev {device}\naddress add {new} dev {device}{nodad}\n");
        let file = self.directory.join(format!("{device}-address.batch"));
        std::fs::write(&file, changes)?;
        let file = file.to_str().context("path is not UTF-8")?;
        self.run(&["ip", "-batch", file]).map(drop)
    }

    /// Adds a route: `["198.51.100.0/24", "via", "192.0.2.1"]`.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn add_route(&self, route: &[&str]) -> Result<()> {
        let mut words = vec!["ip"];
        if route.iter().any(|word| word.contains(':')) {
            words.push("-6");
        }
        words.extend(["route", "add"]);
        words.extend(route);
        self.run(&words).map(drop)
    }

    /// Makes the host a router for both families.
    ///
    /// # Errors
    /// If `/proc/sys` cannot be written.
    pub fn forward(&self) -> Result<()> {
        self.run(&[
            "sh",
            "-c",
            "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
        ])
        .map(drop)
    }

    /// A counter of the host's `/proc/net/snmp`: `("Udp", "RcvbufErrors")`.
    pub(crate) fn snmp(&self, protocol: &str, counter: &str) -> Result<u64> {
        let text = self.run(&["cat", "/proc/net/snmp"])?;
        let mut lines = text.lines().filter_map(|line| line.split_once(": "));
        let mut words = || lines.find(|(name, _)| *name == protocol);
        let (names, values) = words().zip(words()).context("/proc/net/snmp")?;
        let mut pairs = names.1.split(' ').zip(values.1.split(' '));
        let value = pairs.find_map(|(name, value)| (name == counter).then_some(value));
        Ok(value.context("no such counter")?.parse()?)
    }

    /// True if there is a network device of this name.
    pub fn has_device(&self, name: &str) -> bool {
        self.run(&["ip", "link", "show", "dev", name]).is_ok()
    }

    /// Process id of the holder as seen inside the lab.
    pub(crate) fn inner_pid(&self) -> Result<u32> {
        Ok(Proc::read(self.holder).context("the lab is gone")?.inner)
    }

    pub(crate) fn holder(&self) -> u32 {
        self.holder
    }

    /// True if the lab runs as real root.
    pub fn is_privileged(&self) -> bool {
        self.privileged
    }
}

/// Enters all namespaces of a process. nsenter forks, so that the command is in the pid namespace and dies with it.
fn nsenter(target: u32, privileged: bool) -> Command {
    let mut command = tool("nsenter");
    command.args(["--target", &target.to_string(), "--mount", "--net", "--pid"]);
    if !privileged {
        command.args(["--user", "--preserve-credentials"]);
    }
    // Keeps the lab away from directories and sockets of the user's session.
    for variable in ["XDG_RUNTIME_DIR", "UDCO_SOCKET", "UDCO_FD", "LD_PRELOAD"] {
        command.env_remove(variable);
    }
    command.arg("--");
    command
}
