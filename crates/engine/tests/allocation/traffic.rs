//! Traffic with mirrors: datagrams, single and as super-packets, and a TCP connection with each peer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket as Std};
use std::time::{Duration, Instant};

use udco_sys::udp::{Inbox, Message, Outbox, UdpSocket};

use crate::site::{HERE4, HERE6, vpn_of};

/// The listener's port, and the source port of datagrams.
const PORT: u16 = 4100;

/// Bytes that a round sends over TCP, in each direction.
const BYTES: usize = 400_000;

/// After this long without a datagram, missing ones count as lost.
const SILENCE: Duration = Duration::from_millis(30);

pub(crate) struct Traffic {
    peers: Vec<u32>,
    /// A TCP connection to each peer, both its ends.
    streams: Vec<[TcpStream; 2]>,
    sockets: [UdpSocket; 2],
    inbox: Inbox,
    outbox: Outbox,
    largest: usize,
}

impl Traffic {
    pub(crate) fn new(peers: &[u32]) -> Self {
        let listener = TcpListener::bind((HERE4, PORT)).unwrap();
        let streams = peers.iter().map(|peer| {
            let near = TcpStream::connect((vpn_of(*peer).0, PORT)).unwrap();
            let (far, _) = listener.accept().unwrap();
            [near, far]
        });
        let sockets = [
            SocketAddr::from((HERE4, PORT)),
            SocketAddr::from((HERE6, PORT)),
        ];
        let sockets = sockets.map(|address| {
            let socket = UdpSocket::adopt(Std::bind(address).unwrap().into()).unwrap();
            // So that a super-packet is read as it was merged.
            socket.enable_gro().unwrap();
            socket
        });
        Self {
            peers: peers.to_vec(),
            streams: streams.collect(),
            sockets,
            inbox: Inbox::new(64, 65_535),
            outbox: Outbox::new(64),
            largest: 0,
        }
    }

    /// The largest read of merged datagrams, in bytes.
    pub(crate) const fn largest_read(&self) -> usize {
        self.largest
    }

    /// Sends some packets of each kind to each peer and back.
    pub(crate) fn round(&mut self) {
        for index in 0..self.peers.len() {
            let (vpn4, vpn6) = vpn_of(self.peers[index]);
            for (socket, address) in [
                (0, SocketAddr::from((vpn4, PORT))),
                (1, SocketAddr::from((vpn6, PORT))),
            ] {
                self.datagrams(socket, address);
            }
            self.stream(index);
        }
    }

    /// Sends super-packets of two sizes and some single ones, and receives their reflections.
    fn datagrams(&mut self, socket: usize, destination: SocketAddr) {
        let bytes = vec![9; 40 * 1200];
        let message = |len, segment| Message {
            range: 0..len,
            destination,
            local: None,
            segment,
            traffic_class: 0,
        };
        assert!(self.outbox.push(message(40 * 1200, Some(1200))));
        assert!(self.outbox.push(message(40 * 64, Some(64))));
        for len in [1, 700, 1300] {
            assert!(self.outbox.push(message(len, None)));
        }
        let socket = &self.sockets[socket];
        self.outbox.send(socket, &bytes);
        self.outbox.clear();
        let (mut missing, mut last) = (83_usize, Instant::now());
        while missing > 0 && last.elapsed() < SILENCE {
            for index in 0..self.inbox.receive(socket).unwrap() {
                last = Instant::now();
                let datagram = self.inbox.datagram(index).unwrap();
                self.largest = self.largest.max(datagram.bytes.len());
                missing = missing.saturating_sub(datagram.into_segments().count());
            }
        }
    }

    /// Sends bytes from one end of a connection to the other, and as many back.
    fn stream(&self, index: usize) {
        let [near, far] = &self.streams[index];
        for (mut from, mut to) in [(near, far), (far, near)] {
            std::thread::scope(|scope| {
                scope.spawn(move || from.write_all(&vec![7; BYTES]).unwrap());
                let mut bytes = vec![0; BYTES];
                to.read_exact(&mut bytes).unwrap();
                assert!(bytes.iter().all(|byte| *byte == 7));
            });
        }
    }
}
