//! Many peers over TCP, one of which stops reading for a while.
//!
//! No OpenVPN is involved: the peers are sockets of one process, which counts the packets of each stream and checks
//! that none starts in the middle of another.

use std::io::Read;
use std::net::{TcpStream, UdpSocket};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use udco_testbed::{Host, Lab, Process, eventually, udco};

use crate::task;

/// Payload of the inner datagrams.
const PAYLOAD: usize = 1_300;

/// Length of such a packet on the stream, from the opcode on: headers of IPv4 and UDP, opcode and peer id, packet id,
/// tag.
const PACKET: usize = 24 + 28 + PAYLOAD;

/// Opcode and key id of a data packet with key 0.
const OPCODE: u8 = 9 << 3;

/// The plan of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) peers: u8,
    /// Datagrams to each peer a second.
    pub(crate) each_per_second: u32,
    /// Seconds: all read, one stops, all read again.
    pub(crate) phases: [u64; 3],
}

/// The outcome of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Share {
    plan: Plan,
    /// The others' packet rate while one is stuck, as a share of the rate before.
    pub(crate) others_while_stuck: f64,
    /// The same for the slowest of them.
    pub(crate) least_while_stuck: f64,
    /// Packets that the stuck one read, in each phase.
    stuck: [u64; 3],
    /// Packets that the others read, in each phase.
    others: [u64; 3],
    /// Growth of the engine's resident memory, bytes.
    pub(crate) grown_bytes: u64,
    /// Packets dropped for lack of room.
    dropped: u64,
}

/// Runs the plan.
pub(crate) fn run(plan: &Plan) -> Result<Share> {
    let lab = Lab::new()?;
    let (server, client) = (lab.host("server")?, lab.host("client")?);
    lab.link(&server, &["192.0.2.1/24"], &client, &["192.0.2.2/24"])?;
    let (daemon, _holder, readers) = connect(&lab, &server, &client, plan)?;

    let addresses: Vec<String> = (0..plan.peers).map(inner).collect();
    let [before, stuck, after] = plan.phases.map(Duration::from_secs);
    let seconds = (before + stuck + after).as_secs();
    let words = format!(
        "many feed {seconds} {} {}",
        plan.each_per_second,
        addresses.join(" ")
    );
    let mut source = task(&server, &words)?.stdout(Stdio::null()).spawn()?;
    let margin = Duration::from_millis(500);
    thread::sleep(before - margin);
    let memory = resident(&daemon)?;
    thread::sleep(stuck);
    let grown_bytes = resident(&daemon)?.saturating_sub(memory);
    ensure!(source.wait()?.success(), "the source failed");
    let read = readers.wait_with_output()?;
    let text = String::from_utf8_lossy(&read.stdout);
    ensure!(read.status.success(), "the readers failed: {text}");
    let counts = counts(&text).with_context(|| format!("the readers printed: {text}"))?;
    let devices = udco::show(&server)?.devices;
    let dropped = devices
        .iter()
        .filter_map(|device| device.drops.get("tx_transport_full"))
        .sum();
    lab.discard_logs();
    share(&counts, plan, grown_bytes, dropped)
}

fn share(counts: &[[u64; 3]], plan: &Plan, grown_bytes: u64, dropped: u64) -> Result<Share> {
    let (stuck, others) = counts.split_first().context("no peers")?;
    ensure!(counts.len() == usize::from(plan.peers), "{counts:?}");
    ensure!(
        counts.iter().all(|counts| counts[0] > 0),
        "a peer got nothing in the first phase: {counts:?}"
    );
    ensure!(stuck[1] == 0, "the stuck one read {stuck:?}");
    ensure!(stuck[2] > 0, "it was not taken up again: {stuck:?}");
    ensure!(dropped > 0, "no peer was stuck");
    let [first, second, _] = plan.phases.map(|seconds| seconds as f64);
    let kept = |counts: [u64; 3]| (counts[1] as f64 / second) / (counts[0] as f64 / first);
    let all = |phase: usize| others.iter().map(|counts| counts[phase]).sum::<u64>();
    let others_in_all = [all(0), all(1), all(2)];
    Ok(Share {
        plan: *plan,
        others_while_stuck: kept(others_in_all),
        least_while_stuck: others.iter().map(|&it| kept(it)).fold(f64::MAX, f64::min),
        stuck: *stuck,
        others: others_in_all,
        grown_bytes,
        dropped,
    })
}

/// Connects the engine, peers with keys, and their other ends.
fn connect(
    lab: &Lab,
    server: &Host,
    client: &Host,
    plan: &Plan,
) -> Result<(Process, Process, std::process::Child)> {
    let binary = udco::program()?;
    let udco = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        server.run(&[&[binary], words.as_slice()].concat())
    };
    let daemon = udco::daemon(server, "daemon", &[])?;
    udco("link add tun0 --mode mp --up")?;
    server.add_address("tun0", "10.8.0.1/24")?;
    let file = |name: &str| lab.directory().join(name).display().to_string();
    let (peers, key) = (file("peers.txt"), file("key.txt"));
    let lines = (0..plan.peers).map(|id| format!("{id} - - {}\n", inner(id)));
    std::fs::write(&peers, lines.collect::<String>())?;
    let words = format!("{binary} peer new tun0 --tcp-listen 192.0.2.1:1194 --peers {peers}");
    let words: Vec<&str> = words.split(' ').collect();
    let mut holder = server.spawn("peers", &words)?;
    eventually("the peers' socket", Duration::from_secs(5), || {
        let listens = server.run(&["ss", "-Hltn"])?.contains("192.0.2.1:1194");
        Ok(listens.then_some(()))
    })?;
    let [before, stuck, after] = plan.phases;
    let words = format!(
        "many read 192.0.2.1:1194 {} {before} {stuck} {after}",
        plan.peers
    );
    let readers = task(client, &words)?.stdout(Stdio::piped()).spawn()?;
    holder.wait_for_log("port 1194", Duration::from_secs(10))?;
    udco(&format!("key generate {key}"))?;
    for id in 0..plan.peers {
        udco(&format!(
            "key new tun0 --peer {id} --slot primary --key-id 0 --cipher aes-gcm --file {key} --direction 0"
        ))?;
    }
    Ok((daemon, holder, readers))
}

