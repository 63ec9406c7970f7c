//! A client that says whatever comes to it: valid, mutated and out of order, with descriptors of all kinds.
//!
//! Its seed and the engine's answers determine what it does.

mod replies;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use udco_ipc::capture::Wanted;
use udco_ipc::{Partial, ToEngine};
use udco_sys::seqpacket::Connection;

use super::client::Client;
use super::descriptors::{Descriptors, tamper};
use super::messages::{about, attribute, generic, key_new, link, message, peer_new};
use super::scene::Scene;
use crate::dice::Dice;

/// How many fuzzing clients run at a time.
const CLIENTS: u64 = 3;

/// How long to wait for an answer: many messages have none.
const SHORT: Duration = Duration::from_millis(3);

/// Runs clients with this seed, and those that follow it, against an engine for this long; returns a summary. `None`
/// where there is no second user.
///
/// # Errors
/// Names the seed, and what failed.
pub fn fuzz(program: &str, seed: u64, time: Duration) -> Result<Option<String>> {
    let Some(mut scene) = Scene::new()? else {
        return Ok(None);
    };
    let seconds = time.as_secs().to_string();
    let hostile = (seed..seed + CLIENTS).map(|seed| {
        let seed = seed.to_string();
        scene.start(program, &["fuzz", scene.socket(), &seed, &seconds])
    });
    let hostile = hostile.collect::<Result<_>>()?;
    let (asked, most) = scene.require_service(hostile, time).with_context(|| {
        format!("again: cargo xtask fuzz client --seed {seed} --seconds {seconds}")
    })?;
    scene.discard_logs();
    let lines = scene.log_lines();
    Ok(Some(format!(
        "seed {seed}, {CLIENTS} clients for {seconds} s: root asked {asked} times; at most {most} KiB; {lines} lines in the log"
    )))
}

/// Runs one client.
pub(crate) fn run(socket: &Path, seed: u64, seconds: u64) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut fuzzer = Fuzzer {
        dice: Dice::new(seed, 0),
        descriptors: Descriptors::open(socket),
        clients: Vec::new(),
        channels: Vec::new(),
        devices: Vec::new(),
        shared: Vec::new(),
        steps: 0,
        reached: [0; 4],
        gave_device: false,
        is_calm: false,
    };
    while Instant::now() < end {
        fuzzer.steps += 1;
        // The engine closes a connection on malformed messages.
        let _ = fuzzer.step(socket);
    }
    let [greetings, channels, devices, sockets] = fuzzer.reached;
    println!(
        "seed {seed}: {} steps, {greetings} greetings, {channels} channels, {devices} devices, {sockets} sockets",
        fuzzer.steps
    );
    // A client that makes no progress tests nothing.
    ensure!(
        seconds < 10 || fuzzer.reached.iter().all(|count| *count > 0),
        "seed {seed}: it got nowhere"
    );
    Ok(())
}

struct Fuzzer {
    dice: Dice,
    descriptors: Descriptors,
    clients: Vec<Client>,
    /// Numbers of channels, and the client's ends.
    channels: Vec<(u32, Connection)>,
    /// Indices of the devices that were handed over last.
    devices: Vec<u32>,
    /// Copies of descriptors that the engine has taken.
    shared: Vec<OwnedFd>,
    steps: u64,
    /// How often it got as far as a greeting, a channel, a device and a socket that the engine took.
    reached: [u64; 4],
    /// The engine has just got a device.
    gave_device: bool,
    /// It behaves well, for a while.
    is_calm: bool,
}

impl Fuzzer {
    fn step(&mut self, socket: &Path) -> io::Result<()> {
        match self.dice.below(40) {
            0 => self.descriptors = Descriptors::open(socket),
            1 => {
                self.clients.clear();
                self.channels.clear();
                self.shared.clear();
            }
            2 => self.descriptors.tamper(&mut self.dice),
            3 => {
                for fd in &self.shared {
                    tamper(fd, &mut self.dice);
                }
            }
            // Silent ones take places.
            4 => self.clients.push(Client::connect(socket)?),
            5..9 => {
                self.is_calm = true;
                let client = self.begin_well(socket);
                self.is_calm = false;
                self.clients.push(client?);
            }
            _ => {}
        }
        if self.clients.is_empty() || self.dice.below(50) == 0 {
            self.clients.push(Client::greeted(socket)?);
            self.reached[0] += 1;
        }
        if self.clients.len() > 12 {
            self.clients.remove(0);
        }
        let last = self.clients.len() - 1;
        let at = match self.dice.below(4) {
            0 => self.dice.below(self.clients.len()),
            _ => last,
        };
        let mut client = self.clients.swap_remove(at);
        let sent = self.send(&mut client);
        let received = sent.and_then(|()| self.receive(&mut client));
        if received.is_ok() {
            self.clients.push(client);
        }
        received
    }

