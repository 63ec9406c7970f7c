//! Debian's other userspace VPNs, each between the two hosts as its documentation sets it up.

mod fastd;
mod nebula;
mod tinc;
mod wireguard;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{Host, Pair, Process, addresses, eventually};

use crate::apt::{self, Apt};

/// Debian's suite with the newest versions; packages from it need only the C library.
const SUITE: &str = "sid";

/// How long each step of a start may take.
const START: Duration = Duration::from_secs(10);

/// A VPN to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vpn {
    WireguardGo,
    Nebula,
    Tinc,
    Fastd,
}

impl Vpn {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::WireguardGo, Self::Nebula, Self::Tinc, Self::Fastd];

    /// Its name, which is also its package's.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::WireguardGo => "wireguard-go",
            Self::Nebula => "nebula",
            Self::Tinc => "tinc",
            Self::Fastd => "fastd",
        }
    }

    /// The name of its process.
    const fn process(self) -> &'static str {
        match self {
            Self::Tinc => "tincd",
            _ => self.title(),
        }
    }

    /// The name of its device.
    const fn device(self) -> &'static str {
        match self {
            Self::WireguardGo => "wg0",
            Self::Nebula => "nebula0",
            Self::Tinc => "tinc0",
            Self::Fastd => "fastd0",
        }
    }
}

/// The names of all processes, as in `/proc`.
pub(crate) const PROCESSES: [&str; 4] = [
    Vpn::WireguardGo.process(),
    Vpn::Nebula.process(),
    Vpn::Tinc.process(),
    Vpn::Fastd.process(),
];

/// A VPN's program, and its version.
#[derive(Debug)]
pub(crate) struct Program {
    vpn: Vpn,
    path: PathBuf,
    pub(crate) version: String,
}

impl Program {
    /// Finds the program. VPNs that are fast only in their newest versions are unpacked from [`SUITE`] into the target
    /// directory, the first time; the others are the machine's own.
    ///
    /// # Errors
    /// Says why it is unavailable.
    pub(crate) fn find(vpn: Vpn, target: &Path) -> Result<Self> {
        let (path, word) = match vpn {
            Vpn::WireguardGo => (unpacked(vpn, target)?, "--version"),
            Vpn::Nebula => (unpacked(vpn, target)?, "-version"),
            Vpn::Tinc => (PathBuf::from("/usr/sbin/tincd"), "--version"),
            Vpn::Fastd => (PathBuf::from("/usr/bin/fastd"), "--version"),
        };
        let output = Command::new(&path)
            .arg(word)
            .output()
            .with_context(|| format!("{} does not run", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let first = text.lines().next().unwrap_or_default();
        // The rest is about its libraries and its build.
        let version = first.split(" (").next().unwrap_or_default().trim();
        let version = match vpn {
            Vpn::Nebula => version.replacen("Version:", "nebula", 1),
            _ => version.to_owned(),
        };
        ensure!(!version.is_empty(), "{} tells no version", path.display());
        Ok(Self { vpn, path, version })
    }

    pub(crate) const fn vpn(&self) -> Vpn {
        self.vpn
    }

    /// Connects the hosts of `pair`, with the inner addresses that OpenVPN uses there.
    ///
    /// # Errors
    /// If one end doesn't come up, or they cannot reach each other.
    pub(crate) fn start(&self, pair: &Pair) -> Result<[Process; 2]> {
        let ends = Ends {
            server: End::new(&pair.server, addresses::SERVER, addresses::INNER_SERVER),
            client: End::new(&pair.client, addresses::CLIENT, addresses::INNER_CLIENT),
        };
        let processes = match self.vpn {
            Vpn::WireguardGo => wireguard::start(self, &ends),
            Vpn::Nebula => nebula::start(self, &ends),
            Vpn::Tinc => tinc::start(self, &ends),
            Vpn::Fastd => fastd::start(self, &ends),
        }?;
        let what = format!("{}'s handshake", self.vpn.title());
        Ping::to(addresses::INNER_SERVER)
            .answered_within(START, &pair.client)
            .context(what)?;
        Ok(processes)
    }

    fn path(&self) -> Result<&str> {
        self.path.to_str().context("path is not UTF-8")
    }

    /// Starts one end and waits for its device.
    fn spawn(&self, end: &End<'_>, arguments: &[&str]) -> Result<Process> {
        let log = format!("{}-{}", self.vpn.title(), end.host.name());
        let process = end
            .host
            .spawn(&log, &[&[self.path()?], arguments].concat())?;
        let what = format!("{}'s device", self.vpn.title());
        eventually(&what, START, || {
            Ok(end.host.has_device(self.vpn.device()).then_some(()))
        })?;
        Ok(process)
    }

    /// Gives the device of one end its address.
    fn bring_up(&self, end: &End<'_>) -> Result<()> {
        let device = self.vpn.device();
        end.host.add_address(device, &format!("{}/24", end.inner))?;
        end.host.run(&["ip", "link", "set", device, "up"]).map(drop)
    }
}

/// Both ends of a tunnel.
struct Ends<'a> {
    server: End<'a>,
    client: End<'a>,
}

impl<'a> Ends<'a> {
    /// Each end, paired with the other one.
    fn each(&self) -> [(&End<'a>, &End<'a>); 2] {
        [(&self.server, &self.client), (&self.client, &self.server)]
    }

    fn is_server(&self, end: &End<'_>) -> bool {
        end.inner == self.server.inner
    }
}

/// One end of a tunnel.
struct End<'a> {
    host: &'a Host,
    /// Its address outside the tunnel, and inside.
    outer: &'static str,
    inner: &'static str,
}

impl<'a> End<'a> {
    const fn new(host: &'a Host, outer: &'static str, inner: &'static str) -> Self {
        Self { host, outer, inner }
    }

    /// A file in the lab's directory, removed with the lab.
    fn file(&self, name: &str) -> String {
        let name = format!("{}-{name}", self.host.name());
        self.host.directory().join(name).display().to_string()
    }
}

/// The program of a package of [`SUITE`], which is unpacked unless it already was.
fn unpacked(vpn: Vpn, target: &Path) -> Result<PathBuf> {
    let name = vpn.title();
    let root = target.join(name);
    let program = root.join("usr/bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    let fresh = target.join(format!("{name}.new"));
    apt::remove(&fresh)?;
    fs::create_dir_all(&fresh)?;
    let what = format!("{name} of {SUITE}");
    let apt = Apt::new(&fresh.join("apt"), &what, &[SUITE])?;
    apt.run("update", &["update", "-q", "--error-on=any"])?;
    // apt also downloads the C library; the machine has its own.
    let install = ["install", "-q", "-y", "--download-only", name];
    apt.run("download", &install)?;
    apt::unpack_only(name, &apt.archives(), &fresh)?;
    apt::remove(apt.root())?;
    apt::remove(&root)?;
    fs::rename(&fresh, &root)?;
    Ok(program)
}
