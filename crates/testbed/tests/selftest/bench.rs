//! The network, the engine and the devices of one selftest.

use std::sync::Once;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use udco_testbed::{Host, Lab, Link, Process, eventually, udco};

use super::monitor::Monitor;

/// Long enough for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// The server inside the tunnel.
pub(crate) const INNER_SERVER: &str = "10.8.0.1";

/// How many clients the server has.
const CLIENTS: u32 = 6;

/// The differences between the selftests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    /// The cipher's name for `udco key new`.
    pub(crate) cipher: &'static str,
    /// Each peer has one id for both directions. Otherwise the server's packets carry one that is 9 higher.
    pub(crate) symmetric: bool,
    /// Over TCP, with all clients on IPv4.
    pub(crate) tcp: bool,
    /// MTU of all devices.
    pub(crate) mtu: u32,
    /// SO_MARK of the server's socket.
    pub(crate) mark: Option<u32>,
}

/// The variant that the others modify.
pub(crate) const BASE: Variant = Variant {
    cipher: "aes-gcm",
    symmetric: false,
    tcp: false,
    mtu: 1400,
    mark: None,
};

/// The whole network, with a device `tun0` on each host.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) variant: Variant,
    /// Receives the server's notifications.
    pub(crate) monitor: Monitor,
    /// Holds the server's socket, or sockets.
    pub(crate) peers: Process,
    pub(crate) clients: Vec<Client>,
    pub(crate) daemon: Process,
    pub(crate) server: Host,
    binary: String,
    /// Completed once the test has reported that it cannot capture.
    pub(crate) blind: Once,
    pub(crate) lab: Lab,
}

/// A client, peer `number` (from 1) of the server.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: u32,
    pub(crate) host: Host,
    /// Device `a` is the server's.
    pub(crate) link: Link,
    pub(crate) monitor: Monitor,
    /// Holds the client's socket.
    pub(crate) peer: Process,
    /// Peer id of packets from the server.
    pub(crate) id: u32,
    is_ipv6: bool,
}

impl Bench {
    /// Step 1: devices, sockets and peers; no keys yet.
    pub(crate) fn new(variant: Variant) -> Result<Self> {
        let lab = Lab::new()?;
        let server = lab.host("server")?;
        let binary = udco::program()?;
        let socket = &lab.file("engine.sock")?;
        let daemon = udco::daemon(&server, "daemon", &["--socket", socket])?;

        let mut ends = Vec::new();
        for number in 1..=CLIENTS {
            let host = lab.host(&format!("client{number}"))?;
            let is_ipv6 = number > CLIENTS / 2 && !variant.tcp;
            let [near, far] = [1, 2].map(|end| outer(number, is_ipv6, end).1);
            let link = lab.link(&server, &[&near], &host, &[&far])?;
            ends.push((number, host, link, is_ipv6));
        }
        let hosts = [&server].into_iter().chain(ends.iter().map(|end| &end.1));
        for (number, host) in (1..).zip(hosts) {
            prepare(host, socket)?;
            let (mode, mtu) = (if number == 1 { "mp" } else { "p2p" }, variant.mtu);
            let add = format!("link add tun0 --mode {mode} --mtu {mtu} --up");
            host.run(&words(binary, &add))?;
            host.add_address("tun0", &format!("10.8.0.{number}/24"))?;
        }
        let monitor = Monitor::start(&server, binary)?;
        let mut peers = server_peers(&server, &lab, binary, variant, &ends)?;
        let mut clients = Vec::new();
        for (number, host, link, is_ipv6) in ends {
            let (id, words_of_peer) = client_peer(number, is_ipv6, variant);
            let mut peer = host.spawn(host.name(), &words(binary, &words_of_peer))?;
            peer.wait_for_log(&format!("peer {id} on tun0"), SOON)?;
            clients.push(Client {
                number,
                monitor: Monitor::start(&host, binary)?,
                host,
                link,
                peer,
                id,
                is_ipv6,
            });
        }
        peers.wait_for_log("peers 1 2 3 4 5 6 on tun0, port 1194", SOON)?;
        Ok(Self {
            variant,
            monitor,
            peers,
            clients,
            daemon,
            server,
            binary: binary.to_owned(),
            blind: Once::new(),
            lab,
        })
    }

    /// Runs `udco` with these arguments and returns its output.
    pub(crate) fn udco(&self, host: &Host, text: &str) -> Result<String> {
        host.run(&words(&self.binary, text))
    }

    /// The JSON output of `udco`.
    pub(crate) fn json(&self, host: &Host, text: &str) -> Result<Value> {
        let printed = self.udco(host, text)?;
        serde_json::from_str(&printed).with_context(|| format!("{text} printed: {printed}"))
    }

