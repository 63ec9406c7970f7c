//! The comparison: which parts of a recording vary, and which are compared as sets.

use crate::transcript;

/// The message types and attributes that matter here.
const NLMSG_ERROR: u16 = 2;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_MCAST_GROUPS: u16 = 7;
const CTRL_MCAST_GROUP_ID: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;

/// Bytes of `nlmsghdr`, `genlmsghdr` and `ifinfomsg`.
const HEADER: usize = 16;
const GENERIC: usize = 4;
const IFINFO: usize = 16;

/// The attributes of a link that are compared: name, MTU, operational state, link info, carrier, least and largest MTU.
/// The others depend on the host.
const LINK_ATTRIBUTES: [u16; 7] = [3, 4, 16, 18, 33, 50, 51];

/// Numbers that differ between the recorded kernel and udco.
#[derive(Clone, Copy)]
pub(crate) struct Numbers {
    /// Message type of `ovpn`: recorded, ours.
    pub(crate) family: (u16, u16),
    /// Group `peers`.
    pub(crate) group: (u32, u32),
}

impl Numbers {
    /// A recorded datagram of generic Netlink with our numbers in place of the recorded ones.
    pub(crate) fn translate(&self, datagram: &[u8]) -> Vec<u8> {
        let mut ours = datagram.to_vec();
        let mut at = 0;
        while at + HEADER <= ours.len() {
            let len = u32_at(&ours, at) as usize;
            let end = (at + len.max(HEADER)).min(ours.len());
            self.translate_message(&mut ours[at..end]);
            at = end.next_multiple_of(4);
        }
        ours
    }

    fn translate_message(&self, message: &mut [u8]) {
        if message.len() < 6 {
            return;
        }
        match u16_at(message, 4) {
            kind if kind == self.family.0 => {
                message[4..6].copy_from_slice(&self.family.1.to_ne_bytes());
            }
            NLMSG_ERROR if message.len() > HEADER + 4 => {
                self.translate_message(&mut message[HEADER + 4..]);
            }
            GENL_ID_CTRL if message.len() > HEADER + GENERIC => {
                self.translate_family(&mut message[HEADER + GENERIC..]);
            }
            _ => {}
        }
    }

    /// Attributes of the controller's messages.
    fn translate_family(&self, attributes: &mut [u8]) {
        for (kind, value) in places(attributes) {
            let value = &mut attributes[value];
            if kind == CTRL_FAMILY_ID && *value == self.family.0.to_ne_bytes() {
                value.copy_from_slice(&self.family.1.to_ne_bytes());
            }
            if kind == CTRL_MCAST_GROUPS {
                for (_, group) in places(value) {
                    let group = &mut value[group];
                    for (kind, id) in places(group) {
                        if kind == CTRL_MCAST_GROUP_ID
                            && group[id.clone()] == self.group.0.to_ne_bytes()
                        {
                            group[id].copy_from_slice(&self.group.1.to_ne_bytes());
                        }
                    }
                }
            }
        }
    }
}

/// The answers to a request: `None` if they are the same.
pub(crate) fn answers(
    request: &[u8],
    is_route: bool,
    ours: &[Vec<u8>],
    kernels: &[Vec<u8>],
) -> Option<String> {
    let kind = if request.len() < 6 {
        0
    } else {
        u16_at(request, 4)
    };
    if is_route && kind == RTM_GETLINK {
        let views = |list: &[Vec<u8>]| list.iter().map(|answer| link(answer)).collect::<Vec<_>>();
        return difference("answer", &views(ours), &views(kernels));
    }
    if !is_route && is_peer_dump(request) {
        return difference("answer", &as_set(ours), &as_set(kernels));
    }
    difference("answer", ours, kernels)
}

/// The notifications after a step; as a set where the kernel's order is that of a hash.
pub(crate) fn notifications(
    unordered: bool,
    ours: &[Vec<u8>],
    kernels: &[Vec<u8>],
) -> Option<String> {
    if unordered {
        difference("notification", &as_set(ours), &as_set(kernels))
    } else {
        difference("notification", ours, kernels)
    }
}

