//! Which network namespace a client, device or socket is in.
//!
//! The kernel numbers them per socket, since Linux 5.14. Before that, a client reports its own, by the inode of
//! `/proc/self/ns/net`, and everything that it hands over counts as being in the same one: its devices, channels and
//! transport sockets. It may lie, so its report counts only among the clients of one user, which may act on each
//! other's devices anyway: two users never share a namespace here, not even root and another one (faults B5, D1).

use std::os::fd::BorrowedFd;

use udco_sys::Netns;

use crate::client::Client;

/// Marks the namespace of a client that has not reported one; no other client shares it.
const NAMELESS: u64 = 1 << 63;

/// A client's namespace at first: the kernel's number, or a unique one until the client reports its own.
pub(crate) const fn at_first(kernel: Netns, session: u64) -> Netns {
    match kernel.is_known() {
        true => kernel,
        false => Netns::numbered(NAMELESS | session),
    }
}

/// The namespace of a client that reports this inode; `None` if its namespace is already known.
pub(crate) fn said(client: &Client, inode: u64) -> Option<Netns> {
    let inode = u32::try_from(inode).ok().filter(|inode| *inode != 0)?;
    // No two namespaces share a number. The highest uids cannot report one: it would look unreported.
    let number = u64::from(client.uid) << 32 | u64::from(inode);
    let is_open = client.netns.number() & NAMELESS != 0 && number & NAMELESS == 0;
    is_open.then_some(Netns::numbered(number))
}

/// The namespace of a socket that a client has handed over.
pub(crate) fn of(socket: BorrowedFd<'_>, client: &Client) -> Netns {
    let netns = udco_sys::network_namespace(socket);
    match netns.is_known() {
        true => netns,
        false => client.netns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INODE: u64 = 0xF000_0098;

    fn client(session: u64, uid: u32) -> Client {
        Client {
            id: session,
            uid,
            netns: at_first(Netns::UNKNOWN, session),
        }
    }

    /// The number of the namespace of a client that reports this inode.
    fn said_number(client: &Client, inode: u64) -> Option<u64> {
        said(client, inode).map(Netns::number)
    }

    #[test]
    fn clients_of_one_user_that_report_the_same_are_in_one_namespace_and_no_others() {
        let place = said_number(&client(1, 0), INODE);
        assert!(place.is_some());
        assert_eq!(said_number(&client(2, 0), INODE), place);
        assert_ne!(said_number(&client(2, 0), INODE + 1), place);
        assert_ne!(said_number(&client(2, 1000), INODE), place);
        for nonsense in [0, u64::MAX, 1 << 32] {
            assert_eq!(said_number(&client(1, 0), nonsense), None);
        }
        assert_eq!(said_number(&client(1, u32::MAX), INODE), None);
        assert!(!client(1, 0).netns.may_be(client(2, 0).netns));
    }

    #[test]
    fn the_kernels_number_counts_and_a_clients_report_only_once() {
        let numbered = Client {
            netns: at_first(Netns::numbered(77), 1),
            ..client(1, 0)
        };
        assert_eq!(numbered.netns.number(), 77);
        assert_eq!(said_number(&numbered, INODE), None);
        let placed = Client {
            netns: said(&client(1, 0), INODE).unwrap(),
            ..client(1, 0)
        };
        assert_eq!(said_number(&placed, INODE + 1), None);
    }
}
