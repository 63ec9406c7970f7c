//! Interfaces of this network namespace.

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use udco_sys::{Netns, network_namespace};

/// Bytes of the longest name.
const LONGEST: usize = 15;

/// Parses the name of an interface, as far as the kernel takes it for one.
pub(crate) fn argument(text: &str) -> Result<String, String> {
    let is_bad = |c: char| c == '/' || c == ':' || c.is_ascii_whitespace();
    match (1..=LONGEST).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(is_bad)
    {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "an interface's name has 1 to {LONGEST} characters, without spaces, `/` or `:`"
        )),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_kernel() {
        for good in ["tun0", "tun%d", "a-b_c.d", "fifteen-letters"] {
            assert_eq!(argument(good).unwrap(), good);
        }
        for bad in [
            "",
            " ",
            ".",
            "..",
            "a/b",
            "a b",
            "a\nb",
            "a:b",
            "sixteen-letters-",
        ] {
            assert!(argument(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_command_takes_a_name_for_its_device() {
        use clap::Parser;

        for words in [
            "show DEVICE",
            "link add DEVICE",
            "link del DEVICE",
            "link show DEVICE",
            "peer new DEVICE --id 1",
            "peer set DEVICE --id 1 --tx-id 2",
            "peer get DEVICE",
            "peer del DEVICE --id 1",
            "key swap DEVICE --peer 1",
            "key get DEVICE --peer 1 --slot primary",
            "monitor DEVICE",
            "ping DEVICE",
            "capture DEVICE -w -",
        ] {
            let parse = |name: &str| {
                let words = words.split(' ');
                let words = words.map(|word| if word == "DEVICE" { name } else { word });
                crate::Arguments::try_parse_from(["udco"].into_iter().chain(words))
            };
            assert!(parse("tun0").is_ok(), "{words}");
            let refused = parse("").unwrap_err().to_string();
            assert!(refused.contains("1 to 15 characters"), "{words}: {refused}");
        }
    }
}
