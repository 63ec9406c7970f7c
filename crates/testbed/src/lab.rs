//! A private place for one test: a pid namespace that kills every process of the test when it ends, and the hosts and
//! links in it.

use std::fs;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::directory::Directory;
use crate::host::Host;
use crate::procfs::{self, Proc};
use crate::tool::{self, await_ready, tool};

/// The first process of a lab: it lives as long as the testbed holds the other end of its standard input, so that a
/// killed testbed leaves nothing behind. A container may refuse a `/proc` for the new pid namespace.
const HOLDER: &str =
    "mount -t tmpfs tmpfs /run && { mount -t proc proc /proc 2>/dev/null; echo ready; exec cat; }";

/// A private place for one test. Dropping it ends every process in it and removes its directory.
#[derive(Debug)]
pub struct Lab {
    outer: Child,
    /// Closing it ends the lab.
    lifeline: Option<ChildStdin>,
    holder: u32,
    directory: Directory,
    privileged: bool,
    links: AtomicU32,
    discards_logs: AtomicBool,
}

impl Lab {
    /// Makes an empty lab, with a user namespace of its own unless run by root.
    ///
    /// # Errors
    /// Names the missing part (a tool, `/dev/net/tun`, user namespaces) and the remedy.
    pub fn new() -> Result<Self> {
        tool::require_all()?;
        require_tun()?;
        procfs::adopt_orphans();
        let privileged = rustix::process::geteuid().is_root();
        let directory = Directory::new()?;
        let mut unshare = tool("unshare");
        unshare.args(["--mount", "--net", "--pid", "--fork", "--kill-child"]);
        if !privileged {
            unshare.args(["--user", "--map-root-user"]);
        }
        let mut outer = unshare
            .args(["sh", "-c", HOLDER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start unshare")?;
        let lifeline = outer.stdin.take();
        if let Err(error) = await_ready(&mut outer) {
            return Err(error.context(if privileged {
                "cannot make namespaces (in a container: run it with CAP_SYS_ADMIN, or as a user)"
            } else {
                "cannot make a user namespace: set sysctl kernel.unprivileged_userns_clone=1, \
                 user.max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns=0, or run as root"
            }));
        }
        let holder = *procfs::children(outer.id())
            .first()
            .context("the lab's first process is gone")?;
        Ok(Self {
            outer,
            lifeline,
            holder,
            directory,
            privileged,
            links: AtomicU32::new(0),
            discards_logs: AtomicBool::new(false),
        })
    }

    /// The lab's directory: configurations, keys, logs, captures. Every user may read it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The path of a file in this directory.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub fn file(&self, name: &str) -> Result<String> {
        let path = self.directory().join(name).into_os_string();
        path.into_string().ok().context("a path that is not UTF-8")
    }

    /// Call it once the test is done: does not print the logs at the end.
    pub fn discard_logs(&self) {
        self.discards_logs.store(true, Ordering::Relaxed);
    }

    /// True if the lab runs as real root: then it has other user ids.
    pub fn is_privileged(&self) -> bool {
        self.privileged
    }

    /// A new host: a network namespace with `lo` up and a `/run` of its own.
    ///
    /// # Errors
    /// If the namespace cannot be created.
    pub fn host(&self, name: &str) -> Result<Host> {
        Host::start(name, self.holder, self.privileged, self.directory.path())
    }

    /// Connects two hosts by a veth pair, both ends up, with these addresses (`address/prefix`, either family).
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn link(&self, a: &Host, at_a: &[&str], b: &Host, at_b: &[&str]) -> Result<Link> {
        let number = self.links.fetch_add(1, Ordering::Relaxed);
        let link = Link {
            a: format!("veth{number}a"),
            b: format!("veth{number}b"),
            hosts: [a.clone(), b.clone()],
        };
        let b_pid = b.inner_pid()?.to_string();
        a.run(&[
            "ip", "link", "add", &link.a, "type", "veth", "peer", "name", &link.b, "netns", &b_pid,
        ])?;
        for (host, device, addresses) in [(a, &link.a, at_a), (b, &link.b, at_b)] {
            for address in addresses {
                host.add_address(device, address)?;
            }
            host.run(&["ip", "link", "set", device, "up"])?;
        }
        Ok(link)
    }

    /// Every living process of the lab.
    ///
    /// # Errors
    /// If the lab has ended.
    pub fn processes(&self) -> Result<Vec<Proc>> {
        Proc::in_namespace_of(self.holder)
    }

    fn print_logs(&self) {
        let Ok(entries) = fs::read_dir(self.directory.path()) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|e| e == "log") {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let from = lines.len().saturating_sub(40);
                eprintln!("--- {} (last lines)", path.display());
                for line in lines.get(from..).unwrap_or_default() {
                    eprintln!("{line}");
                }
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The test harness prints this only if the test fails, by panic or by error.
        if !self.discards_logs.load(Ordering::Relaxed) {
            self.print_logs();
        }
        drop(self.lifeline.take());
        // The end of a pid namespace's first process ends all others before `wait` returns, those included that have
        // become children of ours.
        let _ = procfs::signal_pid(self.holder, rustix::process::Signal::KILL);
        while matches!(self.outer.try_wait(), Ok(None)) {
            procfs::reap_orphans();
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The two devices of a veth pair.
#[derive(Clone, Debug)]
pub struct Link {
    /// Device in the first host.
    pub a: String,
    /// Device in the second host.
    pub b: String,
    hosts: [Host; 2],
}

impl Link {
    /// The host that device `a` is in.
    pub fn host_a(&self) -> &Host {
        &self.hosts[0]
    }

    /// Splits super-packets before they cross the link, as a real network card does, so that each datagram is captured
    /// by itself.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn split_segments(&self) -> Result<()> {
        for (host, device) in self.hosts.iter().zip([&self.a, &self.b]) {
            host.run(&["ip", "link", "set", "dev", device, "gso_max_segs", "1"])?;
        }
        Ok(())
    }
}

fn require_tun() -> Result<()> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .map(drop)
        .context("cannot open /dev/net/tun (modprobe tun; in a container: --device /dev/net/tun; as a user: mode 0666)")
}
