//! A client: the program at the other end of a connection.

/// Number of a connection, never used twice.
pub(crate) type ClientId = u64;

/// What the kernel says of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) id: ClientId,
    /// Its user.
    pub(crate) uid: u32,
    /// The kernel's number of its network namespace; 0 if unknown.
    pub(crate) netns: u64,
}

/// Whether two numbers may be those of the same network namespace; 0 is unknown.
pub(crate) const fn may_be_same_netns(one: u64, other: u64) -> bool {
    one == other || one == 0 || other == 0
}
