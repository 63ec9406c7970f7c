//! The program under test: where its binary is, and what `udco show --json` says.

mod commands;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
pub use udco_state::{Device, Peer, Traffic as Counters};
use udco_state::{FORMAT, Report};

pub use commands::{daemon, daemon_below_a_shell, output, peers, run, spawn, words};

use crate::host::Host;
use crate::wait::skip;

/// True if `UDCO_TESTBED_PLAIN` is set: every endpoint runs on OpenVPN's own data path, which proves the harness and
/// nothing about udco.
pub fn harness_only() -> bool {
    std::env::var_os("UDCO_TESTBED_PLAIN").is_some()
}

/// In a run that only proves the harness: skips the test, and says that it is about udco in this way.
pub fn is_left_out(why: &str) -> bool {
    if harness_only() {
        skip(why);
    }
    harness_only()
}

/// The `udco` binary: `UDCO_BIN`, else the newest in the `debug` and `release` directories of the running test.
///
/// # Errors
/// Fails if there is none, with the cure.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("UDCO_BIN").map(PathBuf::from) {
        ensure!(path.is_file(), "UDCO_BIN={} is no file", path.display());
        return Ok(path.canonicalize()?);
    }
    let test = std::env::current_exe()?;
    // <target>/<profile>/deps/<test>, or <target>/<profile>/<program>
    test.ancestors()
        .take(4)
        .flat_map(|dir| ["debug", "release"].map(|profile| dir.join(profile).join("udco")))
        .filter(|path| path.is_file())
        .max_by_key(|path| {
            path.metadata()
                .and_then(|metadata| metadata.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH)
        })
        .context("no udco binary; cure: `cargo build` in the workspace, or UDCO_BIN=/path/to/udco")
}

/// Its path as text.
///
/// # Errors
/// As [`binary`], and if it is not UTF-8.
pub fn program() -> Result<&'static str> {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    let path = binary()?;
    let text = path.to_str().context("a path that is not UTF-8")?;
    Ok(PROGRAM.get_or_init(|| text.to_owned()))
}

/// The preload library beside the binary.
///
/// # Errors
/// Fails if there is none, with the cure.
pub fn preload_library() -> Result<PathBuf> {
    let library = binary()?.with_file_name("libudco_preload.so");
    ensure!(
        library.is_file(),
        "no {}; cure: `cargo build` in the workspace",
        library.display()
    );
    Ok(library)
}

/// Asks the engine in `host` for its state.
///
/// # Errors
/// Fails if the answer of `udco show --json` has another shape. Its exit code is not looked at: no engine, and so no
/// device, is an answer.
pub fn show(host: &Host) -> Result<Shown> {
    let binary = binary()?;
    let output = host.output(&[&binary.to_string_lossy(), "show", "--json"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Report =
        serde_json::from_str(&text).with_context(|| format!("`udco show --json` said: {text}"))?;
    ensure!(report.format == FORMAT, "another format: {text}");
    let devices = report.devices;
    Ok(Shown { devices })
}

/// The devices of `udco show --json`.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Of all engines that answered.
    pub devices: Vec<Device>,
}

impl Shown {
    /// The peers of all devices.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.devices.iter().flat_map(|device| &device.peers)
    }

    /// Packets dropped for reasons whose name contains one of `words`.
    pub fn dropped(&self, words: &[&str]) -> u64 {
        self.devices
            .iter()
            .flat_map(|device| &device.drops)
            .filter(|(reason, _)| words.iter().any(|word| reason.contains(word)))
            .map(|(_, count)| count)
            .sum()
    }

    /// Checks that no packet failed authentication or the replay check.
    ///
    /// # Errors
    /// Names the counters.
    pub fn require_authentic(&self) -> Result<()> {
        if self.dropped(&["bad_tag", "no_tag", "replay", "too_old"]) == 0 {
            return Ok(());
        }
        let drops: Vec<_> = self.devices.iter().map(|device| &device.drops).collect();
        bail!("packets failed authentication or replay check: {drops:?}")
    }
}

/// True if the outer address of a peer is `address`, whatever the port.
#[must_use]
pub fn is_at(peer: &Peer, address: &str) -> bool {
    let at = peer.remote.map(|remote| remote.ip().to_canonical());
    at.is_some_and(|at| Ok(at) == address.parse())
}
