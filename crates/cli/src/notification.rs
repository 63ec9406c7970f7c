//! Events of peers, as text and as JSON.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use serde_json::{Value, json};
use udco_netlink::{DeleteReason, Notification};

use crate::output;

/// What is known of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) common_name: Option<String>,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) vpn4: Option<Ipv4Addr>,
    pub(crate) vpn6: Option<Ipv6Addr>,
}

/// Prints an event immediately: as an object for programs, or as a line for people.
pub(crate) fn print(as_json: bool, line: &str, object: &Value) -> Result<()> {
    if as_json {
        output::line!("{object}");
    } else {
        output::line!("{line}");
    }
    output::flush()
}

/// A line for people.
pub(crate) fn line(device: &str, notification: &Notification, who: Option<&Who>) -> String {
    match notification {
        Notification::PeerDeleted { peer, reason, .. } => {
            let who = who.map(words).unwrap_or_default();
            format!(
                "{device}: peer {peer}{who} deleted: {}",
                reason_words(*reason)
            )
        }
        Notification::PeerFloated { peer, remote, .. } => {
            format!("{device}: peer {peer} is now at {remote}")
        }
        Notification::KeySwap { peer, key_id, .. } => {
            format!("{device}: peer {peer}: key {key_id} is nearly used up: install a new one")
        }
    }
}

/// Who a peer was: ` (alice) at 192.0.2.1:1194, 10.8.0.2`.
fn words(who: &Who) -> String {
    let name = who.common_name.as_ref().map(|name| format!(" ({name})"));
    let remote = who.remote.map(|remote| format!(" at {remote}"));
    let inside = [who.vpn4.map(IpAddr::V4), who.vpn6.map(IpAddr::V6)];
    let inside = inside.into_iter().flatten().map(|it| format!(", {it}"));
    name.into_iter().chain(remote).chain(inside).collect()
}

/// The object that `udco monitor --json` prints.
pub(crate) fn object(device: &str, notification: &Notification, who: Option<&Who>) -> Value {
    match notification {
        Notification::PeerDeleted {
            ifindex,
            peer,
            reason,
        } => json!({
            "event": "peer-deleted",
            "device": device,
            "ifindex": ifindex,
            "peer": peer,
            "reason": reason.name(),
            "common_name": who.and_then(|it| it.common_name.as_ref()),
            "remote": who.and_then(|it| it.remote),
            "vpn4": who.and_then(|it| it.vpn4),
            "vpn6": who.and_then(|it| it.vpn6),
        }),
        Notification::PeerFloated {
            ifindex,
            peer,
            remote,
        } => json!({
            "event": "peer-floated",
            "device": device,
            "ifindex": ifindex,
            "peer": peer,
            "remote": remote,
        }),
        Notification::KeySwap {
            ifindex,
            peer,
            key_id,
        } => json!({
            "event": "rekey-due",
            "device": device,
            "ifindex": ifindex,
            "peer": peer,
            "key_id": key_id,
        }),
    }
}

/// The interface that a notification is about.
pub(crate) fn ifindex(notification: &Notification) -> u32 {
    match notification {
        Notification::PeerDeleted { ifindex, .. }
        | Notification::PeerFloated { ifindex, .. }
        | Notification::KeySwap { ifindex, .. } => *ifindex,
    }
}

/// Why a peer is gone, for people.
pub(crate) const fn reason_words(reason: DeleteReason) -> &'static str {
    match reason {
        DeleteReason::Teardown => "its device was deleted, or it was replaced (teardown)",
        DeleteReason::Userspace => "by request (userspace)",
        DeleteReason::Expired => "its keepalive timeout expired (expired)",
        DeleteReason::TransportError => "its transport failed (transport-error)",
        DeleteReason::TransportDisconnect => "its socket was closed (transport-disconnect)",
    }
}
