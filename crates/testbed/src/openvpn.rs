//! One OpenVPN process: its configuration, its start, and its log.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::host::Host;
use crate::pki::Credentials;
use crate::process::{Process, read_lossy};
use crate::procfs::Proc;
use crate::udco::{self, Shown};
use crate::version::Version;
use crate::wait::eventually;

/// The log line that ends OpenVPN's start, and each reconnect.
const COMPLETED: &str = "Initialization Sequence Completed";

/// How long an orderly end may take.
const ORDERLY_END: Duration = Duration::from_secs(10);

/// Which data path an endpoint uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launch {
    /// `openvpn …`, on its own data path.
    Plain,
    /// `udco run -- openvpn …`.
    Udco,
    /// `openvpn …` with the preload library, as a service manager's drop-in starts it: no engine of its own.
    Preload,
}

/// Outer transport and family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6.
    Udp6,
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
}

/// Which side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Waits for clients; inner addresses 10.8.0.1 and fd00:8::1.
    Server,
    /// Connects, and pulls its addresses.
    Client,
}

/// An endpoint to start.
#[derive(Clone, Debug)]
pub struct Builder {
    host: Host,
    role: Role,
    credentials: Credentials,
    version: Version,
    launch: Launch,
    proto: Proto,
    remote: String,
    port: u16,
    local_port: Option<u16>,
    cipher: String,
    device: String,
    keepalive: (u32, u32),
    lines: Vec<String>,
    udco: Option<PathBuf>,
    udco_options: Vec<String>,
    wrapper: Vec<String>,
    name: String,
    environment: Vec<(String, String)>,
}

/// The result of [`Builder::write`].
#[derive(Clone, Debug)]
pub struct Written {
    /// OpenVPN and its arguments.
    pub words: Vec<OsString>,
    /// Its log.
    pub log: PathBuf,
    /// The file that holds its process id.
    pub pid_file: PathBuf,
    status: PathBuf,
}

impl Builder {
    /// A server in `host`: `topology subnet`, 10.8.0.0/24 and fd00:8::/64 inside, `dev tun0`, port 1194.
    pub fn server(host: &Host, credentials: &Credentials) -> Self {
        Self::new(host, Role::Server, credentials, "")
    }

    /// A client in `host` that connects to `remote`, port 1194, from any port of its own.
    pub fn client(host: &Host, credentials: &Credentials, remote: &str) -> Self {
        Self::new(host, Role::Client, credentials, remote)
    }

    fn new(host: &Host, role: Role, credentials: &Credentials, remote: &str) -> Self {
        Self {
            host: host.clone(),
            role,
            credentials: credentials.clone(),
            version: Version::V26,
            launch: Launch::Plain,
            proto: Proto::Udp4,
            remote: remote.to_owned(),
            port: 1194,
            local_port: None,
            cipher: "AES-256-GCM".to_owned(),
            device: "tun0".to_owned(),
            keepalive: (10, 60),
            lines: Vec::new(),
            udco: None,
            udco_options: Vec::new(),
            wrapper: Vec::new(),
            name: credentials.name.clone(),
            environment: Vec::new(),
        }
    }

    /// Sets the data path. A run that only proves the harness replaces each with [`Launch::Plain`].
    pub fn launch(mut self, launch: Launch) -> Self {
        self.launch = if udco::harness_only() {
            Launch::Plain
        } else {
            launch
        };
        self
    }

    /// Sets which OpenVPN it runs.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Sets transport and outer family.
    pub fn proto(mut self, proto: Proto) -> Self {
        self.proto = proto;
        self
    }

    /// Sets `data-ciphers`, as OpenVPN names them.
    pub fn cipher(mut self, cipher: &str) -> Self {
        cipher.clone_into(&mut self.cipher);
        self
    }

    /// Sets `dev`: a name, or `tun` for the first free one.
    pub fn device(mut self, device: &str) -> Self {
        device.clone_into(&mut self.device);
        self
    }

    /// Sets `remote` of a client.
    pub fn remote(mut self, remote: &str) -> Self {
        remote.clone_into(&mut self.remote);
        self
    }

    /// Sets the server's port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets the client's source port.
    pub const fn local_port(mut self, port: u16) -> Self {
        self.local_port = Some(port);
        self
    }

    /// Sets a server's `keepalive`: interval and timeout in seconds, pushed to clients. OpenVPN doubles the timeout for
    /// the server's own side.
    pub fn keepalive(mut self, interval: u32, timeout: u32) -> Self {
        self.keepalive = (interval, timeout);
        self
    }

    /// Adds a line to the configuration.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Adds several lines to the configuration.
    pub fn line_each(self, lines: &[&str]) -> Self {
        lines.iter().fold(self, |builder, line| builder.line(line))
    }

    /// Sets the `udco` binary, in place of [`udco::binary`].
    pub fn udco(mut self, binary: &Path) -> Self {
        self.udco = Some(binary.to_owned());
        self
    }

    /// Adds options of `udco run`.
    pub fn udco_options(mut self, options: &[&str]) -> Self {
        self.udco_options
            .extend(options.iter().map(ToString::to_string));
        self
    }

