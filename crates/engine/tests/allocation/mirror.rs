//! A remote peer that sends every inner packet back with its addresses exchanged: packets that this namespace sends to
//! the peer's VPN address return as if the peer had sent them, with checksums still valid. So a TCP connection to one's
//! own listener passes the engine twice in both directions.

use std::net::{SocketAddr, UdpSocket as Std};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use udco_sys::udp::{Inbox, Message, Outbox, UdpSocket};

use crate::forger::{Direction, OVERHEAD, Secret};

/// Datagrams per segmented message: fewer than the kernel's limit.
const RUN: usize = 40;

/// Runs in a batch.
const BATCH: usize = 64;

pub(crate) struct Mirror {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    /// The remote end, with its first key, of a peer of the engine at this address.
    pub(crate) fn start(engine: SocketAddr, peer: u32) -> Self {
        let socket = UdpSocket::adopt(Std::bind("127.0.0.1:0").unwrap().into()).unwrap();
        socket.enable_gro().unwrap();
        let _ = socket.raise_receive_buffer(4 << 20);
        let address = socket.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let (mut inbox, mut glass) = (Inbox::new(16, 65_535), Glass::new(engine, peer));
            while !seen.load(Ordering::Relaxed) {
                let timeout = Timespec {
                    tv_sec: 0,
                    tv_nsec: 100_000_000,
                };
                let mut set = [PollFd::new(&socket, PollFlags::IN)];
                let _ = poll(&mut set, Some(&timeout));
                for index in 0..inbox.receive(&socket).unwrap_or(0) {
                    let datagram = inbox.datagram(index).unwrap();
                    datagram
                        .into_segments()
                        .for_each(|record| glass.reflect(&socket, record));
                }
                glass.send(&socket);
            }
        });
        Self {
            address,
            is_over,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The buffers between receiving and sending.
struct Glass {
    engine: SocketAddr,
    out: Key,
    back: Key,
    peer: u32,
    packet_id: u32,
    outbox: Outbox,
    bytes: Vec<u8>,
    /// Start and record length of the current run.
    run: (usize, usize),
}

struct Key {
    cipher: LessSafeKey,
    tail: [u8; 8],
}

impl Key {
    fn of(direction: Direction, peer: u32) -> Self {
        let Secret { key, tail } = Secret::of(direction, peer, 0);
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        Self { cipher, tail }
    }

    fn nonce(&self, packet_id: &[u8]) -> Nonce {
        let nonce = [packet_id, &self.tail].concat();
        Nonce::try_assume_unique_for_key(&nonce).unwrap()
    }
}

impl Glass {
    fn new(engine: SocketAddr, peer: u32) -> Self {
        Self {
            engine,
            out: Key::of(Direction::Out, peer),
            back: Key::of(Direction::In, peer),
            peer,
            packet_id: 0,
            outbox: Outbox::new(BATCH),
            bytes: Vec::new(),
            run: (0, 0),
        }
    }

    fn reflect(&mut self, socket: &UdpSocket, record: &mut [u8]) {
        let (header, sealed) = record.split_at_mut(OVERHEAD);
        let (aad, tag) = header.split_at(8);
        let nonce = self.out.nonce(&aad[4..]);
        let opened = self
            .out
            .cipher
            .open_in_place_separate_tag(nonce, Aad::from(aad), tag, sealed);
        opened.expect("an authentic record");
        let (source, destination) = if sealed[0] >> 4 == 4 {
            (12..16, 16)
        } else {
            (8..24, 24)
        };
        let old = sealed[source.clone()].to_vec();
        sealed.copy_within(destination..destination + old.len(), source.start);
        sealed[destination..destination + old.len()].copy_from_slice(&old);

        self.packet_id += 1;
        let word = 0x4800_0000 | self.peer;
        let aad = [word.to_be_bytes(), self.packet_id.to_be_bytes()].concat();
        let nonce = self.back.nonce(&aad[4..]);
        let tag = self
            .back
            .cipher
            .seal_in_place_separate_tag(nonce, Aad::from(&aad), sealed)
            .unwrap();
        self.append(socket, &[&aad, tag.as_ref(), sealed].concat());
    }

    fn append(&mut self, socket: &UdpSocket, record: &[u8]) {
        let (begin, len) = self.run;
        let is_full = self.bytes.len() - begin >= RUN * len;
        if len != record.len() || is_full {
            self.end_run(socket);
            self.run = (self.bytes.len(), record.len());
        }
        self.bytes.extend_from_slice(record);
    }

    fn end_run(&mut self, socket: &UdpSocket) {
        let (begin, len) = self.run;
        let range = begin..self.bytes.len();
        if range.is_empty() {
            return;
        }
        let is_pushed = self.outbox.push(Message {
            segment: (range.len() > len).then_some(len as u16),
            traffic_class: 0,
            range,
            destination: self.engine,
            local: None,
        });
        assert!(is_pushed);
        self.run = (self.bytes.len(), 0);
        if self.bytes.len() > BATCH * 1000 || self.outbox.len() >= BATCH {
            self.empty(socket);
        }
    }

    fn send(&mut self, socket: &UdpSocket) {
        self.end_run(socket);
        self.empty(socket);
    }

    fn empty(&mut self, socket: &UdpSocket) {
        // Records that do not fit into the engine's socket buffer are lost, as on any network.
        self.outbox.send(socket, &self.bytes);
        self.outbox.clear();
        self.bytes.clear();
        self.run = (0, 0);
    }
}
