//! Receiving many datagrams in one call.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use libc::{c_uint, iovec, mmsghdr};

use super::UdpSocket;
use super::address::{NAME_LEN, Name, fold};
use super::control::{self, CONTROL_LEN, Control};

/// How many pending ICMP errors one call skips; each hides the datagrams behind it.
const PENDING_ERRORS: usize = 8;

/// One received datagram, or several of equal size if [`Datagram::segment`] is set.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// The payload; may be changed in place.
    pub bytes: &'a mut [u8],
    /// The sender; a v4-mapped address is folded to IPv4. `0.0.0.0:0` if the kernel reported none.
    pub source: SocketAddr,
    /// Whether `source` was v4-mapped, i.e. IPv4 on an IPv6 socket.
    pub mapped: bool,
    /// The local address it was sent to, folded likewise; `None` without [`UdpSocket::enable_packet_info`].
    pub local: Option<IpAddr>,
    /// Index of the interface it arrived on; 0 if unknown.
    pub ifindex: u32,
    /// `bytes` holds several datagrams of this length, the last of which may be shorter. 1 to `bytes.len()`.
    pub segment: Option<usize>,
    /// The datagram was longer than the slot, or the kernel had no room to report its segment size: drop it (promises
    /// A4).
    pub truncated: bool,
}

impl<'a> Datagram<'a> {
    /// The single datagrams. An empty datagram has none.
    pub fn into_segments(self) -> impl Iterator<Item = &'a mut [u8]> {
        let size = self.segment.unwrap_or(self.bytes.len()).max(1);
        self.bytes.chunks_mut(size)
    }
}

/// A batch of datagrams in one contiguous buffer.
pub struct Inbox {
    slot_len: usize,
    buffer: Box<[u8]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    vectors: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
    filled: usize,
}

// SAFETY: the pointers inside point to nothing but the boxes beside them, and are written anew
// before each use.
unsafe impl Send for Inbox {}

impl Inbox {
    /// Room for `slots` datagrams (1 to 1,024) of `slot_len` bytes per call.
    #[must_use]
    pub fn new(slots: usize, slot_len: usize) -> Self {
        let slots = slots.clamp(1, 1_024);
        let slot_len = slot_len.max(1);
        let no_bytes = iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            slot_len,
            buffer: vec![0; slots * slot_len].into_boxed_slice(),
            names: vec![Name::EMPTY; slots].into_boxed_slice(),
            controls: vec![Control::EMPTY; slots].into_boxed_slice(),
            vectors: vec![no_bytes; slots].into_boxed_slice(),
            headers: vec![empty_header(); slots].into_boxed_slice(),
            filled: 0,
        }
    }

    /// How many datagrams a call may receive.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.headers.len()
    }

    /// Discards the previous batch, receives the datagrams that are readable, and returns their number. Datagrams
    /// behind a pending ICMP error are still received.
    ///
    /// # Errors
    ///
    /// Errors of the socket itself (`EBADF`, `ENOMEM`, …), or the ninth pending ICMP error in a row: retry later.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.filled = 0;
        self.prepare();
        let count = c_uint::try_from(self.headers.len()).unwrap_or(0);
        let mut errors = 0;
        loop {
            // SAFETY: `prepare` made each of the `count` headers point to live buffers that this
            // `&mut self` holds exclusively, with their lengths.
            let received = unsafe {
                libc::recvmmsg(
                    socket.as_fd().as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    count,
                    libc::MSG_DONTWAIT as _,
                    ptr::null_mut(),
                )
            };
            if let Ok(filled) = usize::try_from(received) {
                self.filled = filled.min(self.headers.len());
                return Ok(self.filled);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(0),
                Some(libc::EINTR) => {}
                Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::EINVAL) => {
                    return Err(error);
                }
                // An ICMP error for a datagram sent earlier, reported once (promises A9).
                _ if errors < PENDING_ERRORS => errors += 1,
                _ => return Err(error),
            }
        }
    }

    /// The buffer that holds all datagrams of a batch.
    #[must_use]
    pub fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Offset in the buffer of the [`Datagram::bytes`] of the datagram at `index`.
    #[must_use]
    pub fn offset(&self, index: usize) -> usize {
        index * self.slot_len
    }

    /// The datagram at `index` of the last batch; `None` beyond its end.
    pub fn datagram(&mut self, index: usize) -> Option<Datagram<'_>> {
        if index >= self.filled {
            return None;
        }
        let header = self.headers.get(index)?;
        let length = (header.msg_len as usize).min(self.slot_len);
        let flags = header.msg_hdr.msg_flags;
        let name_len = header.msg_hdr.msg_namelen as usize;
        #[allow(clippy::unnecessary_cast, reason = "32 bits with musl")]
        let control_len = (header.msg_hdr.msg_controllen as usize).min(CONTROL_LEN);
        let info = control::decode(self.controls.get(index)?.0.get(..control_len)?);
        let source = self.names.get(index)?.decode(name_len.min(NAME_LEN));
        let (source, mapped) = fold(source.unwrap_or_else(unspecified));
        let start = self.offset(index);
        Some(Datagram {
            bytes: self.buffer.get_mut(start..start + length)?,
            source,
            mapped,
            local: info.local,
            ifindex: info.ifindex,
            segment: info.segment.and_then(|size| valid_segment(size, length)),
            truncated: flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
        })
    }

    /// Points the headers at the buffers; the kernel has overwritten the lengths of the last call.
    fn prepare(&mut self) {
        let slots = self
            .buffer
            .chunks_exact_mut(self.slot_len)
            .zip(&mut self.vectors)
            .zip(&mut self.names)
            .zip(&mut self.controls)
            .zip(&mut self.headers);
        for ((((bytes, vector), name), control), header) in slots {
            vector.iov_base = bytes.as_mut_ptr().cast();
            vector.iov_len = bytes.len();
            let message = &mut header.msg_hdr;
            message.msg_name = name.0.as_mut_ptr().cast();
            message.msg_namelen = NAME_LEN as _;
            message.msg_iov = vector;
            message.msg_iovlen = 1;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = CONTROL_LEN as _;
            message.msg_flags = 0;
            header.msg_len = 0;
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("slots", &self.headers.len())
            .field("slot_len", &self.slot_len)
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

/// An empty header, including some libcs' private padding.
pub(super) fn empty_header() -> mmsghdr {
    // SAFETY: `mmsghdr` is plain C data for which all zeroes (null pointers) are valid.
    unsafe { std::mem::zeroed() }
}

fn unspecified() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)
}

/// A segment size that cannot reach beyond the datagram (promises A4).
fn valid_segment(size: i32, length: usize) -> Option<usize> {
    let size = usize::try_from(size).ok()?;
    (size > 0 && size <= length).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::valid_segment;

    #[test]
    fn a_segment_size_is_believed_only_within_the_datagram() {
        for (size, length, valid) in [
            (1, 1, Some(1)),
            (1_200, 1_199, None),
            (1_200, 1_200, Some(1_200)),
            (0, 100, None),
            (-1, 100, None),
            (i32::MIN, 100, None),
            (i32::MAX, 65_535, None),
            (1, 0, None),
        ] {
            assert_eq!(valid_segment(size, length), valid, "{size} of {length}");
        }
    }
}