fn inner(id: u8) -> String {
    format!("10.8.0.{}", 2 + id)
}

fn resident(process: &Process) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kibibytes.context("no VmRSS")?.parse::<u64>()? << 10)
}

/// A line `counts: FIRST SECOND THIRD` for each peer.
fn counts(text: &str) -> Option<Vec<[u64; 3]>> {
    let lines = text.lines().filter_map(|line| line.split_once("counts: "));
    lines
        .map(|(_, line)| {
            let mut words = line.split(' ').map_while(|word| word.parse().ok());
            Some([words.next()?, words.next()?, words.next()?])
        })
        .collect()
}

/// The processes: `feed SECONDS EACH_PER_SECOND ADDRESSES...` and `read ADDRESS PEERS BEFORE STUCK AFTER`.
pub(crate) fn program(words: &[&str]) -> Result<()> {
    match *words {
        ["feed", seconds, rate, ref addresses @ ..] => {
            feed(seconds.parse()?, rate.parse()?, addresses)
        }
        ["read", address, peers, before, stuck, after] => {
            let phases = [before.parse()?, stuck.parse()?, after.parse()?];
            read(address, peers.parse()?, phases)
        }
        _ => anyhow::bail!("no such task: {words:?}"),
    }
}

/// Sends datagrams to all addresses in turn, `rate` a second.
fn feed(seconds: u64, rate: u64, addresses: &[&str]) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let payload = [0x55; PAYLOAD];
    let (begin, end) = (Instant::now(), Duration::from_secs(seconds));
    let mut rounds = 0;
    while begin.elapsed() < end {
        let due = begin.elapsed().as_millis() as u64 * rate / 1000;
        while rounds < due {
            for address in addresses {
                // A datagram is lost if the device's queue is full, as with any sender.
                let _ = socket.send_to(&payload, (*address, 7));
            }
            rounds += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A stream, and the read position within a packet.
struct Reader {
    stream: TcpStream,
    /// Bytes of an incomplete packet.
    begun: Vec<u8>,
    packets: [u64; 3],
}

/// Reads all streams, in the second phase all but the first; then prints each stream's packets per phase.
fn read(address: &str, peers: usize, phases: [u64; 3]) -> Result<()> {
    let mut readers = Vec::new();
    for _ in 0..peers {
        let stream = TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        readers.push(Reader {
            stream,
            begun: Vec::new(),
            packets: [0; 3],
        });
    }
    let mut buffer = vec![0; 256 << 10];
    let [before, stuck, after] = phases.map(Duration::from_secs);
    let mut begin: Option<Instant> = None;
    let waiting = Instant::now();
    loop {
        let at = begin.map(|begin| begin.elapsed()).unwrap_or_default();
        let phase = match at {
            _ if at < before => 0,
            _ if at < before + stuck => 1,
            _ if at < before + stuck + after => 2,
            _ => break,
        };
        ensure!(
            begin.is_some() || waiting.elapsed() < Duration::from_secs(60),
            "nothing came"
        );
        let read = if phase == 1 { &readers[1..] } else { &readers };
        let mut set: Vec<_> = read
            .iter()
            .map(|reader| PollFd::new(&reader.stream, PollFlags::IN))
            .collect();
        let _ = poll(
            &mut set,
            Some(&Timespec::try_from(Duration::from_millis(10))?),
        );
        let from = usize::from(phase == 1);
        for (id, reader) in readers.iter_mut().enumerate().skip(from) {
            if reader.take(id, phase, &mut buffer)? {
                begin.get_or_insert_with(Instant::now);
            }
        }
    }
    for reader in &readers {
        let [first, second, third] = reader.packets;
        println!("counts: {first} {second} {third}");
    }
    Ok(())
}

impl Reader {
    /// Parses new bytes; fails if they are not packet after packet.
    fn take(&mut self, id: usize, phase: usize, buffer: &mut [u8]) -> Result<bool> {
        let len = match self.stream.read(buffer) {
            Ok(0) => anyhow::bail!("stream {id} ended"),
            Ok(len) => len,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context(format!("stream {id}")),
        };
        self.begun.extend_from_slice(&buffer[..len]);
        let mut packets = self.begun.chunks_exact(2 + PACKET);
        for packet in &mut packets {
            let length = usize::from(u16::from_be_bytes([packet[0], packet[1]]));
            let id = u8::try_from(id)?;
            ensure!(
                length == PACKET && packet[2..6] == [OPCODE, 0, 0, id],
                "stream {id}: a packet begins with {:?}",
                &packet[..6]
            );
            self.packets[phase] += 1;
        }
        self.begun = packets.remainder().to_vec();
        Ok(true)
    }
}
