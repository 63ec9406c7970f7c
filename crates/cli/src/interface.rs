//! Interfaces of this network namespace.

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use udco_sys::{Netns, network_namespace};

/// The index of the interface of this name.
pub(crate) fn index(name: &str) -> Option<u32> {
    netdevice::name_to_index(any_socket()?, name).ok()
}

/// The name of the interface with this index.
pub(crate) fn name(index: u32) -> Option<String> {
    netdevice::index_to_name(any_socket()?, index).ok()
}

/// This network namespace.
pub(crate) fn namespace() -> Netns {
    any_socket().map_or(Netns::UNKNOWN, |any| network_namespace(any.as_fd()))
}

/// The inode of this network namespace, by which an engine names its own.
pub(crate) fn namespace_inode() -> Option<u64> {
    let file = std::fs::metadata("/proc/self/ns/net").ok()?;
    Some(std::os::unix::fs::MetadataExt::ino(&file))
}

fn any_socket() -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).ok()
}
