//! Sending many datagrams in one call, each with its own destination, source and outcome.
#![allow(unsafe_code)]

mod singly;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use libc::{c_int, c_uint, iovec, mmsghdr};

use super::UdpSocket;
use super::address::Name;
use super::control::{self, Class, Control};
use super::inbox::empty_header;
use super::message::{Message, Outcome};
use super::pieces::{self, Pieces};

/// How many times to retry a message after an error that may belong to an earlier one. Promises A9 asks for one; the
/// second covers an ICMP error that arrives between the two.
const RETRIES: u8 = 2;

/// Sums over the outcomes of a batch, in messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Taken by the kernel.
    pub sent: usize,
    /// Refused individually.
    pub failed: usize,
    /// Not sent for lack of room: drop and count them (promises J4).
    pub not_sent: usize,
}

/// A batch of messages.
///
/// [`push`](Outbox::push) collects, [`send`](Outbox::send) sends, then [`outcomes`](Outbox::outcomes) reports, until
/// [`clear`](Outbox::clear).
pub struct Outbox {
    capacity: usize,
    messages: Vec<Message>,
    /// The ranges that messages have besides their first.
    pieces: Pieces,
    outcomes: Vec<Outcome>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    vectors: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
}

// SAFETY: the pointers inside point to nothing but the boxes beside them and the arena of a call
// that has ended, and are written anew before each use.
unsafe impl Send for Outbox {}

