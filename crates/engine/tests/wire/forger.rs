//! The remote peer: a plain UDP socket that makes and opens records itself (dco-behaviour 1.1 to 1.3), so that it can
//! send valid and invalid ones, and counts what it sends and receives.

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Bytes before the ciphertext.
pub(crate) const OVERHEAD: usize = 24;

/// The peer id "undefined": the engine finds the peer by its address.
pub(crate) const UNDEFINED: u32 = 0xff_ffff;

/// dco-behaviour 1.3.
pub(crate) const KEEPALIVE: [u8; 16] = [
    0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb, 0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48,
];

/// How long to wait for a record.
const SOON: Duration = Duration::from_secs(5);

/// A key of one direction: AES-256 and the nonce's tail. Each peer, key id and direction has its own.
pub(crate) struct Secret {
    pub(crate) key: [u8; 32],
    pub(crate) tail: [u8; 8],
}

impl Secret {
    pub(crate) fn of(direction: Direction, peer: u32, key_id: u8) -> Self {
        let [.., high, low] = peer.to_be_bytes();
        let mut key = [direction as u8; 32];
        key[..3].copy_from_slice(&[high, low, key_id]);
        let tail = [key_id, low, 3, 4, 5, 6, 7, direction as u8];
        Self { key, tail }
    }

    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.key).unwrap())
    }

    fn nonce(&self, packet_id: u32) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&packet_id.to_be_bytes());
        nonce[4..].copy_from_slice(&self.tail);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// From the engine's point of view.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    Out = 0x77,
    In = 0x99,
}

/// The fields of a record, and its payload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) key_id: u8,
    pub(crate) peer: u32,
    pub(crate) packet_id: u32,
    pub(crate) payload: Vec<u8>,
}

/// Datagrams and their bytes, from the opcode to the end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

pub(crate) struct Forger {
    socket: UdpSocket,
    engine: SocketAddr,
    /// The peer whose keys it has.
    peer: u32,
    /// The key id that it seals with.
    key_id: u8,
    next_packet_id: Cell<u32>,
    sent: Cell<Tally>,
    received: Cell<Tally>,
}

impl Forger {
    /// The remote end of a peer of the engine at this address.
    pub(crate) fn new(engine: SocketAddr, peer: u32) -> Self {
        Self::with_key(engine, peer, 0)
    }

    pub(crate) fn with_key(engine: SocketAddr, peer: u32, key_id: u8) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self {
            socket,
            engine,
            peer,
            key_id,
            next_packet_id: Cell::new(1),
            sent: Cell::default(),
            received: Cell::default(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Everything sent so far.
    pub(crate) fn sent(&self) -> Tally {
        self.sent.get()
    }

    /// Everything received so far.
    pub(crate) fn received(&self) -> Tally {
        self.received.get()
    }

    /// A record with the next packet id.
    pub(crate) fn next_record(&self, payload: &[u8]) -> Vec<u8> {
        let packet_id = self.next_packet_id.get();
        self.next_packet_id.set(packet_id + 1);
        self.record(packet_id, payload)
    }

    /// A record with this packet id.
    pub(crate) fn record(&self, packet_id: u32, payload: &[u8]) -> Vec<u8> {
        self.sealed(&Record {
            key_id: self.key_id,
            peer: self.peer,
            packet_id,
            payload: payload.to_vec(),
        })
    }

    pub(crate) fn sealed(&self, record: &Record) -> Vec<u8> {
        let word = u32::from(0x48 | record.key_id) << 24 | record.peer;
        let mut bytes = word.to_be_bytes().to_vec();
        bytes.extend_from_slice(&record.packet_id.to_be_bytes());
        let secret = Secret::of(Direction::In, self.peer, record.key_id);
        let nonce = secret.nonce(record.packet_id);
        let mut payload = record.payload.clone();
        let tag = secret
            .cipher()
            .seal_in_place_separate_tag(nonce, Aad::from(&bytes[..]), &mut payload)
            .unwrap();
        bytes.extend_from_slice(tag.as_ref());
        bytes.extend_from_slice(&payload);
        bytes
    }

    /// Sends a datagram unchanged.
    pub(crate) fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.engine).unwrap();
        let mut sent = self.sent.get();
        sent.add(datagram.len());
        self.sent.set(sent);
    }

    /// Sends a packet in the next record.
    pub(crate) fn send_packet(&self, packet: &[u8]) {
        self.send(&self.next_record(packet));
    }

    /// The next record, which must be authentic.
    #[track_caller]
    pub(crate) fn receive(&self) -> Record {
        self.receive_within(SOON).expect("a record in time")
    }

    /// The next record, if one arrives in time.
    pub(crate) fn receive_within(&self, time: Duration) -> Option<Record> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut datagram = [0; 65_535];
        let (len, source) = self.socket.recv_from(&mut datagram).ok()?;
        assert_eq!(source, self.engine);
        let mut received = self.received.get();
        received.add(len);
        self.received.set(received);
        Some(self.opened(&datagram[..len]))
    }

    fn opened(&self, datagram: &[u8]) -> Record {
        let word = u32::from_be_bytes(datagram[..4].try_into().unwrap());
        assert_eq!(word >> 27, 9, "DATA_V2");
        let key_id = (word >> 24) as u8 & 7;
        let packet_id = u32::from_be_bytes(datagram[4..8].try_into().unwrap());
        let secret = Secret::of(Direction::Out, self.peer, key_id);
        // The tag precedes the ciphertext; the library expects it at the end.
        let mut sealed = [&datagram[OVERHEAD..], &datagram[8..OVERHEAD]].concat();
        let aad = Aad::from(&datagram[..8]);
        let payload = secret
            .cipher()
            .open_in_place(secret.nonce(packet_id), aad, &mut sealed)
            .expect("an authentic record");
        Record {
            key_id,
            peer: word & UNDEFINED,
            packet_id,
            payload: payload.to_vec(),
        }
    }
}
