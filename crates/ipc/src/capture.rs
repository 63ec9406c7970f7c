//! Captured packets on their way from the engine to a client, on the socket of a [`crate::ToEngine::Capture`].
//!
//! Each message is one batch: the engine's clock and its losses ([`Batch`]), then whole packets, one after the other
//! ([`Captured`]). Integers are in host order, as in all messages.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::{Malformed, TooLong};

/// The longest message: the longest packet fits with its header.
pub const MAX_BATCH: usize = 96 << 10;

/// What a capture shows; bits of [`crate::ToEngine::Capture`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Packets inside the tunnel, in the clear.
    pub inner: bool,
    /// Packets of the transport socket, as the workers receive and send them.
    pub outer: bool,
    /// Packets that are dropped, with the reason.
    pub drops: bool,
}

impl Wanted {
    pub(crate) const fn to_wire(self) -> u16 {
        self.inner as u16 | (self.outer as u16) << 1 | (self.drops as u16) << 2
    }

    pub(crate) const fn of_wire(bits: u16) -> Self {
        Self {
            inner: bits & 1 != 0,
            outer: bits & 2 != 0,
            drops: bits & 4 != 0,
        }
    }
}

/// The beginning of each message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The engine's clock when it sent the message, in nanoseconds: that of [`Captured::at`].
    pub now: u64,
    /// Packets that the capture has lost so far, because the client did not read in time.
    pub lost: u64,
}

impl Batch {
    /// Encoded length in bytes.
    pub const LEN: usize = 16;

    /// Encodes it.
    #[must_use]
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (now, lost) = bytes.split_at_mut(8);
        now.copy_from_slice(&self.now.to_ne_bytes());
        lost.copy_from_slice(&self.lost.to_ne_bytes());
        bytes
    }

    /// Decodes it, and returns the packets that follow.
    ///
    /// # Errors
    /// [`Malformed`] if the message is too short.
    pub fn decode(message: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (now, rest) = message.split_first_chunk().ok_or(Malformed)?;
        let (lost, packets) = rest.split_first_chunk().ok_or(Malformed)?;
        let batch = Self {
            now: u64::from_ne_bytes(*now),
            lost: u64::from_ne_bytes(*lost),
        };
        Ok((batch, packets))
    }
}

/// Which side of the tunnel a packet was seen on, and which way it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the TUN device to a peer, not sealed yet.
    InnerOut,
    /// From a peer to the TUN device, opened.
    InnerIn,
    /// A record on its way to a peer.
    OuterOut,
    /// A packet that the transport socket has received.
    OuterIn,
}

/// The addresses of an outer packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Our end; its address is unspecified if the socket reports none.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Whether it went over TCP; the packet then lacks its length prefix.
    pub is_stream: bool,
}

/// A captured packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// When, in nanoseconds of the engine's clock ([`Batch::now`]).
    pub at: u64,
    /// Where it was seen.
    pub way: Way,
    /// Id of its peer, if it has one.
    pub peer: Option<u32>,
    /// The addresses of an outer packet.
    pub ends: Option<Ends>,
    /// If it was dropped: the number of the reason, in the order of `DropReason::ALL`.
    pub dropped: Option<u16>,
    /// Its length, in bytes.
    pub length: u32,
    /// As much of it as was captured.
    pub bytes: &'a [u8],
}

/// Stand for no peer, and for no reason.
const NO_PEER: u32 = u32::MAX;
const NO_REASON: u16 = u16::MAX;

/// Bits beside the way.
const STREAM: u16 = 4;
const ENDS: u16 = 8;

/// Bytes of header before each packet.
pub const HEADER: usize = 60;

impl<'a> Captured<'a> {
    /// Encoded length in bytes, header included.
    #[must_use]
    pub const fn len(&self) -> usize {
        HEADER + self.bytes.len()
    }

    /// Never empty: there is always a header.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The header. The packet's bytes follow it.
    ///
    /// # Errors
    /// [`TooLong`] if more bytes were captured than 32 bits can count.
    #[inline]
    pub fn header(&self) -> Result<[u8; HEADER], TooLong> {
        let mut header = [0; HEADER];
        let captured = u32::try_from(self.bytes.len()).map_err(|_| TooLong)?;
        let way = match self.way {
            Way::InnerOut => 0,
            Way::InnerIn => 1,
            Way::OuterOut => 2,
            Way::OuterIn => 3,
        };
        let bits = match self.ends {
            Some(ends) if ends.is_stream => way | ENDS | STREAM,
            Some(_) => way | ENDS,
            None => way,
        };
        let unknown = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let [local, remote] = match self.ends {
            Some(ends) => [ends.local, ends.remote],
            None => [unknown; 2],
        };
        // Arrays, whose lengths are known: each becomes one store.
        let mut rest = &mut header[..];
        put(&mut rest, captured.to_ne_bytes());
        put(&mut rest, self.length.to_ne_bytes());
        put(&mut rest, self.at.to_ne_bytes());
        put(&mut rest, self.peer.unwrap_or(NO_PEER).to_ne_bytes());
        put(&mut rest, bits.to_ne_bytes());
        put(&mut rest, self.dropped.unwrap_or(NO_REASON).to_ne_bytes());
        for end in [local, remote] {
            put(&mut rest, as_ipv6(end.ip()).octets());
            put(&mut rest, end.port().to_ne_bytes());
        }
        Ok(header)
    }

