//! A client's capture: the client's own thread passes on what the workers have copied.
//!
//! It looks every few milliseconds, so that no worker has to wake it, and never waits for the client: what the client
//! does not read stays in the workers' buffers until they are full. It ends with the client's end of the socket, with
//! its connection, or with the device.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use udco_ipc::capture::{Batch, Captured, HEADER, MAX_BATCH};
use udco_sys::epoll::{Interest, Poller};
use udco_sys::seqpacket::Connection;

use crate::client::Client;
use crate::control::account::{Account, Charge, Kind};
use crate::control::memory;
use crate::control::registry::{Found, Registry};
use crate::device::capture::{Capture, Filter, LANE, Tap};
use crate::linux;

/// Token of its socket, beyond all channels, whose numbers have 32 bits.
pub(super) const TOKEN: u64 = u64::MAX;

/// How often the buffers are looked at: while packets come, and else.
const BUSY: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_millis(25);

/// The longest packet fits into a message: IPv6 does not count its own header.
const _: () = assert!(MAX_BATCH - Batch::LEN >= HEADER + 40 + 65_535);

const EPERM: i32 = 1;
const EBUSY: i32 = 16;
const ENOMEM: i32 = 12;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const EDQUOT: i32 = 122;

/// A capture and the socket that it goes to.
pub(crate) struct Capturing {
    capture: Arc<Capture>,
    /// Not its interface, whose queues are to close when the device goes.
    tap: Arc<Tap>,
    /// Name of the device.
    device: String,
    to: Connection,
    poller: Arc<Poller>,
    /// Packets that were taken from the workers, and how far they were sent.
    taken: Vec<u8>,
    sent: usize,
    /// Losses that the client knows of.
    reported: u64,
    is_busy: bool,
    _charge: Charge,
}

/// Whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// All was sent.
    Done,
    /// The client has to read first.
    Full,
    /// The client has closed its end.
    Ended,
}

impl Capturing {
    /// Begins a capture for a client, into this end of a socket pair. The poller reports under [`TOKEN`] that the client
    /// has closed its own.
    ///
    /// # Errors
    /// The errno of the answer.
    pub(super) fn begin(
        (registry, poller): (&Registry, &Arc<Poller>),
        (client, account): (&Client, &Arc<Account>),
        (ifindex, filter): (u32, Filter),
        end: Option<OwnedFd>,
    ) -> Result<Self, i32> {
        let end = end.and_then(|end| Connection::adopt_pair_end(end).ok());
        let to = end.ok_or(EINVAL)?;
        // What a packet holds is for the device's user and root alone (docs/threat-model.md).
        let device = match registry.find(client, ifindex) {
            Found::Device(device) => device,
            Found::Forbidden => return Err(EPERM),
            Found::Gone | Found::Nothing => return Err(ENODEV),
        };
        let charge = account.charge(Kind::Captures).ok_or(EDQUOT)?;
        let _room = memory::for_capture().map_err(|error| {
            account.line(|| tracing::error!("a client is not served: {error}"));
            ENOMEM
        })?;
        let capture = Arc::new(Capture::new(filter));
        let tap = Arc::clone(&device.interface.tap);
        poller.add(&to, TOKEN, Interest::NONE).map_err(|_| EINVAL)?;
        if !tap.attach(&capture) {
            let _ = poller.remove(&to);
            return Err(EBUSY);
        }
        // It may have ended before the capture was attached.
        if device.has_ended() {
            tap.close();
        }
        Ok(Self {
            capture,
            tap,
            device: device.interface.name.clone(),
            to,
            poller: Arc::clone(poller),
            taken: Vec::with_capacity(LANE),
            sent: 0,
            reported: 0,
            is_busy: false,
            _charge: charge,
        })
    }

    /// Name of the device.
    pub(super) fn device(&self) -> &str {
        &self.device
    }

    /// How long the client's thread may wait before it calls [`Self::pass_on`].
    pub(super) const fn timeout(&self) -> Duration {
        if self.is_busy { BUSY } else { IDLE }
    }

    /// Sends what the workers have copied, as far as the client reads; returns whether the capture goes on.
    pub(super) fn pass_on(&mut self) -> bool {
        // Before looking: what comes later is of no device any more.
        let is_over = self.capture.is_over();
        let (mut lane, mut has_sent) = (0, false);
        loop {
            match self.send() {
                Progress::Done => {}
                Progress::Full => {
                    self.is_busy = true;
                    return true;
                }
                Progress::Ended => return false,
            }
            self.taken.clear();
            self.sent = 0;
            if !self.capture.swap(&mut lane, &mut self.taken) {
                break;
            }
            has_sent = true;
        }
        self.is_busy = has_sent;
        if self.capture.lost() != self.reported && self.send_batch(0) == Progress::Ended {
            return false;
        }
        !is_over
    }

    /// Sends what was taken, in messages of whole packets.
    fn send(&mut self) -> Progress {
        while self.sent < self.taken.len() {
            let rest = self.taken.get(self.sent..).unwrap_or_default();
            let progress = self.send_batch(whole(rest, MAX_BATCH - Batch::LEN));
            if progress != Progress::Done {
                return progress;
            }
        }
        Progress::Done
    }

    /// Sends a message with this many bytes of packets.
    fn send_batch(&mut self, len: usize) -> Progress {
        let batch = Batch {
            now: linux::now().as_nanos(),
            lost: self.capture.lost(),
        };
        let packets = self.taken.get(self.sent..self.sent + len);
        let packets = packets.unwrap_or_default();
        match self.to.send_parts(&batch.encode(), packets) {
            Ok(()) => {
                self.reported = batch.lost;
                self.sent += len;
                Progress::Done
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Progress::Full,
            Err(_) => Progress::Ended,
        }
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        self.tap.detach();
        let _ = self.poller.remove(&self.to);
    }
}

/// Bytes of as many whole packets from the front as fit into `room`, which is enough for each.
fn whole(packets: &[u8], room: usize) -> usize {
    let mut len = 0;
    while let Ok((packet, _)) = Captured::peek(packets.get(len..).unwrap_or_default())
        && len + packet <= room
    {
        len += packet;
    }
    // Only if a packet were longer than any: it cannot be sent, and what follows it could not be found.
    if len == 0 { packets.len() } else { len }
}

#[cfg(test)]
mod tests {
    use udco_ipc::capture::Way;

    use super::*;

    #[test]
    fn messages_hold_whole_packets() {
        let bytes = [7; 40];
        let packet = Captured {
            at: 1,
            way: Way::InnerOut,
            peer: Some(1),
            ends: None,
            dropped: None,
            length: 40,
            last_length: 40,
            each: 40,
            bytes: &bytes,
        };
        let one = [&packet.header(40)[..], &bytes].concat();
        let three = [&one[..], &one, &one].concat();
        assert_eq!(one.len(), HEADER + 40);
        let size = one.len();
        for (room, packets) in [
            (size, 1),
            (2 * size - 1, 1),
            (2 * size, 2),
            (3 * size - 1, 2),
            (3 * size, 3),
            (9999, 3),
        ] {
            assert_eq!(whole(&three, room), packets * size, "{room}");
        }
        assert_eq!(whole(&[], 100), 0);
    }
}
