//! Which network namespace a client, device or socket is in.
//!
//! The kernel numbers them per socket, since Linux 5.14. Before that, a client reports its own, by the inode of
//! `/proc/self/ns/net`, and everything that it hands over counts as being in the same one: its devices, channels and
//! transport sockets. It may lie, so its report counts only among the clients of one user, which may act on each
//! other's devices anyway: two users never share a namespace here, not even root and another one (faults B5, D1).

use std::os::fd::BorrowedFd;

use crate::client::Client;

/// Marks the namespace of a client that has not reported one; no other client shares it.
const NAMELESS: u64 = 1 << 63;

/// A client's namespace at first: the kernel's number, or a unique one until the client reports its own.
pub(crate) const fn at_first(kernel: u64, session: u64) -> u64 {
    match kernel {
        0 => NAMELESS | session,
        number => number,
    }
}

/// The namespace of a client that reports this inode; `None` if its namespace is already known.
pub(crate) fn said(client: &Client, inode: u64) -> Option<u64> {
    let inode = u32::try_from(inode).ok().filter(|inode| *inode != 0)?;
    // No two namespaces share a number. The highest uids cannot report one: it would look unreported.
    let number = u64::from(client.uid) << 32 | u64::from(inode);
    let is_open = client.netns & NAMELESS != 0 && number & NAMELESS == 0;
    is_open.then_some(number)
}

/// The namespace of a socket that a client has handed over.
pub(crate) fn of(socket: BorrowedFd<'_>, client: &Client) -> u64 {
    match udco_sys::network_namespace(socket) {
        0 => client.netns,
        number => number,
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
            netns: at_first(0, session),
        }
    }

    #[test]
    fn clients_of_one_user_that_report_the_same_are_in_one_namespace_and_no_others() {
        let place = said(&client(1, 0), INODE);
        assert!(place.is_some());
        assert_eq!(said(&client(2, 0), INODE), place);
        assert_ne!(said(&client(2, 0), INODE + 1), place);
        assert_ne!(said(&client(2, 1000), INODE), place);
        for nonsense in [0, u64::MAX, 1 << 32] {
            assert_eq!(said(&client(1, 0), nonsense), None);
        }
        assert_eq!(said(&client(1, u32::MAX), INODE), None);
        assert_ne!(at_first(0, 1), at_first(0, 2));
    }

    #[test]
    fn the_kernels_number_counts_and_a_clients_report_only_once() {
        let numbered = Client {
            netns: at_first(77, 1),
            ..client(1, 0)
        };
        assert_eq!(numbered.netns, 77);
        assert_eq!(said(&numbered, INODE), None);
        let placed = Client {
            netns: said(&client(1, 0), INODE).unwrap(),
            ..client(1, 0)
        };
        assert_eq!(said(&placed, INODE + 1), None);
    }
}
