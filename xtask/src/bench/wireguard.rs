//! wireguard-go between the two hosts.
//!
//! The one of a stable Debian release is years old and moves packets singly; the newest of Debian's development suite
//! batches them, and is the one to compare with. It needs nothing but the C library, so it is unpacked and not
//! installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use udco_testbed::measure::Ping;
use udco_testbed::{Host, Pair, Process, addresses, eventually};

use crate::apt::{self, Apt};

/// Debian's suite with the newest.
const SUITE: &str = "sid";

/// How long each step of the start may take.
const START: Duration = Duration::from_secs(10);

const DEVICE: &str = "wg0";

/// The program.
#[derive(Debug)]
pub(crate) struct WireguardGo {
    program: PathBuf,
    /// What it says of itself.
    pub(crate) version: String,
}

impl WireguardGo {
    /// Unpacks it to `wireguard-go` in the target directory unless it is there.
    ///
    /// # Errors
    /// Says why it cannot be had.
    pub(crate) fn find(target: &Path) -> Result<Self> {
        let root = target.join("wireguard-go");
        let program = root.join("usr/bin/wireguard-go");
        if !program.is_file() {
            let fresh = target.join("wireguard-go.new");
            apt::remove(&fresh)?;
            fs::create_dir_all(&fresh)?;
            let apt = Apt::new(
                &fresh.join("apt"),
                &format!("wireguard-go of {SUITE}"),
                &[SUITE],
            )?;
            apt.run("update", &["update", "-q", "--error-on=any"])?;
            // apt brings the C library along; the machine has its own.
            let install = ["install", "-q", "-y", "--download-only", "wireguard-go"];
            apt.run("download", &install)?;
            apt::unpack_only("wireguard-go", &apt.archives(), &fresh)?;
            apt::remove(apt.root())?;
            apt::remove(&root)?;
            fs::rename(&fresh, &root)?;
        }
        let output = Command::new(&program).arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().context("wireguard-go does not run")?;
        Ok(Self {
            program,
            version: version.to_owned(),
        })
    }

    /// Joins the hosts of `pair`, with the inner addresses that OpenVPN has there.
    ///
    /// # Errors
    /// Fails if one end doesn't come up or they don't reach each other.
    pub(crate) fn start(&self, pair: &Pair) -> Result<Wireguard> {
        let ends = [
            (&pair.server, addresses::SERVER, addresses::INNER_SERVER),
            (&pair.client, addresses::CLIENT, addresses::INNER_CLIENT),
        ];
        let mut processes = Vec::new();
        let mut public_keys = Vec::new();
        for (host, _, inner) in ends {
            processes.push(self.spawn(host)?);
            public_keys.push(make_key(host)?);
            host.add_address(DEVICE, &format!("{inner}/24"))?;
        }
        for (end, other) in [(0, 1), (1, 0)] {
            let (host, ..) = ends[end];
            let (_, address, _) = ends[other];
            let key = key_file(host);
            let endpoint = format!("{address}:51820");
            host.run(&[
                "wg",
                "set",
                DEVICE,
                "listen-port",
                "51820",
                "private-key",
                &key,
                "peer",
                &public_keys[other],
                "allowed-ips",
                "10.8.0.0/24",
                "endpoint",
                &endpoint,
            ])?;
            host.run(&["ip", "link", "set", DEVICE, "up"])?;
        }
        let ping = Ping::to(addresses::INNER_SERVER).count(1);
        eventually("wireguard-go's handshake", START, || {
            Ok((ping.run(&pair.client)?.received == 1).then_some(()))
        })?;
        Ok(Wireguard(processes))
    }

    fn spawn(&self, host: &Host) -> Result<Process> {
        let program = self.program.to_str().context("path is not UTF-8")?;
        let log = format!("wireguard-{}", host.name());
        let process = host.spawn(&log, &[program, "--foreground", DEVICE])?;
        eventually("wireguard-go's device", START, || {
            let answers = host.output(&["wg", "show", DEVICE])?.status.success();
            Ok(answers.then_some(()))
        })?;
        Ok(process)
    }
}

/// Both ends, running.
#[derive(Debug)]
pub(crate) struct Wireguard(#[expect(dead_code, reason = "held for their end")] Vec<Process>);

/// Makes a private key in the lab's directory and returns the public one.
fn make_key(host: &Host) -> Result<String> {
    let script = format!("umask 077; wg genkey >{0}; wg pubkey <{0}", key_file(host));
    Ok(host.run(&["sh", "-c", &script])?.trim().to_owned())
}

fn key_file(host: &Host) -> String {
    let name = format!("wireguard-{}.key", host.name());
    host.directory().join(name).display().to_string()
}
