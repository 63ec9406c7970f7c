//! The queueing discipline of a device.

/// `RTM_NEWQDISC` of `<linux/rtnetlink.h>`.
const NEWQDISC: u16 = 36;
/// `NLM_F_REQUEST`, `NLM_F_REPLACE` and `NLM_F_CREATE`, without an acknowledgement.
const FLAGS: u16 = 0x001 | 0x100 | 0x400;
/// `TC_H_ROOT`.
const ROOT: u32 = u32::MAX;
/// `TCA_KIND`.
const KIND: u16 = 1;
const NONE: &[u8; 8] = b"noqueue\0";

/// Bytes of `struct nlmsghdr`, `struct tcmsg`, `struct nlattr` and the kind.
const LEN: usize = 16 + 20 + 4 + NONE.len();

/// The request that leaves a device without a queueing discipline, as the driver's devices are: the device's own queues
/// follow at once. A device with several queues has 256 of the kernel's transmit queues, and would have one for each, in
/// megabytes of memory.
pub(crate) fn without(ifindex: u32) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    let fields: [&[u8]; 11] = [
        &(LEN as u32).to_ne_bytes(),
        &NEWQDISC.to_ne_bytes(),
        &FLAGS.to_ne_bytes(),
        // Number and port; then the family.
        &[0; 12],
        &ifindex.to_ne_bytes(),
        // The new one's handle.
        &[0; 4],
        &ROOT.to_ne_bytes(),
        // `tcm_info`.
        &[0; 4],
        &((4 + NONE.len()) as u16).to_ne_bytes(),
        &KIND.to_ne_bytes(),
        NONE,
    ];
    for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_as_the_kernel_has_it() {
        let bytes = without(7);
        let word = |at: usize| u32::from_ne_bytes(*bytes[at..].first_chunk().unwrap());
        assert_eq!(word(0), 48, "nlmsg_len");
        assert_eq!(
            bytes[4..8],
            [36u16.to_ne_bytes(), 0x501u16.to_ne_bytes()].concat()
        );
        assert_eq!(
            (word(20), word(28)),
            (7, u32::MAX),
            "tcm_ifindex, tcm_parent"
        );
        assert_eq!(
            bytes[36..40],
            [12u16.to_ne_bytes(), 1u16.to_ne_bytes()].concat()
        );
        assert_eq!(&bytes[40..], b"noqueue\0");
    }
}