/// Compares lists of byte strings.
pub(crate) fn difference(what: &str, ours: &[Vec<u8>], kernels: &[Vec<u8>]) -> Option<String> {
    if ours == kernels {
        return None;
    }
    let hex = |list: &[Vec<u8>]| {
        let lines = list.iter().map(|bytes| {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            format!("|  {}", digits.collect::<String>())
        });
        lines.collect::<String>()
    };
    Some(format!("{what}|ours{}|kernel{}", hex(ours), hex(kernels)))
}

/// Our half of a difference, one entry per datagram.
pub(crate) fn ours_in(difference: &str) -> Vec<Vec<u8>> {
    let lines = difference.split('|').skip_while(|line| *line != "ours");
    let ours = lines.skip(1).take_while(|line| *line != "kernel");
    ours.map(|line| transcript::hex(line.trim_start()))
        .collect()
}

/// Whether an answer is an ACK: an error message with 0 in place of the errno.
pub(crate) fn is_acknowledgement(answer: &[u8]) -> bool {
    answer.len() >= HEADER + 4 && u16_at(answer, 4) == NLMSG_ERROR && u32_at(answer, HEADER) == 0
}

/// PEER_GET with the dump flags.
fn is_peer_dump(request: &[u8]) -> bool {
    request.len() > HEADER
        && u16_at(request, 6) & 0x300 == 0x300
        && u16_at(request, 4) != GENL_ID_CTRL
}

/// All messages of all datagrams, sorted.
fn as_set(datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for datagram in datagrams {
        let mut rest = &datagram[..];
        while rest.len() >= HEADER {
            let len = (u32_at(rest, 0) as usize).max(HEADER).min(rest.len());
            messages.push(rest[..len].to_vec());
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    messages.sort();
    messages
}

/// The parts of an answer to RTM_GETLINK that are compared: headers without the length, and some attributes.
fn link(answer: &[u8]) -> Vec<u8> {
    if answer.len() < HEADER + IFINFO || u16_at(answer, 4) != RTM_NEWLINK {
        return answer.to_vec();
    }
    let mut view = answer[4..HEADER + IFINFO].to_vec();
    let attributes = &answer[HEADER + IFINFO..];
    let mut wanted: Vec<_> = places(attributes)
        .into_iter()
        .filter(|(kind, _)| LINK_ATTRIBUTES.contains(kind))
        .collect();
    wanted.sort_by_key(|(kind, _)| *kind);
    for (kind, value) in wanted {
        view.extend(kind.to_be_bytes());
        view.extend(&attributes[value]);
    }
    view
}

/// Attributes with the places of their values.
fn places(attributes: &[u8]) -> Vec<(u16, std::ops::Range<usize>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + 4 <= attributes.len() {
        let len = usize::from(u16_at(attributes, at));
        if len < 4 || at + len > attributes.len() {
            break;
        }
        found.push((u16_at(attributes, at + 2) & 0x3fff, at + 4..at + len));
        at = (at + len).next_multiple_of(4);
    }
    found
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Our numbers, from the answer to GETFAMILY.
pub(crate) fn numbers_in(family: &[u8]) -> (u16, u32) {
    let attributes = &family[HEADER + GENERIC..];
    let (mut id, mut peers) = (0, 0);
    for (kind, value) in places(attributes) {
        let value = &attributes[value];
        match kind {
            CTRL_FAMILY_ID => id = u16_at(value, 0),
            // The only group, behind the headers of two nested attributes.
            CTRL_MCAST_GROUPS => {
                for (_, group) in places(value) {
                    for (kind, at) in places(&value[group.clone()]) {
                        if kind == CTRL_MCAST_GROUP_ID {
                            peers = u32_at(&value[group.clone()], at.start);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    (id, peers)
}
