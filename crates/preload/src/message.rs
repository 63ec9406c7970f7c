//! The program's memory behind its send and receive calls.

use crate::calls::empty_message;
use crate::secret::Secret;
use crate::{answer, real};
use core::ptr::null_mut;
use libc::{c_int, c_void, iovec, msghdr, sockaddr, socklen_t};
use udco_ipc::STREAM_ERROR;

/// The program's message to send.
pub(crate) struct Outgoing<'a> {
    header: &'a msghdr,
    /// Flags of the call.
    pub(crate) flags: c_int,
}

impl<'a> Outgoing<'a> {
    /// Wraps a header.
    ///
    /// # Safety
    /// The header describes memory as `sendmsg` demands, for as long as `'a`.
    pub(crate) unsafe fn new(header: &'a msghdr, flags: c_int) -> Self {
        Self { header, flags }
    }

    /// The header.
    pub(crate) fn header(&self) -> &msghdr {
        self.header
    }

    /// The data in one piece. It may hold a key.
    pub(crate) fn gather(&self) -> Secret {
        let filled = parts(self.header).iter().filter(|part| part.iov_len > 0);
        Secret::concat(filled.map(|part| {
            // SAFETY: the creator of `self` promised that the parts are readable.
            unsafe { core::slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len) }
        }))
    }
}

/// The program's receive buffer.
pub(crate) struct Incoming<'a> {
    header: &'a mut msghdr,
    /// Flags of the call.
    pub(crate) flags: c_int,
}

impl<'a> Incoming<'a> {
    /// Wraps a header.
    ///
    /// # Safety
    /// The header describes memory as `recvmsg` demands, for as long as `'a`.
    pub(crate) unsafe fn new(header: &'a mut msghdr, flags: c_int) -> Self {
        Self { header, flags }
    }

    /// The header.
    pub(crate) fn header(&mut self) -> &mut msghdr {
        self.header
    }

    /// The parts of the program's buffer.
    pub(crate) fn parts(&self) -> &[iovec] {
        parts(self.header)
    }