    /// The encoded length of the first packet of a batch, and when it came, without a look at the rest of its header.
    ///
    /// # Errors
    /// [`Malformed`] if it is incomplete.
    #[inline]
    pub fn peek(packets: &[u8]) -> Result<(usize, u64), Malformed> {
        let (header, rest) = packets.split_first_chunk::<HEADER>().ok_or(Malformed)?;
        let mut fields = Header(header);
        let captured = u32::from_ne_bytes(fields.take()?) as usize;
        let _length: [u8; 4] = fields.take()?;
        let at = u64::from_ne_bytes(fields.take()?);
        if rest.len() < captured {
            return Err(Malformed);
        }
        Ok((HEADER + captured, at))
    }

    /// Decodes the first packet of a batch, and returns those that follow.
    ///
    /// # Errors
    /// [`Malformed`] if it is incomplete.
    #[inline]
    pub fn decode(packets: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let (header, rest) = packets.split_first_chunk::<HEADER>().ok_or(Malformed)?;
        let mut fields = Header(header);
        let captured = u32::from_ne_bytes(fields.take()?);
        let length = u32::from_ne_bytes(fields.take()?);
        let at = u64::from_ne_bytes(fields.take()?);
        let peer = u32::from_ne_bytes(fields.take()?);
        let bits = u16::from_ne_bytes(fields.take()?);
        let dropped = u16::from_ne_bytes(fields.take()?);
        let (local, remote) = (fields.end()?, fields.end()?);
        let (bytes, rest) = rest.split_at_checked(captured as usize).ok_or(Malformed)?;
        let packet = Self {
            at,
            way: match bits & 3 {
                0 => Way::InnerOut,
                1 => Way::InnerIn,
                2 => Way::OuterOut,
                _ => Way::OuterIn,
            },
            peer: (peer != NO_PEER).then_some(peer),
            ends: (bits & ENDS != 0).then_some(Ends {
                local,
                remote,
                is_stream: bits & STREAM != 0,
            }),
            dropped: (dropped != NO_REASON).then_some(dropped),
            length,
            bytes,
        };
        Ok((packet, rest))
    }
}

/// Writes a field at the front of what is left of a header, which has room for all.
#[inline]
fn put<const N: usize>(rest: &mut &mut [u8], field: [u8; N]) {
    if let Some((place, after)) = core::mem::take(rest).split_first_chunk_mut() {
        *place = field;
        *rest = after;
    }
}

/// The part of a header that has not been read yet.
struct Header<'a>(&'a [u8]);

impl Header<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*field)
    }

    fn end(&mut self) -> Result<SocketAddr, Malformed> {
        let ip = Ipv6Addr::from(self.take::<16>()?).to_canonical();
        Ok(SocketAddr::new(ip, u16::from_ne_bytes(self.take()?)))
    }
}

fn as_ipv6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outer() -> Captured<'static> {
        Captured {
            at: 7_000_000_001,
            way: Way::OuterIn,
            peer: Some(0xff_fffe),
            ends: Some(Ends {
                local: "192.0.2.1:1194".parse().unwrap(),
                remote: "[2001:db8::1]:5000".parse().unwrap(),
                is_stream: true,
            }),
            dropped: Some(7),
            length: 1400,
            bytes: b"as much as fits",
        }
    }

    fn inner() -> Captured<'static> {
        Captured {
            way: Way::InnerOut,
            peer: None,
            ends: None,
            dropped: None,
            bytes: b"",
            ..outer()
        }
    }

    fn encoded(packets: &[Captured<'_>]) -> Vec<u8> {
        let mut message = Batch { now: 9, lost: 3 }.encode().to_vec();
        for packet in packets {
            message.extend_from_slice(&packet.header().unwrap());
            message.extend_from_slice(packet.bytes);
        }
        message
    }

    #[test]
    fn packets_are_read_as_they_were_written() {
        let message = encoded(&[outer(), inner(), outer()]);
        let (batch, packets) = Batch::decode(&message).unwrap();
        assert_eq!(batch, Batch { now: 9, lost: 3 });
        assert_eq!(
            message.len(),
            Batch::LEN + 2 * outer().len() + inner().len()
        );
        let (first, rest) = Captured::decode(packets).unwrap();
        let (second, rest) = Captured::decode(rest).unwrap();
        assert_eq!(Captured::peek(rest), Ok((outer().len(), outer().at)));
        let (third, rest) = Captured::decode(rest).unwrap();
        assert_eq!((first, second, third), (outer(), inner(), outer()));
        assert_eq!(Captured::decode(rest), Err(Malformed));
        for way in [Way::InnerOut, Way::InnerIn, Way::OuterOut, Way::OuterIn] {
            let packet = Captured { way, ..inner() };
            let message = encoded(&[packet]);
            assert_eq!(Captured::decode(&message[Batch::LEN..]).unwrap().0, packet);
        }
    }

    #[test]
    fn a_cut_packet_is_no_packet() {
        let message = encoded(&[outer()]);
        for cut in 0..message.len() {
            let packets = Batch::decode(&message[..cut]).map(|(_, packets)| packets);
            assert!(packets.is_err() || Captured::decode(packets.unwrap()).is_err());
            assert!(packets.is_err() || Captured::peek(packets.unwrap()).is_err());
        }
    }

    #[test]
    fn wanted_packets_are_encoded_as_bits() {
        for bits in 0..8 {
            assert_eq!(Wanted::of_wire(bits).to_wire(), bits);
        }
    }
}