    /// A device with a peer and a key, as OpenVPN would make them.
    fn begin_well(&mut self, socket: &Path) -> io::Result<Client> {
        let mut client = Client::greeted(socket)?;
        self.reached[0] += 1;
        let channel = client.open_channel()?;
        self.reached[1] += 1;
        let number = channel.0;
        self.channels.push(channel);
        let name = format!("well{}\0", self.steps);
        let data = attribute(2 | 0x8000, &attribute(1, &[0]));
        let info = attribute(18 | 0x8000, &[attribute(1, b"ovpn\0"), data].concat());
        let body = [&[0; 16][..], &attribute(3, name.as_bytes()), &info].concat();
        let route = ToEngine::LinkRequest {
            port: 7,
            admin: true,
            ext_ack: true,
            cap_ack: true,
            datagram: &message(16, 0x605, &body),
        };
        client.send(&route, &[])?;
        self.receive(&mut client)?;
        let ifindex = self.devices.last().copied().unwrap_or(0);
        for request in [peer_new(&mut self.dice), key_new(&mut self.dice)] {
            let (command, nested) = request;
            let request = ToEngine::Request {
                channel: number,
                port: 7,
                room: 0,
                admin: true,
                datagram: &about(ifindex, 0x7d0, (command, 5), nested),
            };
            client.send(&request, &[])?;
            self.receive(&mut client)?;
        }
        Ok(client)
    }

    /// Says one thing, or floods.
    fn send(&mut self, client: &mut Client) -> io::Result<()> {
        let dice = &mut self.dice;
        let channel = match self.channels.last() {
            Some((channel, _)) if dice.below(8) > 0 => *channel,
            _ => dice.below(100) as u32,
        };
        let admin = dice.below(8) > 0;
        match dice.below(60) {
            0 => {
                let bytes = [dice.fewer_bytes(200), vec![0]].concat();
                client.send_bytes(&bytes, &[])
            }
            1 => {
                // A valid kind, with anything inside and beside it.
                let mut bytes = ((1 + dice.below(14)) as u16).to_ne_bytes().to_vec();
                bytes.extend_from_slice(&[0; 2]);
                bytes.extend_from_slice(&client.seq.to_ne_bytes());
                bytes.extend(dice.fewer_bytes(300));
                let fds = self.descriptors.some(dice, 5);
                client.send_bytes(&bytes, &borrow(&fds))
            }
            2 => {
                let fds = self.descriptors.some(dice, 2);
                client.send(&ToEngine::OpenChannel, &borrow(&fds))
            }
            3..7 => {
                let opened = client.open_channel()?;
                self.reached[1] += 1;
                self.channels.push(opened);
                if self.channels.len() > 16 {
                    self.channels.remove(0);
                }
                Ok(())
            }
            7 => {
                let (name, value) = (dice.below(12) as i32, (0x7d0 + dice.below(6)) as i32);
                let option = ToEngine::SetOption {
                    channel,
                    name,
                    value,
                };
                client.send(&option, &[])
            }
            8..40 => {
                let datagram = &generic(dice, &self.devices);
                let request = ToEngine::Request {
                    channel,
                    port: 7,
                    room: dice.below(70_000) as u32,
                    admin,
                    datagram,
                };
                client.send(&request, &[])
            }
            40..50 => {
                let datagram = &link(dice);
                let route = ToEngine::LinkRequest {
                    port: 7,
                    admin,
                    ext_ack: true,
                    cap_ack: dice.below(2) == 0,
                    datagram,
                };
                client.send(&route, &[])
            }
            50 => {
                let fds = self.descriptors.some(dice, 2);
                let capture = ToEngine::Capture {
                    ifindex: dice.below(9) as u32,
                    peer: (dice.below(2) == 0).then(|| dice.next() as u32),
                    wanted: Wanted {
                        inner: true,
                        outer: true,
                        drops: true,
                    },
                    snap: dice.next() as u32,
                };
                let request = match dice.below(2) {
                    0 => ToEngine::Show,
                    _ => capture,
                };
                client.send(&request, &borrow(&fds))
            }
            51 => {
                let fd = dice.below(20) as i32;
                client.send(&ToEngine::SocketClosed { fd }, &[])
            }
            52 | 53 => {
                // Nothing reads the results.
                let datagram = &dice.fewer_bytes(2_000);
                for _ in 0..dice.below(500) {
                    match dice.below(4) {
                        0 => client.send(&ToEngine::OwnTun, &[])?,
                        3 => client.send(
                            &ToEngine::FindDevice {
                                netns: dice.below(2) as u64,
                                ifindex: dice.below(9) as u32,
                                name: datagram,
                            },
                            &[],
                        )?,
                        1 => client.send(&ToEngine::Return { channel, datagram }, &[])?,
                        _ => client.send(
                            &ToEngine::Shown {
                                netns: 0,
                                message: datagram,
                            },
                            &[],
                        )?,
                    }
                }
                Ok(())
            }
            _ => {
                let fds = self.descriptors.some(dice, 3);
                let reply = ToEngine::Socket {
                    errno: 0,
                    partial: Partial::Packet(dice.next() as u16),
                };
                client.send(&reply, &borrow(&fds))
            }
        }
    }
}

fn borrow<'a>(fds: &[&'a OwnedFd]) -> Vec<BorrowedFd<'a>> {
    fds.iter().copied().map(AsFd::as_fd).collect()
}
