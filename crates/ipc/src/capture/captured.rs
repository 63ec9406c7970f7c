//! Captured packets as bytes.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{Ends, Way};
use crate::Malformed;

/// A captured packet; or a run of packets that were seen together, all of one length but for the last, which may be
/// shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// When, in nanoseconds of the engine's clock ([`Batch::now`](super::Batch::now)).
    pub at: u64,
    /// Where it was seen.
    pub way: Way,
    /// Id of its peer, if it has one.
    pub peer: Option<u32>,
    /// The addresses of an outer packet.
    pub ends: Option<Ends>,
    /// If it was dropped: the number of the reason, in the order of `DropReason::ALL`.
    pub dropped: Option<u16>,
    /// Its length, in bytes: that of each packet of a run but the last.
    pub length: u32,
    /// The length of a run's last packet; of a single one, its length again.
    pub last_length: u32,
    /// How much of each packet of a run but the last was captured; of a single one, at least all that was.
    pub each: u32,
    /// As much as was captured: a run's packets lie one after the other.
    pub bytes: &'a [u8],
}

/// Stand for no peer, and for no reason.
const NO_PEER: u32 = u32::MAX;
const NO_REASON: u16 = u16::MAX;

/// Bits beside the way.
const STREAM: u16 = 4;
const ENDS: u16 = 8;

/// Bytes of header before each packet, or run of packets.
pub const HEADER: usize = 68;

impl<'a> Captured<'a> {
    /// A single packet of this length.
    const fn alone(self, length: u32) -> Self {
        Self {
            length,
            last_length: length,
            each: self.bytes.len() as u32,
            ..self
        }
    }

    /// The packets of a run, or the only one, each by itself.
    pub fn packets(&self) -> impl Iterator<Item = Self> + use<'a> {
        let run = *self;
        let each = (run.each as usize).max(1);
        let count = run.bytes.len().div_ceil(each).max(1);
        (1..=count).map(move |nth| {
            let bytes = run.bytes.get((nth - 1) * each..).unwrap_or_default();
            let (bytes, length) = match nth == count {
                true => (bytes, run.last_length),
                false => (bytes.get(..each).unwrap_or(bytes), run.length),
            };
            Self { bytes, ..run }.alone(length)
        })
    }

    /// The header. `captured` bytes follow it: those of [`Self::bytes`], wherever they lie.
    #[must_use]
    #[inline]
    pub fn header(&self, captured: u32) -> [u8; HEADER] {
        let mut header = [0; HEADER];
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
        put(&mut rest, self.last_length.to_ne_bytes());
        put(&mut rest, self.each.to_ne_bytes());
        put(&mut rest, self.at.to_ne_bytes());
        put(&mut rest, self.peer.unwrap_or(NO_PEER).to_ne_bytes());
        put(&mut rest, bits.to_ne_bytes());
        put(&mut rest, self.dropped.unwrap_or(NO_REASON).to_ne_bytes());
        for end in [local, remote] {
            put(&mut rest, as_ipv6(end.ip()).octets());
            put(&mut rest, end.port().to_ne_bytes());
        }
        header
    }

    /// The encoded length of the first packet of a batch, or run, and when it came, without a look at the rest of its header.
    ///
    /// # Errors
    /// [`Malformed`] if it is incomplete.
    #[inline]
    pub fn peek(packets: &[u8]) -> Result<(usize, u64), Malformed> {
        let (header, rest) = packets.split_first_chunk::<HEADER>().ok_or(Malformed)?;
        let mut fields = Header(header);
        let captured = u32::from_ne_bytes(fields.take()?) as usize;
        let _lengths: [u8; 12] = fields.take()?;
        let at = u64::from_ne_bytes(fields.take()?);
        if rest.len() < captured {
            return Err(Malformed);
        }
        Ok((HEADER + captured, at))
    }

    /// Decodes the first packet of a batch, or run, and returns those that follow.
    ///
    /// # Errors
    /// [`Malformed`] if it is incomplete.
    #[inline]
    pub fn decode(packets: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let (header, rest) = packets.split_first_chunk::<HEADER>().ok_or(Malformed)?;
        let mut fields = Header(header);
        let captured = u32::from_ne_bytes(fields.take()?);
        let length = u32::from_ne_bytes(fields.take()?);
        let last_length = u32::from_ne_bytes(fields.take()?);
        let each = u32::from_ne_bytes(fields.take()?);
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
            last_length,
            each,
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
