//! Where udco deliberately answers differently from the kernel: the list of docs/netlink-api.md. Our answer is pinned
//! too, so that another difference cannot hide behind an intended one.

use crate::compare::is_acknowledgement;
use crate::transcript::{Scenario, Step};

/// A step, or a kind of request, that is answered differently on purpose.
enum Deliberate {
    /// This step of this scenario, where its packets or the earlier state make the difference; and our differing
    /// datagrams in hex.
    Step(&'static str, usize, &'static [&'static str]),
    /// Every request that contains these bytes; and whether an answer is the intended one.
    Request(&'static [u8], fn(&[Vec<u8>]) -> bool),
}

/// All of them; the reasons are in docs/netlink-api.md.
const DELIBERATE: &[Deliberate] = &[
    // The older API is offered too: `ctrl_getfamily` 4, and every link of its kind.
    Deliberate::Request(b"ovpn-dco", is_older_api),
    // A late packet from the old address does not move the peer back: there is no notification, and PEER_GET reports
    // where it is.
    Deliberate::Step("ntf_float", 22, &[]),
    Deliberate::Step(
        "ntf_float",
        23,
        &[
            concat!(
                "c0000000d00700000c000000e903000003010000ac000280080001000100000008001800010000000800",
                "08000a09000208000d000000000008000e00000000001400030000000000000000000000000000000001",
                "0800040000000000060005401772000014000b000000000000000000000000000000000106000c401388",
                "000008001000000000000800120000000000080011000000000008001300000000000800140018010000",
                "080016000700000008001500000000000800170000000000",
            ),
            "24000000020000010c000000e90300000000000028000000d00705000c00000000000000",
        ],
    ),
];

/// What GETFAMILY reports of `ovpn-dco-v2`, after the headers: its number and version, the length of its header, the
/// highest attribute, its operations and groups.
const OLDER_FAMILY: &str = concat!(
    "100002006f76706e2d64636f2d76320006000100d2070000080003000100000008000400000000000800",
    "05000800000090000600140001000800010001000000080002000b000000140002000800010002000000",
    "080002000b000000140003000800010003000000080002000b0000001400040008000100040000000800",
    "02000b000000140005000800010005000000080002000b00000014000600080001000600000008000200",
    "0b000000140007000800010007000000080002000f0000001c0007001800010008000200d30700000a00",
    "01007065657273000000",
);

/// Whether a step is deliberately answered differently; `None` if not, else whether `ours` is the intended answer.
pub(crate) fn is_as_meant(
    scenario: &Scenario,
    number: usize,
    step: &Step,
    ours: &[Vec<u8>],
) -> Option<bool> {
    let request = step.bytes("req");
    DELIBERATE.iter().find_map(|deliberate| match deliberate {
        Deliberate::Step(name, at, pinned) => {
            (scenario.name == *name && number == *at).then(|| {
                ours.iter()
                    .map(|answer| hex(answer))
                    .eq(pinned.iter().copied())
            })
        }
        Deliberate::Request(bytes, is_meant) => {
            let is_it = request.windows(bytes.len()).any(|part| part == *bytes);
            is_it.then(|| is_meant(ours))
        }
    })
}

/// The family is described and the request acknowledged, or a link is made.
fn is_older_api(ours: &[Vec<u8>]) -> bool {
    match ours {
        [made] => is_acknowledgement(made),
        [family, done] => {
            let described = family.get(20..).unwrap_or_default();
            hex(described) == OLDER_FAMILY && is_acknowledgement(done)
        }
        _ => false,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
