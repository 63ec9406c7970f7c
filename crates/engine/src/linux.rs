//! The I/O seam on Linux: thin calls into `udco_sys`, which the compiler inlines.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use udco_sys::seqpacket::Connection;
use udco_sys::udp::{Datagram, Message, Outcome, Sent, UdpSocket};
use udco_sys::{clock, epoll, tcp, tun, udp, wake};

use crate::io::{
    ByteStream, Datagrams, Event, Events, Inbox, Interest, Io, Moment, Outbox, Poller, Relay,
    Source, Tun, Waker,
};

/// TUN queues, sockets and epoll.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Linux;

impl Io for Linux {
    type Handle<'a> = BorrowedFd<'a>;
    type Tun = tun::Queue;
    type Datagrams = UdpSocket;
    type Stream = tcp::Stream;
    type Relay = Connection;
    type Waker = wake::Waker;
    type Poller = epoll::Poller;
}

/// The time, suspend included.
pub(crate) fn now() -> Moment {
    Moment::from_nanos(clock::nanoseconds())
}

impl<S: AsFd> Source<Linux> for S {
    fn handle(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Tun for tun::Queue {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.read(into)
    }

    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_vectored(pieces)
    }

    fn is_gone(error: &io::Error) -> bool {
        tun::is_gone(error)
    }

    fn current_name(&self) -> io::Result<String> {
        self.current_name()
    }

    fn set_carrier(&self, carrier: bool) -> io::Result<()> {
        self.set_carrier(carrier)
    }

    fn set_persist(&self, persist: bool) -> io::Result<()> {
        self.set_persist(persist)
    }
}

impl Datagrams for UdpSocket {
    type Inbox = udp::Inbox;
    type Outbox = udp::Outbox;

    fn drain_errors(&self) {
        self.drain_errors();
    }
}

impl Inbox<UdpSocket> for udp::Inbox {
    fn new(slots: usize, slot_len: usize) -> Self {
        Self::new(slots, slot_len)
    }

    fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.receive(socket)
    }

    fn datagram(&mut self, index: usize) -> Option<Datagram<'_>> {
        self.datagram(index)
    }

    fn offset(&self, index: usize) -> usize {
        self.offset(index)
    }

    fn buffer(&self) -> &[u8] {
        self.buffer()
    }
}

impl Outbox<UdpSocket> for udp::Outbox {
    fn new(capacity: usize) -> Self {
        Self::new(capacity)
    }

    fn push(&mut self, message: Message) -> bool {
        self.push(message)
    }

    fn extend(&mut self, range: Range<usize>) -> bool {
        self.extend(range)
    }

    fn pieces(&self, index: usize) -> impl Iterator<Item = Range<usize>> + Clone + '_ {
        self.pieces(index)
    }

    fn is_full(&self) -> bool {
        self.is_full()
    }

    fn messages(&self) -> &[Message] {
        self.messages()
    }

    fn outcomes(&self) -> &[Outcome] {
        self.outcomes()
    }

    fn send(&mut self, socket: &UdpSocket, arena: &[u8]) -> Sent {
        self.send(socket, arena)
    }

    fn send_singly(&mut self, socket: &UdpSocket, arena: &[u8], index: usize) -> usize {
        self.send_singly(socket, arena, index)
    }

    fn clear(&mut self) {
        self.clear();
    }
}

impl ByteStream for tcp::Stream {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        self.receive(into)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes)
    }

    fn has_ended(error: &io::Error) -> bool {
        tcp::has_ended(error)
    }

    fn clear_error(&self) {
        self.forget_error();
    }

    fn limit_unsent(&self, bytes: u32) {
        // Without it only more waits in the socket.
        let _ = self.set_unsent_limit(bytes);
    }

    fn disable_nagle(&self) {
        // If that fails, packets only move slower.
        let _ = self.set_nodelay(true);
    }

    fn clear_linger(&self) {
        self.forget_linger();
    }
}

impl Relay for Connection {
    fn send(&self, message: &[u8]) -> io::Result<()> {
        self.send(message, &[])
    }

    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        self.receive(into).map(|received| received.len)
    }

    fn finish(&self) {
        let _ = self.finish();
    }
}

impl Waker for wake::Waker {
    fn new() -> io::Result<Self> {
        Self::new()
    }

    fn wake(&self) {
        self.wake();
    }

    fn clear(&self) -> bool {
        self.clear()
    }
}

impl Poller<Linux> for epoll::Poller {
    type Events = epoll::Events;

    fn new() -> io::Result<Self> {
        Self::new()
    }

    fn set(&self, source: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.set(source, token, interest)
    }

    fn modify(&self, source: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.modify(source, token, interest)
    }

    fn remove(&self, source: BorrowedFd<'_>) -> io::Result<()> {
        self.remove(source)
    }

    fn wait(&self, events: &mut epoll::Events, timeout: Option<Duration>) -> io::Result<usize> {
        self.wait(events, timeout)
    }
}

impl Events for epoll::Events {
    fn with_capacity(capacity: usize) -> Self {
        Self::with_capacity(capacity)
    }

    fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.iter()
    }
}
