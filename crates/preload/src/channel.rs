//! The program's generic-netlink socket: one end of a socket pair whose other end the engine has.

use crate::answer::{self, Header};
use crate::calls::{self, Errno};
use crate::clock::Instant;
use crate::journal;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use libc::c_int;
use udco_ipc::message_id;

/// How long an engine must have answered, in seconds, until its silence is reported again.
const SAID: u32 = 10;

/// State of a channel.
pub(crate) struct Channel {
    /// Its number at the engine.
    pub(crate) number: u32,
    /// Netlink port id that the program has bound, or takes for its own.
    pub(crate) port: u32,
    /// The program had `CAP_NET_ADMIN` when it opened the socket: the kernel checks it then and at the request.
    pub(crate) admin: bool,
    /// The largest buffer with which the program has received.
    pub(crate) room: u32,
    /// A made-up answer, to be read first.
    pub(crate) pending: Option<Vec<u8>>,
    /// Header of the first message of the last request.
    pub(crate) last: Header,
    /// Sequence numbers of the other messages of the last request.
    others: Vec<u32>,
    /// An answer to the last request was made up; the real one is late.
    given_up: bool,
    /// More of the answer will come, although nothing may be readable right now.
    pub(crate) awaits_final: bool,
    /// The mark of the last request has not been read yet: earlier notifications are returned to the engine.
    pub(crate) awaits_mark: bool,
}

impl Channel {
    /// A new one of this number at the engine.
    pub(crate) fn new(number: u32) -> Self {
        Self {
            number,
            port: 0,
            admin: calls::is_admin(),
            room: 0,
            pending: None,
            last: Header::default(),
            others: Vec::new(),
            given_up: false,
            awaits_final: false,
            awaits_mark: false,
        }
    }

    /// `bind`: takes the port id of the address, or chooses one as the kernel would.
    pub(crate) fn bind(&mut self, fd: c_int, address: &[u8]) -> Result<c_int, Errno> {
        let wanted = answer::port(address).ok_or(libc::EINVAL)?;
        self.port = if wanted == 0 {
            made_up_port(fd)
        } else {
            wanted
        };
        Ok(0)
    }

    /// The address that `getsockname` gives.
    pub(crate) fn address(&self) -> [u8; answer::ADDRESS] {
        answer::address(self.port)
    }

    /// Begins a new request: resets the state of the last one.
    pub(crate) fn begin(&mut self, fd: c_int, request: &[u8]) {
        if self.port == 0 {
            self.port = made_up_port(fd);
        }
        self.last = Header::first(request).unwrap_or_default();
        self.others = answer::sequence_numbers(request).skip(1).collect();
        self.pending = None;
        self.given_up = false;
        self.awaits_final = false;
        self.awaits_mark = false;
    }

    /// Makes up an answer to the last request.
    pub(crate) fn give_up(&mut self, errno: Errno) {
        if errno == libc::EBUSY {
            report_silence();
        }
        self.pending = Some(answer::error(&self.last, self.port, errno));
        self.given_up = true;
        self.awaits_final = false;
        self.awaits_mark = false;
    }

    /// Whether a datagram answers a request that the program considers finished.
    pub(crate) fn is_stale(&self, datagram: &[u8]) -> bool {
        Header::first(datagram).is_some_and(|header| {
            let is_known = header.seq == self.last.seq || self.others.contains(&header.seq);
            header.seq != 0 && (!is_known || self.given_up)
        })
    }
}

/// Says that the engine does not answer, once in [`SAID`]: the program itself reports a busy device, and may
/// end with it.
fn report_silence() {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let now = Instant::now().seconds();
    let last = LAST.swap(now, Ordering::Relaxed);
    if last == 0 || now.wrapping_sub(last) >= SAID {
        journal::say(
            message_id::ENGINE_SILENT,
            "udco: the engine did not answer within a second: it has been stopped, or this machine is overloaded\n",
        );
    }
}

/// A port id that no other socket of this program has: libnl uses the process id with a counter from bit 22 up.
fn made_up_port(fd: c_int) -> u32 {
    (calls::process() & 0x3f_ffff) | (fd.cast_unsigned().wrapping_add(512) << 22)
}
