//! An older kernel, as the engine would meet it: calls that it does not know fail as they would there. This applies to
//! the test's thread and to all that it starts afterwards, including an engine.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// `TUNSETOFFLOAD` on x86-64 and arm64, and its flags for UDP.
const TUNSETOFFLOAD: u64 = 0x4004_54d0;
const USO: u64 = 0x20 | 0x40;

const SOL_SOCKET: u64 = 1;
const SO_NETNS_COOKIE: u64 = 71;

const EINVAL: u32 = 22;
const ENOPROTOOPT: u32 = 92;

/// A kernel before 6.2: no segmentation of UDP for a TUN device.
pub(crate) fn before_6_2() {
    let is_offload = condition(1, SeccompCmpOp::Eq, TUNSETOFFLOAD);
    for flag in [USO & 0x20, USO & 0x40] {
        let has_flag = condition(2, SeccompCmpOp::MaskedEq(flag), flag);
        refuse(libc_ioctl(), vec![is_offload.clone(), has_flag], EINVAL);
    }
}

/// A kernel before 5.14: it does not number network namespaces.
pub(crate) fn before_5_14() {
    let is_level = condition(1, SeccompCmpOp::Eq, SOL_SOCKET);
    let is_cookie = condition(2, SeccompCmpOp::Eq, SO_NETNS_COOKIE);
    refuse(libc_getsockopt(), vec![is_level, is_cookie], ENOPROTOOPT);
}

const fn libc_getsockopt() -> i64 {
    if cfg!(target_arch = "x86_64") {
        55
    } else {
        209
    }
}

const fn libc_ioctl() -> i64 {
    if cfg!(target_arch = "x86_64") { 16 } else { 29 }
}

fn condition(argument: u8, is: SeccompCmpOp, value: u64) -> SeccompCondition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value).unwrap()
}

fn refuse(call: i64, conditions: Vec<SeccompCondition>, errno: u32) {
    let rules = BTreeMap::from([(call, vec![SeccompRule::new(conditions).unwrap()])]);
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let refused = SeccompAction::Errno(errno);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture).unwrap();
    let filter: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&filter).unwrap();
}
