//! Events of peers, as text and as JSON.

use anyhow::Result;
use serde_json::{Value, json};
use udco_netlink::{DeleteReason, Notification};

use crate::output;

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
pub(crate) fn line(device: &str, notification: &Notification) -> String {
    match notification {
        Notification::PeerDeleted { peer, reason, .. } => {
            format!("{device}: peer {peer} deleted: {}", reason_words(*reason))
        }
        Notification::PeerFloated { peer, remote, .. } => {
            format!("{device}: peer {peer} is now at {remote}")
        }
        Notification::KeySwap { peer, key_id, .. } => {
            format!("{device}: peer {peer}: key {key_id} is nearly used up: install a new one")
        }
    }
}

/// The object that `udco monitor --json` prints.
pub(crate) fn object(device: &str, notification: &Notification) -> Value {
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
