//! The addresses of a device left behind by a killed run.
//!
//! They stay with the device and its routes. The run that takes it over may have another address: the server is
//! another one, or still has the old address in use. Packets would then leave with the old address as their source,
//! and the server would drop them. So when the program adds its address, the others of that family go.

use crate::answer::{self, HEADER, attributes};
use crate::calls::{self, Errno};
use crate::fib;
use alloc::vec::Vec;
use libc::c_int;

/// Bytes of `struct ifaddrmsg`.
const ADDRESS: usize = 8;

/// Offset of the interface index in it.
const INDEX: usize = 4;

/// Left devices whose addresses of a family are still those of the killed run.
#[derive(Debug, Default)]
pub(crate) struct Stale {
    devices: Vec<(u32, u8)>,
}

/// An interface's address.
#[derive(Clone, Debug)]
struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    ifindex: u32,
    local: Vec<u8>,
    /// The other end's on a point-to-point link, otherwise the same.
    peer: Vec<u8>,
}

impl Stale {
    pub(crate) const fn new() -> Self {
        Self {
            devices: Vec::new(),
        }
    }

    /// Remembers that the program has taken over this device.
    pub(crate) fn extend(&mut self, ifindex: u32) {
        let families = [libc::AF_INET, libc::AF_INET6];
        self.devices
            .extend(families.map(|family| (ifindex, family as u8)));
    }

    /// Sends the program's request for an address in place of the killed run's. `None`: there are none to replace, and
    /// the kernel handles it.
    pub(crate) fn replace(&mut self, fd: c_int, request: &[u8]) -> Option<Result<(), Errno>> {
        let new = read(request)?;
        let is_meant =
            |&(ifindex, family): &(u32, u8)| (ifindex, family) == (new.ifindex, new.family);
        let at = self.devices.iter().position(is_meant)?;
        self.devices.swap_remove(at);
        // The kernel itself gives a device its link-local IPv6 address.
        let is_old =
            |old: &Address| !old.is(&new) && (old.is_ipv4() || old.scope != libc::RT_SCOPE_LINK);
        let old: Vec<_> = new.of_same_link().into_iter().filter(is_old).collect();
        if old.is_empty() {
            return None;
        }
        // With its last IPv4 address a device loses its routes, and the next packet leaves in the clear. The old
        // addresses cannot go afterwards: one of the same network takes the new one with it.
        let stand_in = Address {
            prefix: 32,
            peer: new.local.clone(),
            ..new.clone()
        };
        if new.is_ipv4() && stand_in.add().is_err() {
            return None;
        }
        for address in old.iter().filter(|old| !old.is(&stand_in)) {
            let _ = address.delete();
        }
        let sent = calls::send(fd, request, &[]);
        let mut present = new.of_same_link().into_iter();
        if new.is_ipv4() && !stand_in.is(&new) && present.any(|it| it.is(&new)) {
            let _ = stand_in.delete();
        }
        Some(sent)
    }
}

impl Address {
    fn is_ipv4(&self) -> bool {
        c_int::from(self.family) == libc::AF_INET
    }

    /// All addresses of its family that its interface has.
    fn of_same_link(&self) -> Vec<Self> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
        let mut fixed = [0; ADDRESS];
        fixed[0] = self.family;
        let request = answer::request(libc::RTM_GETADDR, flags, &fixed, &[]);
        fib::dump(&request, libc::RTM_NEWADDR, |message| {
            read(message).filter(|it| (it.family, it.ifindex) == (self.family, self.ifindex))
        })
    }

    /// The kernel tells addresses of an interface apart by this.
    fn is(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.prefix, it.local.clone(), it.peer.clone());
        key(self) == key(other)
    }

    fn add(&self) -> Result<(), Errno> {
        self.change(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE)
    }

    fn delete(&self) -> Result<(), Errno> {
        self.change(libc::RTM_DELADDR, 0)
    }

    fn change(&self, kind: u16, flags: c_int) -> Result<(), Errno> {
        let mut fixed = [0; ADDRESS];
        fixed[0] = self.family;
        fixed[1] = self.prefix;
        fixed[INDEX..].copy_from_slice(&self.ifindex.to_ne_bytes());
        let attributes = [
            (libc::IFA_LOCAL, self.local.as_slice()),
            (libc::IFA_ADDRESS, self.peer.as_slice()),
        ];
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags;
        let reply = fib::transact(&answer::request(kind, flags, &fixed, &attributes))?;
        match answer::is_refusal(&reply) {
            true => Err(libc::EINVAL),
            false => Ok(()),
        }
    }
}

/// The index of the interface that an `RTM_NEWADDR` is about.
pub(crate) fn device(request: &[u8]) -> Option<u32> {
    read(request).map(|address| address.ifindex)
}

/// Parses an `RTM_NEWADDR`.
fn read(message: &[u8]) -> Option<Address> {
    let fixed = message.get(HEADER..)?.first_chunk::<ADDRESS>()?;
    let [family, prefix, _, scope, ifindex @ ..] = *fixed;
    let find = |wanted| {
        let mut all = attributes(message, HEADER + ADDRESS);
        let (_, place) = all.find(|(kind, _)| *kind == wanted)?;
        message.get(place)
    };
    // IPv6 has the second attribute only, unless there is another end.
    let (local, peer) = (find(libc::IFA_LOCAL), find(libc::IFA_ADDRESS));
    let local = local.or(peer)?;
    Some(Address {
        family,
        prefix,
        scope,
        ifindex: u32::from_ne_bytes(ifindex),
        local: local.to_vec(),
        peer: peer.unwrap_or(local).to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_another_end_is_its_own() {
        let local = [10, 8, 0, 2];
        let [a, b, c, d] = 7u32.to_ne_bytes();
        let fixed = [2, 24, 0, 0, a, b, c, d];
        for attributes in [
            &[(libc::IFA_LOCAL, &local[..])][..],
            &[(libc::IFA_ADDRESS, &local)],
            &[(libc::IFA_LOCAL, &local), (libc::IFA_ADDRESS, &local)],
        ] {
            let message = answer::request(libc::RTM_NEWADDR, 0, &fixed, attributes);
            let address = read(&message).unwrap();
            assert_eq!((address.prefix, address.ifindex), (24, 7));
            assert_eq!(
                (&address.local[..], &address.peer[..]),
                (&local[..], &local[..])
            );
            for cut in 0..message.len() {
                let _ = read(&message[..cut]);
            }
        }
    }
}
