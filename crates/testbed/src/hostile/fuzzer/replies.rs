//! What the fuzzer replies to the engine's questions.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use udco_ipc::{Alias, Partial, ToClient, ToEngine};
use udco_sys::route::Monitor;
use udco_sys::seqpacket::Connection;
use udco_sys::tun;

use super::super::client::Client;
use super::super::descriptors::tamper;
use super::super::messages::set_alias;
use super::{Fuzzer, SHORT, borrow};

impl Fuzzer {
    /// Reads what is there, and replies to the engine's questions: rightly, wrongly, late or not at all.
    pub(super) fn receive(&mut self, client: &mut Client) -> io::Result<()> {
        for _ in 0..8 {
            let limit = if self.is_calm { 30 * SHORT } else { SHORT };
            let message = match client.receive(limit) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(()),
                message => message?.to_vec(),
            };
            let Ok((seq, question)) = ToClient::decode(&message) else {
                continue;
            };
            let is_end = matches!(
                question,
                ToClient::Answer { .. } | ToClient::Done { .. } | ToClient::Pass
            );
            match question {
                ToClient::NeedTun(wanted) => {
                    let kind = if wanted.multicast { "ovpn-dco" } else { "ovpn" };
                    let alias = Alias::new(kind, wanted.nonce);
                    self.hand_over_device(client, (seq, wanted.queues), wanted.name, &alias)?;
                }
                ToClient::NeedSocket { .. } => self.hand_over_socket(client, seq)?,
                ToClient::Answer { datagram } => {
                    let errno = datagram.get(16..20).and_then(|errno| errno.first_chunk());
                    let is_taken = std::mem::take(&mut self.gave_device) && errno == Some(&[0; 4]);
                    self.reached[2] += u64::from(is_taken);
                }
                ToClient::Done {
                    replace_fd: true, ..
                } => self.reached[3] += 1,
                ToClient::NeedLink { .. } => {
                    let exists = self.dice.below(2) == 0;
                    client.send_as(seq, &ToEngine::Link { exists }, &[])?;
                }
                _ => {}
            }
            if is_end && self.is_calm {
                return Ok(());
            }
        }
        Ok(())
    }

    fn hand_over_device(
        &mut self,
        client: &Client,
        (seq, queues): (u32, u16),
        name: &[u8],
        alias: &Alias,
    ) -> io::Result<()> {
        let dice = &mut self.dice;
        let tun = |ifindex| ToEngine::Tun {
            errno: 0,
            ifindex,
            netns: 0,
            name,
        };
        if dice.below(4) == 0 && !self.is_calm {
            let fds = self.descriptors.some(dice, 17);
            return client.send_as(seq, &tun(dice.below(9) as u32), &borrow(&fds));
        }
        let made = tun::create("fuzz%d", usize::from(queues))?;
        let monitor = Monitor::open()?;
        if dice.below(4) > 0 || self.is_calm {
            monitor.send(&set_alias(made.ifindex, alias.as_bytes()))?;
        }
        let ifindex = match dice.below(8) {
            0 if !self.is_calm => made.ifindex + 1,
            _ => made.ifindex,
        };
        let mut fds: Vec<OwnedFd> = made.queues;
        fds.push(monitor.into_fd());
        let all: Vec<&OwnedFd> = fds.iter().collect();
        client.send_as(seq, &tun(ifindex), &borrow(&all))?;
        self.gave_device = true;
        // Sometimes in time for the engine to inspect it first.
        if dice.below(2) == 0 || self.is_calm {
            std::thread::sleep(20 * SHORT);
        }
        for fd in &fds {
            if dice.below(2) == 0 && !self.is_calm {
                tamper(fd, dice);
            }
        }
        self.devices.push(ifindex);
        if self.devices.len() > 8 {
            self.devices.remove(0);
        }
        // Without the engine it would stay: it becomes persistent only if the engine wants it.
        let first = fds[0].try_clone().and_then(tun::Queue::adopt);
        let _ = first.and_then(|queue| queue.set_persist(false));
        self.shared.extend(fds);
        self.shared.truncate(24);
        Ok(())
    }

    fn hand_over_socket(&mut self, client: &Client, seq: u32) -> io::Result<()> {
        let dice = &mut self.dice;
        let reply = ToEngine::Socket {
            errno: 0,
            partial: Partial::Nothing,
        };
        if dice.below(3) == 0 && !self.is_calm {
            let fds = self.descriptors.some(dice, 3);
            return client.send_as(seq, &reply, &borrow(&fds));
        }
        let socket = OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0")?);
        let (_ours, theirs) = Connection::pair()?;
        let theirs = theirs.into_fd();
        client.send_as(seq, &reply, &[socket.as_fd(), theirs.as_fd()])?;
        std::thread::sleep(SHORT);
        for fd in [socket, theirs] {
            if !self.is_calm {
                tamper(&fd, dice);
            }
            self.shared.push(fd);
        }
        Ok(())
    }
}
