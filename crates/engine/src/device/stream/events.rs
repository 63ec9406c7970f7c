//! A stream in the hands of a worker: its entries in the worker's epoll set, and what their events bring about.

use std::io;
use std::sync::atomic::Ordering;

use crate::device::registration::Registration;
use crate::device::stream::Stream;
use crate::device::stream::writer::{Receiving, Registered, RelayEnd, Sending, Watch, Writer};
use crate::io::{ByteStream, Interest, Io, Relay, Source};
use crate::sync::lock;

/// Packets of OpenVPN taken before others get their turn.
const CONTROL_TURNS: usize = 64;

impl<I: Io> Stream<I> {
    /// Registers the stream and its relay with a worker's epoll set.
    pub(crate) fn register(&self, registration: Registration<I>) {
        let mut writer = lock(&self.writer);
        writer.watch = Watch::Active(Registered {
            registration,
            socket: None,
            relay: None,
        });
        self.watch(&mut writer);
        if self.has_failed.swap(false, Ordering::Relaxed) {
            self.fail_once(&writer);
        }
    }

    /// Removes both from the set. What OpenVPN has sent goes out as far as the socket takes it: it may have said goodbye and
    /// closed.
    pub(crate) fn deregister(&self, scratch: &mut [u8]) {
        let _ = self.take_control(scratch);
        let mut writer = lock(&self.writer);
        if let Some(registered) = writer.watch.take() {
            let _ = registered
                .registration
                .watch(self.socket.handle(), registered.socket, None);
            let relay = registered.registration.of_relay();
            let _ = relay.watch(self.relay.handle(), registered.relay, None);
        }
        if let Some(waiting) = writer.waiting.take() {
            waiting.resume();
        }
    }

    /// There may be room in the socket.
    ///
    /// # Errors
    /// If the call fails although the stream has not ended: try again after a pause.
    pub(crate) fn go_on(&self) -> io::Result<()> {
        let mut writer = lock(&self.writer);
        writer.flush(&self.socket)?;
        if writer.sending == Sending::Broken {
            self.fail_once(&writer);
        }
        if writer.is_flushed()
            && let Some(waiting) = writer.waiting.take()
        {
            waiting.resume();
        }
        self.watch(&mut writer);
        Ok(())
    }

    /// Rests the socket, or resumes it.
    pub(crate) fn rest(&self, rests: bool) {
        let mut writer = lock(&self.writer);
        writer.watch = match (writer.watch.take(), rests) {
            (Some(registered), true) => Watch::Resting(registered),
            (Some(registered), false) => Watch::Active(registered),
            (None, _) => Watch::Unregistered,
        };
        self.watch(&mut writer);
    }

    /// The socket has an error or has hung up. If its end was read already, nothing more will come.
    pub(crate) fn hang_up(&self) {
        let mut writer = lock(&self.writer);
        if writer.receiving == Receiving::Ended {
            writer.receiving = Receiving::HungUp;
            self.watch(&mut writer);
        }
    }

    /// Clears the error of a socket that may go on. A read would clear it, but not after the end was read.
    pub(crate) fn clear_error(&self) {
        if lock(&self.writer).receiving != Receiving::Open {
            self.socket.clear_error();
        }
    }

    /// Takes OpenVPN's packets from the relay, while there is room.
    ///
    /// # Errors
    /// If the call fails; the next one may succeed.
    pub(crate) fn take_control(&self, scratch: &mut [u8]) -> io::Result<()> {
        let mut taken = Ok(());
        for _ in 0..CONTROL_TURNS {
            if !lock(&self.writer).has_control_room() {
                break;
            }
            match self.relay.receive(scratch) {
                Ok(received @ 1..) => {
                    // Unchanged, whatever its length says: the kernel driver does not check it either.
                    let message = scratch.get(..received).unwrap_or_default();
                    self.write_within(message, usize::MAX);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                    taken = Err(error);
                    break;
                }
                _ => {
                    lock(&self.writer).relay = RelayEnd::Closed;
                    break;
                }
            }
        }
        self.watch(&mut lock(&self.writer));
        taken
    }

    /// Updates the worker's interest.
    pub(super) fn watch(&self, writer: &mut Writer<I>) {
        let socket = (writer.receiving != Receiving::HungUp).then_some(Interest {
            readable: writer.receiving == Receiving::Open,
            // The next event resumes a waiting queue, whoever has made room.
            writable: writer.sending == Sending::Open
                && !(writer.is_flushed() && writer.waiting.is_none()),
        });
        let relay = (writer.relay == RelayEnd::Open).then_some(Interest {
            readable: writer.has_control_room(),
            writable: false,
        });
        let (registered, socket, relay) = match &mut writer.watch {
            Watch::Active(registered) => (registered, socket, relay),
            Watch::Resting(registered) => (registered, None, None),
            Watch::Unregistered => return,
        };
        registered.socket =
            registered
                .registration
                .watch(self.socket.handle(), registered.socket, socket);
        let entry = registered.registration.of_relay();
        registered.relay = entry.watch(self.relay.handle(), registered.relay, relay);
    }
}
