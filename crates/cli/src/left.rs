//! Devices left behind by a killed engine: their packets go nowhere until they are taken over.

use std::collections::HashSet;

use udco_ipc::ALIAS;
use udco_netlink::client::link;
use udco_netlink::{left_link, link_names, message_link};

use crate::rtnetlink;

/// A device of this network namespace that no engine serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) name: String,
    pub(crate) ifindex: u32,
}

/// Left devices whose indexes are not among `served`.
pub(crate) fn devices(served: &HashSet<u32>) -> Vec<Left> {
    let reply = rtnetlink::dump(&link::all(1)).unwrap_or_default();
    let left = reply.iter().filter_map(|message| {
        left_link(message, ALIAS)?;
        let (name, ifindex) = (link_names(message)?.0.to_owned(), message_link(message)?);
        Some(Left { name, ifindex })
    });
    left.filter(|device| !served.contains(&device.ifindex))
        .collect()
}

/// Whether udco made the interface of this name, according to its alias.
pub(crate) fn is_ours(name: &str) -> bool {
    let reply = rtnetlink::dump(&link::all(1)).unwrap_or_default();
    let mut names = reply.iter().filter_map(|message| link_names(message));
    names.any(|(known, alias)| known == name && alias.starts_with(ALIAS))
}