    /// Runs `udco`, which must refuse with this text.
    pub(crate) fn refused(&self, host: &Host, text: &str, expected: &str) -> Result<()> {
        let output = host.output(&words(&self.binary, text))?;
        let printed = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1) && printed.contains(expected),
            "`{text}` ended with {:?} and printed: {printed}",
            output.status
        );
        Ok(())
    }

    /// Client number `number`, from 1.
    pub(crate) fn client(&self, number: u32) -> Result<&Client> {
        let mut clients = self.clients.iter();
        let found = clients.find(|client| client.number == number);
        found.with_context(|| format!("there is no client {number}"))
    }

    /// Both ends of this client's tunnel: the host, and its id for the peer.
    pub(crate) fn ends<'a>(&'a self, client: &'a Client) -> [(&'a Host, u32); 2] {
        [(&self.server, client.number), (&client.host, client.id)]
    }

    /// Packets dropped at the server's device for this reason.
    pub(crate) fn dropped(&self, reason: &str) -> Result<u64> {
        let shown = self.json(&self.server, "link show tun0 --json")?;
        let drops = &shown["devices"][0]["drops"];
        Ok(drops[reason].as_u64().unwrap_or(0))
    }

    /// Deletes the devices of all hosts.
    pub(crate) fn delete_devices(self) -> Result<Self> {
        let clients = self.clients.iter().map(|client| &client.host);
        for host in [&self.server].into_iter().chain(clients) {
            self.delete_device(host)?;
        }
        Ok(self)
    }

    /// Deletes the device of a host.
    pub(crate) fn delete_device(&self, host: &Host) -> Result<()> {
        self.udco(host, "link del tun0")?;
        ensure!(!host.has_device("tun0"), "{} has it still", host.name());
        Ok(())
    }

    /// Checks that the engine is alive, and ends on SIGTERM.
    pub(crate) fn end_engine(mut self) -> Result<()> {
        ensure!(self.daemon.is_alive(), "the engine has ended");
        let status = self.daemon.terminate(SOON)?;
        ensure!(status.success(), "the engine ended: {status}");
        let log = self.daemon.log();
        ensure!(!log.contains("panicked"), "the engine panicked: {log}");
        self.lab.discard_logs();
        Ok(())
    }
}

impl Client {
    /// Its inner address.
    pub(crate) fn inner(&self) -> String {
        format!("10.8.0.{}", self.number + 1)
    }

    /// Addresses on its link: the server's (`end` 1) or its own (2, or another after it floated), without and with the
    /// prefix length.
    pub(crate) fn outer(&self, end: u32) -> (String, String) {
        outer(self.number, self.is_ipv6, end)
    }

    /// `ADDRESS:PORT` of such an address.
    pub(crate) fn endpoint(&self, end: u32) -> String {
        endpoint(self.number, self.is_ipv6, end)
    }
}

fn words<'a>(binary: &'a str, text: &'a str) -> Vec<&'a str> {
    let program = std::iter::once(binary);
    program.chain(text.split_whitespace()).collect()
}

fn outer(number: u32, is_ipv6: bool, end: u32) -> (String, String) {
    let (address, prefix) = if is_ipv6 {
        (format!("2001:db8:{number}::{end}"), 64)
    } else {
        (format!("198.18.{number}.{end}"), 24)
    };
    let with_prefix = format!("{address}/{prefix}");
    (address, with_prefix)
}

fn endpoint(number: u32, is_ipv6: bool, end: u32) -> String {
    let address = outer(number, is_ipv6, end).0;
    if is_ipv6 {
        format!("[{address}]:1194")
    } else {
        format!("{address}:1194")
    }
}

/// Gives a host the engine at the default path, and no IPv6 inside the tunnel: the kernel's own IPv6 packets would
/// distort the counters.
fn prepare(host: &Host, socket: &str) -> Result<()> {
    let script = format!(
        "mkdir /run/udco && ln -s {socket} /run/udco/engine.sock && \
         echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6"
    );
    host.run(&["sh", "-c", &script]).map(drop)
}

/// Starts the process that holds the server's socket, with all its peers. Over TCP it waits for the clients.
fn server_peers(
    server: &Host,
    lab: &Lab,
    binary: &str,
    variant: Variant,
    ends: &[(u32, Host, Link, bool)],
) -> Result<Process> {
    let mut text = String::new();
    for &(number, _, _, is_ipv6) in ends {
        let tx_id = match variant.symmetric {
            true => "-".to_owned(),
            false => (number + 9).to_string(),
        };
        let remote = match variant.tcp {
            true => "-".to_owned(),
            false => endpoint(number, is_ipv6, 2),
        };
        let vpn = number + 1;
        text += &format!("{number} {tx_id} {remote} 10.8.0.{vpn}\n");
    }
    let file = lab.directory().join("peers.txt");
    std::fs::write(&file, text)?;
    let file = file.to_str().context("a path that is not UTF-8")?;
    let mut line = format!("peer new tun0 --peers {file}");
    line += match variant.tcp {
        true => " --tcp-listen 0.0.0.0:1194",
        false => " --local [::]:1194",
    };
    if let Some(mark) = variant.mark {
        line += &format!(" --mark {mark}");
    }
    let mut peers = server.spawn("server", &words(binary, &line))?;
    if variant.tcp {
        eventually("the server to listen", SOON, || {
            if !peers.is_alive() {
                bail!("{}", peers.log());
            }
            let listens = server.run(&["ss", "-Hltn"])?.contains(":1194");
            Ok(listens.then_some(()))
        })?;
    }
    Ok(peers)
}

/// A client's id for the server, and the arguments that add it.
fn client_peer(number: u32, is_ipv6: bool, variant: Variant) -> (u32, String) {
    let (id, tx_id) = match variant.symmetric {
        true => (number, String::new()),
        false => (number + 9, format!(" --tx-id {number}")),
    };
    let server = endpoint(number, is_ipv6, 1);
    let transport = match variant.tcp {
        true => format!("--tcp-connect {server}"),
        false => format!("--remote {server} --local [::]:1194"),
    };
    let line = format!("peer new tun0 --id {id}{tx_id} {transport}");
    (id, line)
}
