//! Where udco answers unlike the kernel on purpose: the list of docs/netlink-api.md.

use crate::transcript::{Scenario, Step};

/// A step, or a kind of request, that is answered differently on purpose.
pub(crate) enum Deliberate {
    /// This step of this scenario, as its packets or the state before make the difference.
    Step(&'static str, usize),
    /// Every request that holds these bytes.
    Request(&'static [u8]),
}

/// All of them; the reasons are in docs/netlink-api.md.
const DELIBERATE: &[Deliberate] = &[
    // The older API is offered too: `ctrl_getfamily` 4, and every link of its kind.
    Deliberate::Request(b"ovpn-dco"),
    // A late packet from the old address does not move the peer back, and PEER_GET tells so.
    Deliberate::Step("ntf_float", 22),
    Deliberate::Step("ntf_float", 23),
];

/// Whether a step is different on purpose.
pub(crate) fn is_deliberate(scenario: &Scenario, number: usize, step: &Step) -> bool {
    let request = step.bytes("req");
    DELIBERATE.iter().any(|deliberate| match deliberate {
        Deliberate::Step(name, at) => scenario.name == *name && number == *at,
        Deliberate::Request(bytes) => request.windows(bytes.len()).any(|part| part == *bytes),
    })
}
