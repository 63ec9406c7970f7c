//! A client: the process at the other end of a connection.

/// The number of a connection, never reused.
pub(crate) type ClientId = u64;

/// A client, as the kernel reports it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) id: ClientId,
    /// Its user.
    pub(crate) uid: u32,
    /// The kernel's number of its network namespace; 0 if unknown.
    pub(crate) netns: u64,
}

/// Whether two numbers may mean the same network namespace; 0 is unknown.
pub(crate) const fn may_be_same_netns(one: u64, other: u64) -> bool {
    one == other || one == 0 || other == 0
}
