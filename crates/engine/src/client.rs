//! A client: the process at the other end of a connection.

use udco_sys::Netns;

/// The number of a connection, never reused.
pub(crate) type ClientId = u64;

/// A client, as the kernel reports it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) id: ClientId,
    /// Its user.
    pub(crate) uid: u32,
    /// Its network namespace.
    pub(crate) netns: Netns,
}
