//! The processes at both ends: all peers in one, and what the server's host sends to them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use udco_sys::epoll::{Events, Interest, Poller};
use udco_sys::udp::{Inbox, Message, Outbox, UdpSocket};

use super::plan::PORT;
use super::sender::{PREFIX, Sender};
use super::{Load, Peers};
use crate::measure::{RoundTrips, is_readable};
use crate::scenario::Variant;

/// Datagrams per call.
const BATCH: usize = 64;

/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(1);

/// After this long without a packet, nothing is on its way any more.
const SILENCE: Duration = Duration::from_millis(100);

/// An order to the process that is all peers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// These send packets in turns: how many the kernel has taken.
    Send(Peers, Load),
    /// All peers discard what arrives: for this many milliseconds, and then until nothing more comes.
    Discard(u64),
    /// These send this many echo requests in turns, while others may send a load: [`RoundTrips`].
    Echo(Peers, u32, Option<(Peers, Load)>),
}

/// The server's host sends packets to the peers in turns.
pub(crate) fn send_down(variant: Variant, peers: Peers, load: Load) -> Result<u64> {
    together(peers, load, |share| send_down_alone(variant, share, load))
}

/// Several threads send to or from these peers, each a share of them; with few cores it is one thread, which leaves the
/// other cores to the engine, and so it is with a rate, which one thread keeps.
fn together(peers: Peers, load: Load, send: impl Fn(Peers) -> Result<u64> + Sync) -> Result<u64> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let most = load.rate.map_or(u16::try_from(cores / 2)?, |_| 1);
    let shares = peers.shares(most);
    let send = &send;
    thread::scope(|scope| {
        let threads: Vec<_> = shares
            .map(|share| scope.spawn(move || send(share)))
            .collect();
        let sent = threads.into_iter().map(|thread| {
            let sent = thread.join();
            sent.map_err(|_| anyhow!("a thread panicked"))?
        });
        sent.sum()
    })
}

fn send_down_alone(variant: Variant, peers: Peers, load: Load) -> Result<u64> {
    let socket = bind(variant, 0)?;
    let payload = usize::try_from(load.size)?.saturating_sub(variant.headers());
    let arena = vec![0x55; payload];
    let mut outbox = Outbox::new(BATCH);
    let (mut turns, mut sent, began) = (load.turns(peers.ids()), 0, Instant::now());
    while began.elapsed() < load.duration() {
        outbox.clear();
        for id in turns.by_ref().take(load.burst(BATCH)) {
            let _ = outbox.push(Message {
                range: 0..payload,
                destination: SocketAddr::new(variant.vpn(id), 9),
                local: None,
                segment: None,
                traffic_class: 0,
            });
        }
        sent += outbox.send(&socket, &arena).sent as u64;
        load.keep_rate(began, sent);
    }
    Ok(sent)
}

/// Is all peers, and does what the lines of the standard input order; the first line printed says that it is ready.
pub(crate) fn obey(variant: Variant, peers: u16) -> Result<()> {
    let generator = Generator::new(variant, peers)?;
    print(&())?;
    for line in io::stdin().lines() {
        match serde_json::from_str(&line?)? {
            Order::Send(peers, load) => print(&generator.send(peers, load, &false.into())?),
            Order::Discard(time) => print(&generator.discard(Duration::from_millis(time))?),
            Order::Echo(peers, requests, None) => print(&generator.echo(peers, requests)?),
            Order::Echo(peers, requests, Some(others)) => {
                print(&generator.echo_beside(others, peers, requests)?)
            }
        }?;
    }
    Ok(())
}

fn print(answer: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(answer)?);
    Ok(())
}

/// All peers.
struct Generator {
    variant: Variant,
    /// From id 1 on.
    senders: Vec<Sender>,
    outside: Outside,
}

enum Outside {
    /// The socket of all peers but the last, and that of the last.
    Datagrams([UdpSocket; 2]),
    /// Each peer's connection.
    Streams(Vec<TcpStream>),
}

impl Generator {
    fn new(variant: Variant, peers: u16) -> Result<Self> {
        let outside = if variant.tcp {
            Outside::Streams(connect(variant, peers)?)
        } else {
            Outside::Datagrams([bind(variant, PORT)?, bind(variant, PORT + 1)?])
        };
        let senders = (1..=peers).map(|id| Sender::new(variant, id));
        Ok(Self {
            variant,
            senders: senders.collect::<Result<_>>()?,
            outside,
        })
    }

    fn senders(&self, peers: Peers) -> impl Iterator<Item = &Sender> + Clone {
        let first = usize::from(peers.first) - 1;
        self.senders.iter().skip(first).take(peers.count.into())
    }

    /// Sends until the time is over, or another thread says so.
    fn send(&self, peers: Peers, load: Load, stop: &AtomicBool) -> Result<u64> {
        together(peers, load, |share| self.send_alone(share, load, stop))
    }

