//! The program's rtnetlink socket, which stays the kernel's.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// An rtnetlink socket.
#[derive(Default)]
pub(crate) struct RouteSocket {
    /// Answers of the engine that the program has not read yet.
    pub(crate) pending: VecDeque<Pending>,
}

/// An answer of the engine. The kernel's acknowledgement of a no-op request holds its place in the socket's queue: so
/// the socket becomes readable, and the answers stay in order.
pub(crate) struct Pending {
    /// The answer.
    pub(crate) answer: Vec<u8>,
    /// The acknowledgement of that request is in the queue.
    pub(crate) has_place: bool,
}
