//! Which network namespace something is in.
//!
//! The kernel numbers them for each socket, since Linux 5.14. Before, a front says in which one it is, by the inode of
//! `/proc/self/ns/net`, and everything that it hands over is taken to be in the same: its devices, channels and transport
//! sockets. It may lie, so what it says counts only among the programs of one user, who may act on each other's devices
//! anyway: two users are never in one namespace here, not even root and another one (faults B5, D1).

use std::os::fd::BorrowedFd;

use crate::client::Client;

/// Of a program that has not said where it is: nobody is there with it.
const NAMELESS: u64 = 1 << 63;

/// The namespace of a program, as the kernel has it, or before it has said where it is.
pub(crate) const fn at_first(kernel: u64, session: u64) -> u64 {
    match kernel {
        0 => NAMELESS | session,
        number => number,
    }
}

/// A program says that it is in the namespace with this inode: where that is, if nothing is known of it so far.
pub(crate) fn said(program: &Client, inode: u64) -> Option<u64> {
    let inode = u32::try_from(inode).ok().filter(|inode| *inode != 0)?;
    // No two places share a number. The highest uids cannot say where they are: it would be that of a nameless one.
    let number = u64::from(program.uid) << 32 | u64::from(inode);
    let is_open = program.netns & NAMELESS != 0 && number & NAMELESS == 0;
    is_open.then_some(number)
}

/// The namespace of a socket that a program has handed over.
pub(crate) fn of(socket: BorrowedFd<'_>, program: &Client) -> u64 {
    match udco_sys::network_namespace(socket) {
        0 => program.netns,
        number => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INODE: u64 = 0xF000_0098;

    fn program(session: u64, uid: u32) -> Client {
        Client {
            id: session,
            uid,
            netns: at_first(0, session),
        }
    }

    #[test]
    fn programs_of_one_user_that_say_the_same_are_in_one_namespace_and_no_others() {
        let place = said(&program(1, 0), INODE);
        assert!(place.is_some());
        assert_eq!(said(&program(2, 0), INODE), place);
        assert_ne!(said(&program(2, 0), INODE + 1), place);
        assert_ne!(said(&program(2, 1000), INODE), place);
        for nonsense in [0, u64::MAX, 1 << 32] {
            assert_eq!(said(&program(1, 0), nonsense), None);
        }
        assert_eq!(said(&program(1, u32::MAX), INODE), None);
        assert_ne!(at_first(0, 1), at_first(0, 2));
    }

    #[test]
    fn what_the_kernel_says_counts_and_what_a_program_says_once() {
        let numbered = Client {
            netns: at_first(77, 1),
            ..program(1, 0)
        };
        assert_eq!(numbered.netns, 77);
        assert_eq!(said(&numbered, INODE), None);
        let placed = Client {
            netns: said(&program(1, 0), INODE).unwrap(),
            ..program(1, 0)
        };
        assert_eq!(said(&placed, INODE + 1), None);
    }
}
