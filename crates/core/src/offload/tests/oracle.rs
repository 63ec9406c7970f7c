//! What may be merged, by the letter of promises E4 and from the bytes alone: a second reading of the rules, slow, and
//! without any of the merger's code.

use super::naive_sum;

/// The most packets of one group: TCP, UDP (performance 5.1).
const MOST: [usize; 2] = [64, 32];

/// What all packets of a group have in common, and what each has of its own.
#[derive(Debug)]
struct Seen<'p> {
    /// Addresses, transport, ports.
    flow: Vec<&'p [u8]>,
    /// Version, TOS or traffic class and flow label, TTL, fragment word.
    network: Vec<&'p [u8]>,
    /// Acknowledgement, length of the header, window, urgent pointer, options.
    transport: Vec<&'p [u8]>,
    is_tcp: bool,
    id: Option<(u16, bool)>,
    seq: u32,
    pushes: bool,
    headers: usize,
    payload: usize,
}

/// Why these packets must not be one super-packet; `None` if they may be.
pub(in crate::offload) fn objection(packets: &[&[u8]]) -> Option<&'static str> {
    let mut seen = Vec::new();
    for packet in packets {
        match see(packet) {
            Ok(it) => seen.push(it),
            Err(why) => return Some(why),
        }
    }
    let (first, last) = (seen.first()?, seen.last()?);
    let whole: usize = seen.iter().map(|it| it.payload).sum();
    if packets.len() > MOST[usize::from(!first.is_tcp)] || first.headers + whole > 65_535 {
        return Some("oversize");
    }
    let before_last = &seen[..seen.len() - 1];
    if before_last.iter().any(|it| it.payload != first.payload) || last.payload > first.payload {
        return Some("differing sizes");
    }
    if before_last.iter().any(|it| it.pushes) {
        return Some("something behind PSH");
    }
    let ids: Vec<_> = seen.iter().filter_map(|it| it.id).collect();
    let counts_up = ids
        .windows(2)
        .all(|two| two[1].0 == two[0].0.wrapping_add(1));
    // RFC 6864 4.1: an atomic datagram's id means nothing.
    let means_nothing = ids.iter().all(|id| id.1 && id.0 == ids[0].0);
    if !counts_up && !means_nothing {
        return Some("IPv4 ids that do not follow each other");
    }
    for two in seen.windows(2) {
        let (before, it) = (&two[0], &two[1]);
        if it.flow != before.flow {
            return Some("different 5-tuples");
        }
        if it.network != before.network {
            return Some("different IP headers");
        }
        if it.transport != before.transport {
            return Some("different transport headers");
        }
        if it.is_tcp && it.seq != before.seq.wrapping_add(before.payload as u32) {
            return Some("a gap of the sequence");
        }
    }
    None
}

fn see(packet: &[u8]) -> Result<Seen<'_>, &'static str> {
    let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let v4 = packet[0] >> 4 == 4;
    let (at, number, addresses, network) = if v4 {
        if packet[0] != 0x45 {
            return Err("IPv4 options");
        }
        if word(6) & 0xbfff != 0 {
            return Err("a fragment, or the reserved bit");
        }
        if usize::from(word(2)) != packet.len() {
            return Err("another length than IPv4 says");
        }
        if naive_sum(&[&packet[..20]]) != 0xffff {
            return Err("a bad IPv4 checksum");
        }
        let network = vec![&packet[0..2], &packet[6..9]];
        (20, packet[9], &packet[12..20], network)
    } else {
        if usize::from(word(4)) + 40 != packet.len() {
            return Err("another length than IPv6 says");
        }
        let network = vec![&packet[0..4], &packet[7..8]];
        (40, packet[6], &packet[8..40], network)
    };
    let body = &packet[at..];
    let len = (body.len() as u32).to_be_bytes();
    if naive_sum(&[addresses, &len, &[0, number], body]) != 0xffff {
        return Err("a bad checksum");
    }
    let mut seen = Seen {
        flow: vec![addresses, &body[..4]],
        network,
        transport: Vec::new(),
        is_tcp: number == 6,
        id: v4.then(|| (word(4), packet[6] & 0x40 != 0)),
        seq: 0,
        pushes: false,
        headers: at + 8,
        payload: body.len() - 8,
    };
    match number {
        6 => {
            // All flags but ACK and PSH, AccECN's and the reserved bits too.
            if body[12] & 0xf != 0 || body[13] & !0x08 != 0x10 {
                return Err("TCP flags");
            }
            let header = usize::from(body[12] >> 4) * 4;
            if header < 20 {
                return Err("a TCP header that is too short");
            }
            seen.transport = vec![&body[8..13], &body[14..16], &body[18..header]];
            seen.seq = u32::from_be_bytes([body[4], body[5], body[6], body[7]]);
            seen.pushes = body[13] & 0x08 != 0;
            seen.headers = at + header;
            seen.payload = body.len() - header;
        }
        17 => {
            if body[6..8] == [0, 0] {
                return Err("no UDP checksum");
            }
            if usize::from(word(at + 4)) != body.len() {
                return Err("another length than UDP says");
            }
        }
        _ => return Err("neither TCP nor UDP, or an extension header"),
    }
    if seen.payload == 0 {
        return Err("no payload");
    }
    Ok(seen)
}
