//! Devices by their index: which are ours, which of these were left behind, and their names.

use crate::answer::{self, HEADER};
use crate::{fib, tun};
use alloc::borrow::ToOwned;
use alloc::ffi::CString;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;
use udco_ipc::Interface;

/// Bytes of `struct ifinfomsg`.
const LINK: usize = 16;

/// Whether it is a device of ours, served or left behind.
pub(crate) fn is_ours(ifindex: u32) -> bool {
    link(ifindex).is_some_and(|reply| udco_ipc::interface(&reply) != Interface::Foreign)
}

/// Whether it is a device left behind.
pub(super) fn is_left(ifindex: u32) -> bool {
    link(ifindex).is_some_and(|reply| tun::is_left(&reply, name_of(&reply).to_bytes()))
}

/// The devices left behind to which routes lead.
pub(super) fn left_devices() -> Vec<u32> {
    let all = [libc::AF_INET, libc::AF_INET6].map(|family| fib::main_routes(family as u8));
    let mut indexes: Vec<u32> = all.iter().flatten().map(|route| route.ifindex).collect();
    indexes.sort_unstable();
    indexes.dedup();
    indexes.retain(|index| is_left(*index));
    indexes
}

/// The name of an interface.
pub(crate) fn interface(ifindex: u32) -> CString {
    link(ifindex).map_or_else(CString::default, |reply| name_of(&reply).to_owned())
}

/// The same for display.
pub(crate) fn name(ifindex: u32) -> String {
    let name = interface(ifindex);
    let name = name.to_string_lossy();
    name.chars().flat_map(char::escape_default).collect()
}

/// The kernel's report of a link.
fn link(ifindex: u32) -> Option<Vec<u8>> {
    if ifindex == 0 {
        return None;
    }
    fib::transact(&answer::about_link(libc::RTM_GETLINK, ifindex)).ok()
}

fn name_of(reply: &[u8]) -> &CStr {
    let mut all = answer::attributes(reply, HEADER + LINK);
    let name = all.find(|(kind, _)| *kind == libc::IFLA_IFNAME);
    let name = name.and_then(|(_, place)| reply.get(place));
    name.and_then(|name| CStr::from_bytes_until_nul(name).ok())
        .unwrap_or_default()
}
