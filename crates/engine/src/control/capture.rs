//! A client's capture: the client's own thread passes on which blocks the workers have filled.
//!
//! It looks every few milliseconds, so that no worker has to wake it, and never waits for the client: while the client
//! gives back no block, the workers' own fill up. It ends with the client's end of the socket, with its connection, with
//! the device, or when the client gives back what it does not have.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use udco_ipc::capture::{BLOCK, BLOCKS, Batch, Filled, MAX_BATCH};
use udco_sys::epoll::{Interest, Poller};
use udco_sys::seqpacket::Connection;
use udco_sys::shared::Block;

use crate::client::Client;
use crate::control::account::{Account, Charge, Kind};
use crate::control::memory;
use crate::control::registry::{Found, Registry};
use crate::device::capture::{Capture, Filter, Tap};
use crate::linux;

/// Token of its socket, beyond all channels, whose numbers have 32 bits.
pub(super) const TOKEN: u64 = u64::MAX;

/// How often the blocks are looked at: while many bytes come, while packets come, and else.
const FULL: Duration = Duration::from_millis(5);
const BUSY: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_millis(25);

/// Many bytes at a time: a quarter of what workers can fill meanwhile.
const MANY: usize = 2 * BLOCK;

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
    /// Blocks for workers to fill: the last one first, which the cache still has.
    empty: Vec<Block>,
    /// Those that the client has, or is to learn of, by their numbers.
    taken: [Option<Block>; BLOCKS],
    /// What it is to learn.
    message: Vec<u8>,
    /// Losses that it knows of.
    reported: u64,
    /// How long it may wait.
    timeout: Duration,
    _charge: Charge,
}

/// The client has closed its end, or gives back what it does not have.
struct Ended;

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
        let (capture, empty, file) = Capture::new(filter).map_err(|error| errno_of(&error))?;
        let capture = Arc::new(capture);
        let begin = batch(&capture).encode();
        to.send(&begin, &[file.as_fd()])
            .map_err(|error| errno_of(&error))?;
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
            empty,
            taken: [const { None }; BLOCKS],
            message: Vec::with_capacity(MAX_BATCH),
            reported: 0,
            timeout: IDLE,
            _charge: charge,
        })
    }

    /// Name of the device.
    pub(super) fn device(&self) -> &str {
        &self.device
    }

    /// How long the client's thread may wait before it calls [`Self::pass_on`].
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Takes back what the client has read, and tells it of the blocks that the workers have filled, as long as there are
    /// empty ones for them; returns whether the capture goes on.
    pub(super) fn pass_on(&mut self) -> bool {
        // Before looking: what comes later is of no device any more.
        let is_over = self.capture.is_over();
        if self.take_back().is_err() {
            return false;
        }
        // Else the client does not even read what it is to learn.
        let taken = match self.message.is_empty() {
            true => self.take(is_over),
            false => 0,
        };
        // Without an empty block, the workers may have more.
        let has_more = taken > 0 || !self.message.is_empty() || self.empty.is_empty();
        self.timeout = match taken {
            MANY.. => FULL,
            0 if !has_more && self.taken.iter().all(Option::is_none) => IDLE,
            _ => BUSY,
        };
        let has_news = !self.message.is_empty() || self.capture.lost() != self.reported;
        if has_news && self.send().is_err() {
            return false;
        }
        !is_over || has_more
    }

    /// Empties the blocks that the client has read.
    fn take_back(&mut self) -> Result<(), Ended> {
        let mut read = [0; MAX_BATCH];
        loop {
            let len = match self.to.receive(&mut read) {
                Ok(received) if received.len > 0 => received.len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                _ => return Err(Ended),
            };
            for filled in Filled::decode_all(read.get(..len).unwrap_or_default()) {
                let number = filled.map_err(|_| Ended)?.block as usize;
                let block = self.taken.get_mut(number).and_then(Option::take);
                self.empty.push(block.ok_or(Ended)?);
            }
        }
    }

    /// Takes the blocks that the workers have filled; returns how many bytes there are. While the client has not read the
    /// ones before, the others are to be fuller, so that there is more in all of them.
    fn take(&mut self, is_last: bool) -> usize {
        let is_behind = self.taken.iter().any(Option::is_some);
        let least = if is_behind && !is_last { BLOCK / 2 } else { 1 };
        let (mut lane, mut taken) = (0, 0);
        while let Some(block) = self.capture.swap(&mut lane, least, &mut self.empty) {
            taken += block.len();
            let number = block.number();
            let filled = Filled {
                block: number as u32,
                len: block.len() as u32,
            };
            self.message.extend_from_slice(&filled.encode());
            if let Some(place) = self.taken.get_mut(number) {
                *place = Some(block);
            }
        }
        taken
    }

    /// Sends what the client is to learn. If there is no room, it learns it the next time.
    fn send(&mut self) -> Result<(), Ended> {
        let batch = batch(&self.capture);
        match self.to.send_parts(&batch.encode(), &self.message) {
            Ok(()) => {
                self.reported = batch.lost;
                self.message.clear();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Ended),
        }
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        self.tap.detach();
        // A client that has closed its connection alone reads on to the end.
        if self.message.is_empty() {
            self.take(true);
        }
        let _ = self.send();
        let _ = self.poller.remove(&self.to);
    }
}

/// What each message begins with.
fn batch(capture: &Capture) -> Batch {
    Batch {
        now: linux::now().as_nanos(),
        lost: capture.lost(),
    }
}

fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(EINVAL)
}