    fn send_alone(&self, peers: Peers, load: Load, stop: &AtomicBool) -> Result<u64> {
        let began = Instant::now();
        let goes_on = || began.elapsed() < load.duration() && !stop.load(Ordering::Relaxed);
        let length = usize::from(u16::try_from(load.size)?).max(self.variant.headers());
        let record = self.senders(peers).next().context("no peer")?.overhead() + length;
        let mut sent = 0;
        match &self.outside {
            Outside::Datagrams(sockets) => {
                let is_last = usize::from(peers.first) == self.senders.len();
                let mut arena = vec![0; record * BATCH];
                let mut outbox = Outbox::new(BATCH);
                let mut turns = load.turns(self.senders(peers));
                while goes_on() {
                    outbox.clear();
                    for (slot, sender) in (0..load.burst(BATCH)).zip(turns.by_ref()) {
                        let range = slot * record..(slot + 1) * record;
                        sender.seal_datagram(&mut arena[range.clone()])?;
                        let _ = outbox.push(sender.message(range));
                    }
                    sent += outbox.send(&sockets[usize::from(is_last)], &arena).sent as u64;
                    load.keep_rate(began, sent);
                }
            }
            Outside::Streams(streams) => {
                let mut row = vec![0; (PREFIX + record) * usize::try_from(load.row)?];
                let mut turns = self.senders(peers).cycle();
                while goes_on() {
                    let sender = turns.next().context("no peer")?;
                    for slot in row.chunks_exact_mut(PREFIX + record) {
                        sender.seal_datagram(Sender::frame(slot)?)?;
                    }
                    (&streams[sender.number()]).write_all(&row)?;
                    sent += u64::from(load.row);
                    load.keep_rate(began, sent);
                }
            }
        }
        Ok(sent)
    }

    fn discard(&self, time: Duration) -> Result<()> {
        match &self.outside {
            // What does not fit the sockets' buffers is discarded by the kernel.
            Outside::Datagrams(sockets) => {
                thread::sleep(time);
                let mut inbox = Inbox::new(BATCH, 2048);
                for socket in sockets {
                    while inbox.receive(socket)? > 0 {}
                }
            }
            Outside::Streams(streams) => {
                let poller = Poller::new()?;
                for (number, stream) in (0..).zip(streams) {
                    poller.add(stream, number, Interest::READ)?;
                }
                let mut events = Events::with_capacity(BATCH);
                let (mut bytes, began) = (vec![0; 256 << 10], Instant::now());
                while poller.wait(&mut events, Some(SILENCE))? > 0 || began.elapsed() < time {
                    for event in events.iter() {
                        let mut stream = &streams[usize::try_from(event.token)?];
                        ensure!(stream.read(&mut bytes)? > 0, "a stream has ended");
                    }
                }
            }
        }
        Ok(())
    }

    fn echo_beside(
        &self,
        others: (Peers, Load),
        peers: Peers,
        requests: u32,
    ) -> Result<RoundTrips> {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let others = scope.spawn(|| self.send(others.0, others.1, &stop));
            let round_trips = self.echo(peers, requests);
            stop.store(true, Ordering::Relaxed);
            others.join().map_err(|_| anyhow!("a thread panicked"))??;
            round_trips
        })
    }

    /// Each request is sent when the one before is answered or lost.
    fn echo(&self, peers: Peers, requests: u32) -> Result<RoundTrips> {
        let mut inbox = Inbox::new(BATCH, 2048);
        let (mut times, mut lost) = (Vec::new(), 0);
        for (number, sender) in (0..requests).zip(self.senders(peers).cycle()) {
            let sequence = (number % 0xFFFF) as u16;
            let mut framed = vec![0; PREFIX + sender.overhead() + self.variant.headers()];
            let record = Sender::frame(&mut framed)?;
            sender.seal_request(record, sequence)?;
            let asked = Instant::now();
            let is_answered = match &self.outside {
                Outside::Datagrams([socket, _]) => {
                    let mut outbox = Outbox::new(1);
                    let _ = outbox.push(sender.message(0..record.len()));
                    outbox.send(socket, record);
                    receive(sender, socket, &mut inbox, sequence, asked)?
                }
                Outside::Streams(streams) => {
                    let mut stream = &streams[sender.number()];
                    stream.write_all(&framed)?;
                    read(sender, stream, sequence)?
                }
            };
            match is_answered {
                true => times.push(asked.elapsed().as_secs_f64() * 1e6),
                false => lost += 1,
            }
            thread::sleep(PAUSE);
        }
        RoundTrips::of(times, lost)
    }
}

/// Whether the reply with this sequence number arrives; keepalives and late replies are passed over.
fn receive(
    sender: &Sender,
    socket: &UdpSocket,
    inbox: &mut Inbox,
    sequence: u16,
    asked: Instant,
) -> Result<bool> {
    while let Some(left) = PATIENCE.checked_sub(asked.elapsed()) {
        if !is_readable(socket, left)? {
            break;
        }
        for index in 0..inbox.receive(socket)? {
            if let Some(datagram) = inbox.datagram(index)
                && sender.reply(datagram.bytes) == Some(sequence)
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The same of a stream.
fn read(sender: &Sender, mut stream: &TcpStream, sequence: u16) -> Result<bool> {
    loop {
        let mut prefix = [0; PREFIX];
        match stream.read_exact(&mut prefix) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            other => other?,
        }
        let mut packet = vec![0; u16::from_be_bytes(prefix).into()];
        stream.read_exact(&mut packet)?;
        if sender.reply(&mut packet) == Some(sequence) {
            return Ok(true);
        }
    }
}

fn bind(variant: Variant, port: u16) -> Result<UdpSocket> {
    let socket = net::UdpSocket::bind((variant.any(), port))?;
    Ok(UdpSocket::adopt(socket.into())?)
}

/// The peers' connections, in the order in which the server is to take them.
fn connect(variant: Variant, peers: u16) -> Result<Vec<TcpStream>> {
    let connect = |number: u16| -> Result<TcpStream> {
        // Those that the server's queue has no room for come later.
        if number.is_multiple_of(64) {
            thread::sleep(Duration::from_millis(10));
        }
        let stream = TcpStream::connect((variant.server_outer(), PORT))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    (0..peers).map(connect).collect()
}
