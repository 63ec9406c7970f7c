//! Many clients of one server, all in one host: as lightweight as real OpenVPNs can be.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::management::Management;
use crate::openvpn::{Endpoint, Proto};
use crate::process::Process;
use crate::procfs::{Proc, signal_pid};
use crate::scenario::{CONNECT, Pair};
use crate::udco::Shown;

/// How many clients may handshake at a time: two cores do some 60 handshakes a second.
const SHAKING: u32 = 32;

/// Marks the processes of these clients.
const CONFIGURATION: &str = "crowd.conf";

/// How long OpenVPN may take for a management command while it serves many clients.
const PATIENCE: Duration = Duration::from_secs(10);

/// An OpenVPN server with udco and many clients without, in one lab.
#[derive(Debug)]
pub struct Crowd {
    /// The lab.
    pub pair: Pair,
    /// The server.
    pub server: Endpoint,
    management: Management,
    shells: Vec<Process>,
    size: u32,
    timeout: Duration,
}

/// The outcome of killing all clients.
#[derive(Clone, Copy, Debug)]
pub struct Vanished {
    /// From the first kill until the server had no client left.
    pub after: Duration,
    /// From the first kill to the last.
    pub killed_within: Duration,
    /// OpenVPN's processor time meanwhile.
    pub openvpn: Duration,
    /// The engine's.
    pub engine: Duration,
}

impl Crowd {
    /// Starts the server with this `keepalive`, then all clients, and waits until the server has `size` of them.
    ///
    /// # Errors
    /// Reports how many have connected once there is no more progress.
    pub fn gather(size: u32, (interval, timeout): (u32, u32)) -> Result<Self> {
        let pair = Pair::new()?;
        let server = pair
            .udco_server(Proto::Udp4)
            .keepalive(interval, timeout)
            .line_each(&[
                "server 10.8.0.0 255.255.240.0",
                "duplicate-cn",
                "max-clients 4000",
                "connect-freq-initial 10000 10",
            ]);
        let (server, management) = Management::enable(server, pair.lab.directory(), "management");
        let mut server = server.spawn()?;
        server.wait_connected(CONNECT).context("server")?;
        let mut crowd = Self {
            pair,
            server,
            management,
            shells: Vec::new(),
            size,
            // OpenVPN doubles the timeout on the server's side.
            timeout: Duration::from_secs(2 * u64::from(timeout)),
        };
        crowd.configure()?;
        let mut started = 0;
        while started < size {
            let more = SHAKING.min(size - started);
            crowd.start(more)?;
            started += more;
            crowd.await_clients(started)?;
        }
        Ok(crowd)
    }

    /// How many client instances the server has.
    ///
    /// # Errors
    /// If OpenVPN does not answer.
    pub fn clients(&self) -> Result<u32> {
        self.management.clients(PATIENCE)
    }

    /// The output of `udco show`.
    ///
    /// # Errors
    /// If `udco show` fails.
    pub fn show(&self) -> Result<Shown> {
        self.server.show()
    }

    /// Kills all clients, and waits until the server has dropped them.
    ///
    /// # Errors
    /// Reports how many are left `margin` after the timeout, or that one was dropped while it lived.
    pub fn vanish(&self, margin: Duration) -> Result<Vanished> {
        let clients = self.processes()?;
        ensure!(clients.len() == self.size as usize, "{} run", clients.len());
        ensure!(self.clients()? == self.size, "the server has lost some");
        let (openvpn, engine) = (self.server.openvpn()?, self.server.engine()?);
        let before = (openvpn.cpu_time()?, engine.cpu_time()?);
        let begin = Instant::now();
        for client in &clients {
            signal_pid(client.pid, Signal::KILL)?;
        }
        let killed_within = begin.elapsed();
        while let left @ 1.. = self.clients()? {
            let shown = || self.show().map(|shown| shown.peers().count());
            if begin.elapsed() > self.timeout + margin {
                bail!(
                    "{left} instances are left, the engine has {:?} peers",
                    shown()
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(Vanished {
            after: begin.elapsed(),
            killed_within,
            openvpn: openvpn.cpu_time()?.saturating_sub(before.0),
            engine: engine.cpu_time()?.saturating_sub(before.1),
        })
    }

    /// Checks that the server is at rest again: no peers in the engine, OpenVPN answers, and both use less than a tenth
    /// of a core.
    ///
    /// # Errors
    /// Reports what is left.
    pub fn require_rest(&self) -> Result<()> {
        let peers = self.show()?.peers().count();
        ensure!(peers == 0, "the engine still has {peers} peers");
        let watched = Duration::from_secs(3);
        for process in [self.server.openvpn()?, self.server.engine()?] {
            let before = process.cpu_time()?;
            std::thread::sleep(watched);
            let spent = process.cpu_time()?.saturating_sub(before);
            ensure!(spent < watched / 10, "{} used {spent:?}", process.name);
        }
        ensure!(self.clients()? == 0, "clients out of nowhere");
        Ok(())
    }

    fn configure(&self) -> Result<()> {
        let [authority, certificate, key] = self.pair.client_files();
        let text = format!(
            "client\ndev null\nproto udp4\nremote {} 1194\nnobind\nifconfig-noexec\nroute-noexec\nca {authority}\n\
             cert {certificate}\nkey {key}\nremote-cert-tls server\ndata-ciphers AES-256-GCM\nverb 1\n\
             connect-retry 2 4\nexplicit-exit-notify 0\n",
            crate::addresses::SERVER
        );
        Ok(fs::write(
            self.pair.lab.directory().join(CONFIGURATION),
            text,
        )?)
    }

    fn start(&mut self, count: u32) -> Result<()> {
        let directory = self.pair.lab.directory();
        let script = format!(
            "for number in $(seq {count}); do openvpn --config {}/{CONFIGURATION} & done; wait",
            directory.display()
        );
        let words = ["sh", "-c", &script];
        self.shells.push(self.pair.client.spawn("crowd", &words)?);
        Ok(())
    }

    fn await_clients(&self, wanted: u32) -> Result<()> {
        let (mut best, mut since) = (0, Instant::now());
        loop {
            let now = self.clients()?;
            if now >= wanted {
                return Ok(());
            }
            if now > best {
                (best, since) = (now, Instant::now());
            }
            if since.elapsed() > 2 * CONNECT {
                bail!("{now} of {wanted} clients have connected, and no more come");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn processes(&self) -> Result<Vec<Proc>> {
        let mut all = self.pair.lab.processes()?;
        all.retain(|it| it.name == "openvpn" && it.command.contains(CONFIGURATION));
        Ok(all)
    }
}
