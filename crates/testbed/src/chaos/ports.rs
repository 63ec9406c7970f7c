//! A server with many peers, half of them unreachable: the ICMP errors must not affect packets to the others.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::lab::Lab;
use crate::udco;
use crate::wait::eventually;

/// Peers of each kind.
const PEERS: u8 = 10;

/// Packets that the device holds while the engine is busy, or waits for a processor.
const QUEUE: &str = "20000";

/// Bytes of the counting sockets' receive buffers.
const BUFFER: usize = 32 << 20;

/// The receiver ends after this long without a datagram.
const SILENCE: Duration = Duration::from_secs(2);

/// Packets that reached the healthy peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthy {
    /// Packets sent to them.
    pub sent: u64,
    /// Packets that arrived.
    pub received: u64,
    /// Packets to the unreachable peers meanwhile.
    pub dead: Dead,
}

/// Packets to the unreachable peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    /// Packets sent to them.
    pub sent: u64,
    /// ICMP errors that the server's host received for them.
    pub icmp_errors: u64,
}

/// Sends `each` packets to each of 20 peers on one socket, in turn, half of them behind closed ports, unreachable nets
/// and prohibited ones; fails unless all packets to the others arrive. `program` is as for
/// [`crate::chaos::Relay::start`].
///
/// # Errors
/// Reports how many did not arrive.
pub fn lose_nothing(program: &str, each: u64) -> Result<Healthy> {
    let lab = Lab::new()?;
    let (server, client) = (lab.host("server")?, lab.host("client")?);
    lab.link(&server, &["192.0.2.1/24"], &client, &["192.0.2.2/24"])?;
    answer_everything(&client)?;
    server.add_route(&["198.51.100.0/24", "via", "192.0.2.2"])?;
    server.add_route(&["203.0.113.0/24", "via", "192.0.2.2"])?;
    let binary = udco::program()?;
    let file = |name: &str| lab.directory().join(name).display().to_string();

    let _daemon = udco::daemon(&server, "daemon", &[])?;
    let udco = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        server.run(&[&[binary], words.as_slice()].concat())
    };
    udco("link add tun0 --mode mp --up")?;
    server.run(&["ip", "link", "set", "tun0", "txqueuelen", QUEUE])?;
    server.add_address("tun0", "10.8.0.1/24")?;
    let (peers, key) = (file("peers.txt"), file("key.txt"));
    let lines: Vec<String> = (0..2 * PEERS).map(peer_line).collect();
    std::fs::write(&peers, lines.concat())?;
    let words = [
        binary,
        "peer",
        "new",
        "tun0",
        "--peers",
        &peers,
        "--local",
        "0.0.0.0:1194",
    ];
    let mut holder = server.spawn("peers", &words)?;
    holder.wait_for_log("port 1194", Duration::from_secs(10))?;
    udco(&format!("key generate {key}"))?;
    for id in 0..2 * PEERS {
        udco(&format!(
            "key new tun0 --peer {id} --slot primary --key-id 0 --cipher aes-gcm --file {key} --direction 0"
        ))?;
    }

    let mut words = vec![program.to_owned(), "lab-end".into(), "count".into()];
    words.extend((0..PEERS).map(|id| format!("192.0.2.2:{}", port(2 * id))));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut counter = client.spawn("count", &words)?;
    counter.wait_for_log("counting", Duration::from_secs(5))?;
    let (each_word, pause) = (each.to_string(), "1000");
    let mut words = vec![program.to_owned(), "lab-end".into(), "spray".into()];
    words.extend([each_word, pause.to_owned()]);
    words.extend((0..2 * PEERS).map(|id| format!("{}:7", inner(id))));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    server.run(&words)?;
    counter.wait(Duration::from_secs(60))?;
    let log = counter.log();
    let received = log.lines().last().unwrap_or_default();
    let healthy = Healthy {
        sent: each * u64::from(PEERS),
        received: received
            .parse()
            .with_context(|| format!("count printed: {log}"))?,
        dead: Dead {
            sent: each * u64::from(PEERS),
            icmp_errors: server.snmp("Icmp", "InDestUnreachs")?,
        },
    };
    let drops = udco::show(&server)?.devices.into_iter().map(|it| it.drops);
    let drops: Vec<_> = drops.collect();
    ensure!(
        healthy.received == healthy.sent,
        "{healthy:?}, the engine's drops: {drops:?}"
    );
    // Without ICMP errors the test proves nothing.
    ensure!(
        healthy.dead.icmp_errors >= healthy.dead.sent / 2,
        "few ICMP errors: {healthy:?}, the engine's drops: {drops:?}"
    );
    lab.discard_logs();
    Ok(healthy)
}

/// Peers with even ids are healthy. Most of the others have closed ports: for a prohibited net a router sends an error
/// only once a second, and no setting of a network namespace changes that.
fn peer_line(id: u8) -> String {
    let (port, vpn) = (port(id), inner(id));
    let address = match id {
        17 => "198.51.100.7",
        19 => "203.0.113.7",
        _ => "192.0.2.2",
    };
    format!("{id} - {address}:{port} {vpn}\n")
}

fn port(id: u8) -> u16 {
    2000 + u16::from(id)
}

fn inner(id: u8) -> String {
    format!("10.8.0.{}", 2 + id)
}

/// Makes the host send an error for each packet that it cannot deliver or forward, without the usual limit.
fn answer_everything(host: &Host) -> Result<()> {
    host.forward()?;
    host.run(&[
        "sh",
        "-c",
        "echo 0 >/proc/sys/net/ipv4/icmp_ratemask && echo 0 >/proc/sys/net/ipv4/icmp_ratelimit",
    ])?;
    host.add_route(&["unreachable", "198.51.100.0/24"])?;
    host.add_route(&["prohibit", "203.0.113.0/24"])
}

/// Counts datagrams at these addresses until no more arrive.
pub(crate) fn count(addresses: &[SocketAddr]) -> Result<()> {
    let mut sockets = Vec::new();
    for address in addresses {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, BUFFER)?;
        }
        sockets.push(socket);
    }
    println!("counting");
    let (mut buffer, mut received) = ([0; 2048], 0_u64);
    let mut last = Instant::now() + Duration::from_secs(5);
    while Instant::now().saturating_duration_since(last) < SILENCE {
        let mut set: Vec<_> = sockets
            .iter()
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        let timeout = Timespec::try_from(Duration::from_millis(100))?;
        let _ = poll(&mut set, Some(&timeout));
        for socket in &sockets {
            while socket.recv(&mut buffer).is_ok() {
                received += 1;
                last = Instant::now();
            }
        }
    }
    println!("{received}");
    Ok(())
}

/// Sends a datagram to each address, `rounds` times, with `pause` microseconds after each round.
pub(crate) fn spray(rounds: u64, pause: u64, addresses: &[SocketAddr]) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let payload = [0x55; 100];
    for _ in 0..rounds {
        for address in addresses {
            // The full queue is the device's, and drains.
            eventually("room in the device's queue", Duration::from_secs(5), || {
                Ok(socket.send_to(&payload, address).ok())
            })?;
        }
        std::thread::sleep(Duration::from_micros(pause));
    }
    Ok(())
}
