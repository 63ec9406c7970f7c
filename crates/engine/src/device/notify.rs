//! The listeners that a device notifies.

use udco_netlink::{Api, Notification};
use udco_sys::Netns;

use crate::client::ClientId;

/// Which listeners are notified: a notification may hold a peer's address (faults D1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Audience {
    /// Those in this network namespace.
    pub(crate) netns: Netns,
    /// The client that uses the device; 0 if none does.
    pub(crate) owner: ClientId,
    /// The user whose client made it.
    pub(crate) uid: u32,
}

/// Sends notifications to listeners.
pub(crate) trait Notify: Send + Sync {
    /// Queues a notification for each listener of this audience. It never waits for one.
    fn notify(&self, audience: Audience, api: Api, notification: &Notification);
}