    /// Puts a command before the one that starts OpenVPN, below `udco run` if that is used: a shell, a loop.
    pub fn wrapper(mut self, words: &[&str]) -> Self {
        self.wrapper.extend(words.iter().map(ToString::to_string));
        self
    }

    /// Sets the name of its files, by default the certificate's.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Sets an environment variable for the process.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes its configuration, without starting it. Files are named after the certificate: `<name>.conf`,
    /// `<name>.log`.
    ///
    /// # Errors
    /// If OpenVPN 2.7 is required and missing.
    pub fn write(&self) -> Result<Written> {
        let file = |extension: &str| {
            let name = format!("{}{extension}", self.name);
            self.host.directory().join(name)
        };
        let config = file(".conf");
        fs::write(&config, self.configuration(&file)?)?;
        let pid_file = file(".pid");
        let _ = fs::remove_file(&pid_file);
        let mut words = self.version.command()?;
        words.extend(["--config".into(), config.into_os_string()]);
        Ok(Written {
            words,
            log: file(".log"),
            pid_file,
            status: file(".status"),
        })
    }

    /// Starts it. Files are named as for [`Builder::write`]; its output goes to `<name>-output.log`.
    ///
    /// # Errors
    /// If the `udco` binary or OpenVPN 2.7 is required and missing, or the start fails.
    pub fn spawn(self) -> Result<Endpoint> {
        let Written {
            words,
            log,
            pid_file,
            status,
        } = self.write()?;
        let mut command = match self.launch {
            // By env(1), which starts any word as a program.
            Launch::Plain => self.host.command("env"),
            Launch::Udco => {
                let binary = self.udco.clone().map_or_else(udco::binary, Ok)?;
                let mut command = self.host.command(&binary.to_string_lossy());
                command.arg("run").args(&self.udco_options).arg("--");
                command
            }
            Launch::Preload => {
                // By env(1), so that nsenter does not load the library, too.
                let mut command = self.host.command("env");
                let library = udco::preload_library()?;
                command.arg(format!("LD_PRELOAD={}", library.display()));
                command
            }
        };
        command
            .args(&self.wrapper)
            .args(words)
            .envs(self.environment.iter().cloned());
        let seen = read_lossy(&log).matches(COMPLETED).count();
        let output = self
            .host
            .directory()
            .join(format!("{}-output.log", self.name));
        let process = Process::spawn(command, output)?;
        Ok(Endpoint {
            host: self.host.clone(),
            launch: self.launch,
            is_other_build: self.udco.is_some(),
            daemon: self.lines.iter().any(|line| line.starts_with("daemon")),
            process,
            log,
            status,
            pid_file,
            seen,
        })
    }

    fn configuration(&self, file: &impl Fn(&str) -> PathBuf) -> Result<String> {
        let path = |path: &Path| -> Result<String> {
            Ok(path.to_str().context("path is not UTF-8")?.to_owned())
        };
        let mut lines = vec![
            format!("dev {}", self.device),
            format!("ca {}", path(&self.credentials.authority)?),
            format!("cert {}", path(&self.credentials.certificate)?),
            format!("key {}", path(&self.credentials.key)?),
            format!("data-ciphers {}", self.cipher),
            format!("log-append {}", path(&file(".log"))?),
            format!("writepid {}", path(&file(".pid"))?),
            format!("status {} 1", path(&file(".status"))?),
            "verb 4".to_owned(),
        ];
        if self.launch == Launch::Plain {
            lines.push("disable-dco".to_owned());
        }
        let proto = match (self.proto, self.role) {
            (Proto::Udp4, _) => "udp4",
            (Proto::Udp6, _) => "udp6",
            (Proto::Tcp4, Role::Server) => "tcp4-server",
            (Proto::Tcp4, Role::Client) => "tcp4-client",
            (Proto::Tcp6, Role::Server) => "tcp6-server",
            (Proto::Tcp6, Role::Client) => "tcp6-client",
        };
        lines.push(format!("proto {proto}"));
        match self.role {
            Role::Server => lines.extend([
                format!("port {}", self.port),
                "topology subnet".to_owned(),
                "server 10.8.0.0 255.255.255.0".to_owned(),
                "server-ipv6 fd00:8::/64".to_owned(),
                "dh none".to_owned(),
                format!("keepalive {} {}", self.keepalive.0, self.keepalive.1),
            ]),
            Role::Client => lines.extend([
                "client".to_owned(),
                format!("remote {} {}", self.remote, self.port),
                self.local_port
                    .map_or_else(|| "nobind".to_owned(), |port| format!("lport {port}")),
                "remote-cert-tls server".to_owned(),
                // By default OpenVPN waits 5 s and more between attempts.
                "connect-retry 1 2".to_owned(),
                "server-poll-timeout 4".to_owned(),
            ]),
        }
        lines.extend(self.lines.iter().cloned());
        lines.push(String::new());
        Ok(lines.join("\n"))
    }
}

/// A running OpenVPN. Dropping it kills it.
#[derive(Debug)]
pub struct Endpoint {
    host: Host,
    launch: Launch,
    /// It runs another build of udco than this tree's.
    is_other_build: bool,
    daemon: bool,
    process: Process,
    log: PathBuf,
    status: PathBuf,
    pid_file: PathBuf,
    seen: usize,
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
