//! Random super-packets, including some that merging never makes: with any flags, options and extension headers.

use udco_core::offload::virtio::{GSO_ECN, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, Header, NEEDS_CSUM};

use super::packets::{Batch, Build};
use crate::dice::Dice;

const CWR: u8 = 0x80;

/// Adds one, with its virtio header; one in eight only lacks its checksum.
pub(super) fn push(random: &mut Dice, batch: &mut Batch) {
    let mut build = Build::random(random);
    let is_tcp = build.transport == 6;
    if is_tcp && random.one_in(2) {
        build.flags = random.below(256) as u8;
        build.urgent = random.below(100) as u16;
    }
    if random.one_in(8) {
        // A fragment cannot be a super-packet.
        while build.extra.is_empty() || build.extension == 44 {
            build.extra_header(random);
        }
    }
    let is_super = !random.one_in(8);
    let most = if random.one_in(2) { 1400 } else { 100 };
    let size = 1 + random.below(most);
    // The kernel accepts at most 128 datagrams in one.
    let most = (65_535 - build.headers()).min(size * 128);
    let len = match is_super {
        true => size + 1 + random.below(most.saturating_sub(size + 1).max(1)),
        false => size,
    };
    build.payload = random.bytes(len.min(most));
    let mut packet = build.bytes();
    let body_len = packet.len() - build.transport_at();
    build.put_checksum(&mut packet, build.pseudo(body_len));
    let kind = match (is_tcp, build.v6) {
        (false, _) => GSO_UDP_L4,
        (true, false) => GSO_TCPV4,
        (true, true) => GSO_TCPV6,
    };
    let ecn = if is_tcp && build.flags & CWR != 0 {
        GSO_ECN
    } else {
        0
    };
    let header = Header {
        flags: NEEDS_CSUM,
        gso_type: if is_super { kind | ecn } else { 0 },
        hdr_len: build.headers() as u16,
        gso_size: if is_super { size as u16 } else { 0 },
        csum_start: build.transport_at() as u16,
        csum_offset: build.checksum_field() as u16,
    };
    batch.push(&[&header.to_bytes()[..], &packet].concat());
}