impl Outbox {
    /// Room for `capacity` messages (1 to 1,024), and for as many further ranges ([`Outbox::extend`]).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, 1_024);
        let no_bytes = iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            capacity,
            messages: Vec::with_capacity(capacity),
            pieces: Pieces::new(capacity),
            outcomes: Vec::with_capacity(capacity),
            names: vec![Name::EMPTY; capacity].into_boxed_slice(),
            controls: vec![Control::EMPTY; capacity].into_boxed_slice(),
            vectors: vec![no_bytes; 2 * capacity].into_boxed_slice(),
            headers: vec![empty_header(); capacity].into_boxed_slice(),
        }
    }

    /// Adds a message to the batch; `false` if it is full.
    #[must_use = "a full outbox drops the message"]
    pub fn push(&mut self, message: Message) -> bool {
        if self.is_full() {
            return false;
        }
        self.messages.push(message);
        self.pieces.begin();
        self.outcomes.push(Outcome::NotSent);
        true
    }

    /// Adds bytes to the message pushed last, after those it already has. In a segmented message, each range but the
    /// last must hold whole segments. `false`: there is no message, or no room for another range.
    #[must_use = "a full outbox leaves the bytes out"]
    pub fn extend(&mut self, range: Range<usize>) -> bool {
        self.pieces.extend(range)
    }

    /// Where the bytes of the message at `index` lie in the arena, in order; empty if there is no such message.
    pub fn pieces(&self, index: usize) -> impl Iterator<Item = Range<usize>> + Clone + '_ {
        let message = self.messages.get(index);
        message
            .into_iter()
            .flat_map(move |message| pieces::all(message.range.clone(), self.pieces.of(index)))
    }

    /// Whether the batch is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.messages.len() >= self.capacity
    }

    /// Whether the batch has no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Number of messages in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// The messages of the batch, in the order they were pushed.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The outcome of each of [`messages`](Outbox::messages) at the last send.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// Starts a new batch.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.pieces.clear();
        self.outcomes.clear();
    }

    /// Sends the whole batch, whose bytes lie in `arena`, each message at most once.
    ///
    /// An error concerns one message: it's retried (twice, and without its local address if that may be the reason),
    /// then skipped, and the rest is sent (promises A9, D8, J4). A range beyond the arena fails with `EFAULT`.
    pub fn send(&mut self, socket: &UdpSocket, arena: &[u8]) -> Sent {
        self.prepare(socket.v6, arena);
        self.outcomes.fill(Outcome::NotSent);
        let mut at = 0;
        let mut attempt = Attempt::default();
        while at < self.messages.len() {
            match self.send_from(socket, at, arena.len()) {
                Ok(taken) => {
                    let end = self.messages.len().min(at + taken.max(1));
                    if let Some(outcomes) = self.outcomes.get_mut(at..end) {
                        outcomes.fill(Outcome::Sent);
                    }
                    if attempt.local_left_out {
                        self.set_outcome(at, Outcome::SentWithoutLocal);
                    }
                    at = end;
                    attempt = Attempt::default();
                }
                Err(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => break,
                Err(errno) => {
                    if !self.try_again(at, errno, &mut attempt) {
                        self.set_outcome(at, Outcome::Failed(errno));
                        at += 1;
                        attempt = Attempt::default();
                    }
                }
            }
        }
        self.sum()
    }

    /// Sends from message `at` up to the first that does not lie in the arena.
    fn send_from(&mut self, socket: &UdpSocket, at: usize, arena: usize) -> Result<usize, c_int> {
        let lies_in = |range: Range<usize>| range.start <= range.end && range.end <= arena;
        let rest = at..self.messages.len();
        let valid = rest.take_while(|index| self.pieces(*index).all(lies_in));
        match valid.count() {
            0 => Err(libc::EFAULT),
            count => self.send_range(socket, at, count),
        }
    }

    /// One `sendmmsg` of `count` prepared messages from `at` on: how many the kernel took, or why it refused the first.
    fn send_range(&mut self, socket: &UdpSocket, at: usize, count: usize) -> Result<usize, c_int> {
        let Some(headers) = self.headers.get_mut(at..at + count) else {
            return Err(libc::EFAULT);
        };
        let count = c_uint::try_from(headers.len()).unwrap_or(0);
        loop {
            // SAFETY: `prepare_slot` made each of the `count` headers point to live buffers of this
            // outbox and to bytes inside the caller's arena, which is borrowed for the whole call.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_fd().as_raw_fd(),
                    headers.as_mut_ptr(),
                    count,
                    (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
                )
            };
            if let Ok(sent) = usize::try_from(sent) {
                return Ok(sent);
            }
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                errno => return Err(errno.unwrap_or(libc::EIO)),
            }
        }
    }

    /// Decides whether to retry message `at` after `errno`, and changes it for that.
    fn try_again(&mut self, at: usize, errno: c_int, attempt: &mut Attempt) -> bool {
        if errno == libc::EFAULT {
            return false;
        }
        // Newer kernels return ENETUNREACH for an IPv4 source that is not ours, but it may also be an ICMP error, which
        // must not cost us the source: so only if it recurs.
        let local_may_be_gone = match errno {
            libc::EINVAL | libc::EADDRNOTAVAIL => true,
            libc::ENETUNREACH => attempt.retries > 0,
            _ => false,
        };
        if local_may_be_gone && !attempt.local_left_out && self.leave_out_local(at) {
            attempt.local_left_out = true;
            return true;
        }
        // These are never pending errors, so a retry would fail again; EPERM is a packet filter's drop.
        let is_its_own = matches!(errno, libc::EINVAL | libc::EPERM);
        if !is_its_own && attempt.retries < RETRIES {
            attempt.retries += 1;
            return true;
        }
        false
    }

    /// Leaves out the message's local address; `false` if it has none.
    fn leave_out_local(&mut self, at: usize) -> bool {
        let Some(message) = self.messages.get(at) else {
            return false;
        };
        if message.usable_local().is_none() {
            return false;
        }
        let (segment, class) = (message.usable_segment(self.bytes(at)), message.class());
        self.write_control(at, None, segment, class);
        true
    }

    fn set_outcome(&mut self, at: usize, outcome: Outcome) {
        if let Some(slot) = self.outcomes.get_mut(at) {
            *slot = outcome;
        }
    }

    fn sum(&self) -> Sent {
        let mut sum = Sent::default();
        for outcome in &self.outcomes {
            match outcome {
                Outcome::Sent | Outcome::SentWithoutLocal => sum.sent += 1,
                Outcome::Failed(_) => sum.failed += 1,
                Outcome::NotSent => sum.not_sent += 1,
            }
        }
        sum
    }

    /// The total length of the message at `index`.
    fn bytes(&self, index: usize) -> usize {
        self.pieces(index).map(|range| range.len()).sum()
    }

    fn prepare(&mut self, v6: bool, arena: &[u8]) {
        for index in 0..self.messages.len() {
            self.prepare_slot(index, v6, arena);
        }
    }

    /// Points the header of slot `index` at its buffers and the message's bytes.
    fn prepare_slot(&mut self, index: usize, v6: bool, arena: &[u8]) {
        let first = self.pieces.first_vector(index);
        let more = self.pieces.of(index);
        let (Some(message), Some(name), Some(vectors), Some(header)) = (
            self.messages.get(index),
            self.names.get_mut(index),
            self.vectors.get_mut(first..=first + more.len()),
            self.headers.get_mut(index),
        ) else {
            return;
        };
        let mut bytes = 0;
        for (vector, range) in vectors
            .iter_mut()
            .zip(pieces::all(message.range.clone(), more))
        {
            let piece = arena.get(range).unwrap_or_default();
            // The kernel only reads what a sent message points to.
            vector.iov_base = piece.as_ptr().cast_mut().cast();
            vector.iov_len = piece.len();
            bytes += piece.len();
        }
        let name_len = name.encode(message.destination, v6);
        header.msg_hdr.msg_name = name.0.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = name_len as _;
        header.msg_hdr.msg_iov = vectors.as_mut_ptr();
        header.msg_hdr.msg_iovlen = vectors.len() as _;
        header.msg_hdr.msg_flags = 0;
        header.msg_len = 0;
        let (local, segment) = (message.usable_local(), message.usable_segment(bytes));
        let class = message.class();
        self.write_control(index, local, segment, class);
    }

    fn write_control(
        &mut self,
        index: usize,
        local: Option<IpAddr>,
        segment: Option<u16>,
        class: Option<Class>,
    ) {
        let (Some(control), Some(header)) =
            (self.controls.get_mut(index), self.headers.get_mut(index))
        else {
            return;
        };
        let length = control::encode(control, local, segment, class);
        header.msg_hdr.msg_control = if length == 0 {
            ptr::null_mut()
        } else {
            control.0.as_mut_ptr().cast()
        };
        header.msg_hdr.msg_controllen = length as _;
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("capacity", &self.capacity)
            .field("messages", &self.messages)
            .field("outcomes", &self.outcomes)
            .finish_non_exhaustive()
    }
}

/// The remedies already tried for the current message.
#[derive(Default)]
struct Attempt {
    retries: u8,
    local_left_out: bool,
}
