//! One OpenVPN process: its configuration and its start.

mod endpoint;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::endpoint::COMPLETED;
pub use self::endpoint::Endpoint;

use crate::host::Host;
use crate::pki::Credentials;
use crate::process::{Process, read_lossy};
use crate::udco;
use crate::version::Version;

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

    /// Sets how many workers the engine of `udco run` has, if not one a core.
    pub fn workers(self, number: Option<u16>) -> Self {
        match number {
            Some(number) => self.udco_options(&["--workers", &number.to_string()]),
            None => self,
        }
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

    /// Has the engine at this socket serve it, as a service manager's drop-in does.
    pub fn engine(self, socket: &str) -> Self {
        self.launch(Launch::Preload).env("UDCO_SOCKET", socket)
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
