//! Sending many datagrams in one call, each with its own destination, source and fate.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use libc::{c_int, c_uint, iovec, mmsghdr};

use super::UdpSocket;
use super::address::Name;
use super::control::{self, Class, Control};
use super::inbox::empty_header;
use super::message::{Message, Outcome};

/// How often to retry a message after an error that may belong to an earlier one.  Promises A9 asks for one; the second
/// covers an ICMP error that arrives between the two.
const RETRIES: u8 = 2;

/// Sums over the outcomes of a batch, in messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Taken by the kernel.
    pub sent: usize,
    /// Refused on their own account.
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
    /// Room for `capacity` messages (1 to 1,024).
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
            outcomes: Vec::with_capacity(capacity),
            names: vec![Name::EMPTY; capacity].into_boxed_slice(),
            controls: vec![Control::EMPTY; capacity].into_boxed_slice(),
            vectors: vec![no_bytes; capacity].into_boxed_slice(),
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
        self.outcomes.push(Outcome::NotSent);
        true
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

    /// Number of messages of the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// The messages of the batch, in the order they were pushed.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The fate of each of [`messages`](Outbox::messages) at the last send.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// Starts a new batch.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.outcomes.clear();
    }

    /// Sends the whole batch, whose bytes lie in `arena`, each message at most once.
    ///
    /// An error concerns one message: it's retried (twice, and without its local address if that may be the reason),
    /// then skipped, and the rest is sent (promises A9, D8, J4).  A range beyond the arena fails with `EFAULT`.
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

    /// Sends the segments of the message at `index` one by one, after its outcome said
    /// [`refuses_segments`](Outcome::refuses_segments).  Stops at the first that fails; its outcome is that of the last
    /// one tried.  Returns how many datagrams were sent.  Slow; needs no room in the batch.
    pub fn send_singly(&mut self, socket: &UdpSocket, arena: &[u8], index: usize) -> usize {
        let Some(message) = self.messages.get(index).cloned() else {
            return 0;
        };
        let size = usize::from(message.segment.unwrap_or(u16::MAX)).max(1);
        let mut local = message.local;
        let mut sent = 0;
        let mut start = message.range.start;
        while start < message.range.end {
            let range = start..message.range.end.min(start + size);
            start = range.end;
            let single = Message {
                range,
                destination: message.destination,
                local,
                segment: None,
                traffic_class: message.traffic_class,
            };
            let outcome = self.send_one(socket, arena, index, single);
            self.set_outcome(index, outcome);
            match outcome {
                Outcome::Sent => {}
                Outcome::SentWithoutLocal => local = None,
                Outcome::Failed(_) | Outcome::NotSent => return sent,
            }
            sent += 1;
        }
        if message.local.is_some() && local.is_none() {
            self.set_outcome(index, Outcome::SentWithoutLocal);
        }
        sent
    }

    /// Sends `message` with the buffers of slot `index`.
    fn send_one(
        &mut self,
        socket: &UdpSocket,
        arena: &[u8],
        index: usize,
        message: Message,
    ) -> Outcome {
        let Some(original) = self
            .messages
            .get_mut(index)
            .map(|slot| std::mem::replace(slot, message))
        else {
            return Outcome::NotSent;
        };
        self.prepare_slot(index, socket.v6, arena);
        let mut attempt = Attempt::default();
        let outcome = loop {
            match self.send_range(socket, index, 1) {
                Ok(_) if attempt.local_left_out => break Outcome::SentWithoutLocal,
                Ok(_) => break Outcome::Sent,
                Err(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => break Outcome::NotSent,
                Err(errno) if self.try_again(index, errno, &mut attempt) => {}
                Err(errno) => break Outcome::Failed(errno),
            }
        };
        if let Some(slot) = self.messages.get_mut(index) {
            *slot = original;
        }
        outcome
    }

    /// Sends from message `at` up to the first whose range is not in the arena.
    fn send_from(&mut self, socket: &UdpSocket, at: usize, arena: usize) -> Result<usize, c_int> {
        let rest = self.messages.get(at..).unwrap_or_default();
        let valid = rest.iter().take_while(|message| message.lies_in(arena));
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
        let (segment, class) = (message.usable_segment(), message.class());
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

    fn prepare(&mut self, v6: bool, arena: &[u8]) {
        for index in 0..self.messages.len() {
            self.prepare_slot(index, v6, arena);
        }
    }

    /// Points the header of slot `index` at its buffers and the message's bytes.
    fn prepare_slot(&mut self, index: usize, v6: bool, arena: &[u8]) {
        let (Some(message), Some(name), Some(vector), Some(header)) = (
            self.messages.get(index),
            self.names.get_mut(index),
            self.vectors.get_mut(index),
            self.headers.get_mut(index),
        ) else {
            return;
        };
        let bytes = arena.get(message.range.clone()).unwrap_or_default();
        // The kernel only reads what a sent message points to.
        vector.iov_base = bytes.as_ptr().cast_mut().cast();
        vector.iov_len = bytes.len();
        let name_len = name.encode(message.destination, v6);
        header.msg_hdr.msg_name = name.0.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = name_len as _;
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_flags = 0;
        header.msg_len = 0;
        let (local, segment) = (message.usable_local(), message.usable_segment());
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