    /// Bytes of the program's buffer.
    pub(crate) fn room(&self) -> u32 {
        let bytes = parts(self.header).iter().map(|part| part.iov_len);
        let bytes = bytes.fold(0usize, usize::saturating_add);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// Whether the call only peeks.
    pub(crate) fn is_peek(&self) -> bool {
        self.flags & libc::MSG_PEEK != 0
    }

    /// Whether the call must not wait.
    pub(crate) fn must_not_wait(&self) -> bool {
        self.flags & libc::MSG_DONTWAIT != 0
    }

    /// Whether there is room for control messages.
    pub(crate) fn wants_control(&self) -> bool {
        !self.header.msg_control.is_null() && count(self.header.msg_controllen) > 0
    }

    /// Delivers a datagram as the kernel would, and returns the return value of the call. The parts may be shorter
    /// than the datagram, or empty: libnl queries the length with `MSG_PEEK | MSG_TRUNC`.
    pub(crate) fn deliver(&mut self, datagram: &[u8], source: &[u8]) -> usize {
        let fitting = self.fill(datagram);
        self.finish(truncation(fitting, datagram), source, &[]);
        self.result(fitting, datagram)
    }

    /// Delivers a datagram in place of the next one of this socket, with that one's source and control messages. Takes
    /// that one out of the socket's queue, unless the call only peeks.
    pub(crate) fn deliver_in_place(&mut self, fd: c_int, datagram: &[u8]) -> usize {
        let mut replaced = empty_message();
        replaced.msg_name = self.header.msg_name;
        replaced.msg_namelen = self.header.msg_namelen;
        replaced.msg_control = self.header.msg_control;
        replaced.msg_controllen = self.header.msg_controllen;
        let flags = self.flags & (libc::MSG_PEEK | libc::MSG_CMSG_CLOEXEC) | libc::MSG_DONTWAIT;
        // SAFETY: the creator of `self` promised that memory; there are no parts.
        if unsafe { real::recvmsg(fd, &raw mut replaced, flags) } < 0 {
            return self.deliver(datagram, &answer::address(0));
        }
        let fitting = self.fill(datagram);
        let lost = replaced.msg_flags & libc::MSG_CTRUNC;
        self.header.msg_flags = lost | truncation(fitting, datagram);
        self.header.msg_namelen = replaced.msg_namelen;
        self.header.msg_controllen = replaced.msg_controllen;
        self.result(fitting, datagram)
    }

    /// Writes as much of a datagram as fits into the parts, and returns how much that was.
    fn fill(&self, datagram: &[u8]) -> usize {
        let mut rest = datagram;
        for part in parts(self.header) {
            let (now, later) = rest.split_at(part.iov_len.min(rest.len()));
            if !now.is_empty() {
                // SAFETY: the creator of `self` promised that the parts are writable; the datagram is our own memory.
                unsafe {
                    part.iov_base
                        .cast::<u8>()
                        .copy_from_nonoverlapping(now.as_ptr(), now.len());
                };
            }
            rest = later;
        }
        datagram.len() - rest.len()
    }

    /// The return value of a call that has received so much of a datagram.
    fn result(&self, fitting: usize, datagram: &[u8]) -> usize {
        if self.flags & libc::MSG_TRUNC != 0 {
            datagram.len()
        } else {
            fitting
        }
    }

    /// Passes the bytes just received to a function, piece by piece.
    pub(crate) fn each_received(&self, received: usize, mut show: impl FnMut(&[u8])) {
        let mut left = received;
        for part in parts(self.header) {
            let len = part.iov_len.min(left);
            if len > 0 {
                // SAFETY: the creator of `self` promised the memory, and that many bytes have been written there.
                show(unsafe { core::slice::from_raw_parts(part.iov_base.cast::<u8>(), len) });
            }
            left -= len;
        }
    }

    /// The stream error just received, if it is one.
    pub(crate) fn stream_error(&self, received: usize) -> Option<c_int> {
        let part = parts(self.header).first()?;
        if received != STREAM_ERROR.len() + 1 || part.iov_len < received {
            return None;
        }
        // SAFETY: the creator of `self` promised as much, and that many bytes have been written there.
        let bytes = unsafe { core::slice::from_raw_parts(part.iov_base.cast::<u8>(), received) };
        let errno = bytes.strip_prefix(&STREAM_ERROR)?.first()?;
        Some(c_int::from(*errno))
    }

    /// Fills in everything but the data: flags, source address and control messages.
    pub(crate) fn finish(&mut self, flags: c_int, source: &[u8], control: &[u8]) {
        self.header.msg_flags = flags;
        if !self.header.msg_name.is_null() {
            let room = self.header.msg_namelen as usize;
            copy(self.header.msg_name, room, source);
            self.header.msg_namelen = source.len() as socklen_t;
        }
        let room = if self.header.msg_control.is_null() {
            0
        } else {
            count(self.header.msg_controllen)
        };
        if control.len() > room {
            self.header.msg_flags |= libc::MSG_CTRUNC;
        }
        copy(self.header.msg_control, room, control);
        self.header.msg_controllen = control.len().min(room);
    }
}

/// The flag of a header into which so much of a datagram fits.
fn truncation(fitting: usize, datagram: &[u8]) -> c_int {
    if fitting < datagram.len() {
        libc::MSG_TRUNC
    } else {
        0
    }
}

/// Copies as much as fits.
fn copy(to: *mut c_void, room: usize, from: &[u8]) {
    let len = from.len().min(room);
    if len > 0 {
        // SAFETY: the program declared this much room in its memory.
        unsafe {
            to.cast::<u8>().copy_from_nonoverlapping(from.as_ptr(), len);
        };
    }
}

/// A number in a header. musl declares it as an `int` with padding around it, which a program need not have cleared;
/// glibc as a `size_t`, of which the kernel accepts no more.
fn count(number: usize) -> usize {
    number & 0xffff_ffff
}

fn parts(header: &msghdr) -> &[iovec] {
    if header.msg_iov.is_null() {
        return &[];
    }
    // SAFETY: whoever wrapped the header promised that this is an array of that length.
    unsafe { core::slice::from_raw_parts(header.msg_iov, count(header.msg_iovlen)) }
}

/// A header for a single buffer, for `sendto` and `recvfrom`.
pub(crate) fn header_of(part: &iovec, name: *mut sockaddr, name_len: socklen_t) -> msghdr {
    let mut header = header_of_parts(part, 1);
    header.msg_name = name.cast();
    header.msg_namelen = if name.is_null() { 0 } else { name_len };
    header
}

/// A header for several buffers, for `readv` and `writev`.
pub(crate) fn header_of_parts(parts: *const iovec, count: c_int) -> msghdr {
    let mut header = empty_message();
    header.msg_name = null_mut();
    header.msg_iov = parts.cast_mut();
    header.msg_iovlen = usize::try_from(count).unwrap_or(0) as _;
    header
}

#[cfg(test)]
mod tests {
    use super::{Outgoing, header_of_parts};
    use crate::secret::tests::wiped;
    use libc::iovec;

    #[test]
    fn the_copy_of_what_is_sent_is_wiped() {
        let parts = [&b"a request "[..], b"", b"with a key"].map(|part| iovec {
            iov_base: part.as_ptr().cast_mut().cast(),
            iov_len: part.len(),
        });
        let header = header_of_parts(parts.as_ptr(), 3);
        // SAFETY: the header describes the parts, and each part a string.
        let outgoing = unsafe { Outgoing::new(&header, 0) };
        let copy = outgoing.gather();
        assert_eq!(*copy, *b"a request with a key");
        assert!(wiped(|| drop(copy)) >= 20);
    }
}
