//! The routes of a device left behind by a killed run that the next run does not set.
//!
//! They stay with the device, so that nothing leaves in the clear before the next run has set its own. If its
//! configuration lacks some of them, their packets go on into the tunnel, where the other end may drop them. Which
//! program has set a route is not to be seen, an administrator may need it: so they are named once the run has set up
//! everything (`completed`), and stay.

use crate::answer;
use crate::fib::{self, BOOT, Route};
use alloc::vec::Vec;

/// Routes through devices taken over that the program has not set.
#[derive(Debug, Default)]
pub(crate) struct OldRoutes {
    routes: Vec<Route>,
}

impl OldRoutes {
    pub(crate) const fn new() -> Self {
        Self { routes: Vec::new() }
    }

    /// Remembers the routes of a device that the program has taken over. Those of routing daemons and of the kernel
    /// itself are known by their origin.
    pub(crate) fn extend(&mut self, ifindex: u32) {
        let is_meant = |route: &Route| route.ifindex == ifindex && route.protocol == BOOT;
        self.routes.extend(all().filter(is_meant));
    }

    /// Forgets the routes that a request of the program sets. It need not name the device.
    pub(crate) fn set(&mut self, request: &[u8]) {
        if self.routes.is_empty() || answer::only_kind(request) != Some(libc::RTM_NEWROUTE) {
            return;
        }
        if let Some(new) = fib::read(request) {
            self.routes.retain(|old| {
                !old.has_destination_of(&new) || ![0, old.ifindex].contains(&new.ifindex)
            });
        }
    }

    /// Those that are still there. From now on they count as known.
    pub(crate) fn take(&mut self) -> Vec<Route> {
        let old = core::mem::take(&mut self.routes);
        if old.is_empty() {
            return old;
        }
        all().filter(|route| old.contains(route)).collect()
    }
}

/// The main tables of both families.
fn all() -> impl Iterator<Item = Route> {
    let families = [libc::AF_INET, libc::AF_INET6].into_iter();
    families.flat_map(|family| fib::main_routes(family as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: u8 = libc::AF_INET as u8;
    const V6: u8 = libc::AF_INET6 as u8;

    fn route(family: u8, prefix: u8, destination: &[u8]) -> Route {
        let device = (libc::RTA_OIF, &7u32.to_ne_bytes()[..]);
        let attributes = [device, (libc::RTA_DST, destination)];
        fib::read(&request(family, prefix, &attributes)).unwrap()
    }

    fn request(family: u8, prefix: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut fixed = [0; fib::ROUTE];
        fixed[0] = family;
        fixed[1] = prefix;
        answer::request(libc::RTM_NEWROUTE, 0, &fixed, attributes)
    }

    #[test]
    fn a_route_that_is_set_again_is_not_named() {
        let mut old = OldRoutes {
            routes: alloc::vec![
                route(V4, 1, &[]),
                route(V4, 1, &[128, 0, 0, 0]),
                route(V6, 3, &[0x20; 1]),
            ],
        };
        let other = 8u32.to_ne_bytes();
        let half = [128, 0, 0, 0];
        old.set(&request(
            V4,
            1,
            &[(libc::RTA_DST, &half), (libc::RTA_OIF, &other)],
        ));
        old.set(&request(V4, 2, &[(libc::RTA_DST, &half)]));
        old.set(&request(V6, 1, &[(libc::RTA_DST, &half)]));
        assert_eq!(old.routes.len(), 3, "none of these is one of them");
        old.set(&request(V4, 1, &[(libc::RTA_DST, &[0; 4])]));
        let device = 7u32.to_ne_bytes();
        let to = [0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        old.set(&request(
            V6,
            3,
            &[(libc::RTA_DST, &to), (libc::RTA_OIF, &device)],
        ));
        assert_eq!(old.routes, [route(V4, 1, &half)]);
    }
    /// The kernel says so of a device that has just been opened.
    #[test]
    fn a_route_whose_link_was_down_is_the_same_once_it_is_up() {
        let mut fixed = [0; fib::ROUTE];
        fixed[0] = V4;
        let up = answer::request(libc::RTM_NEWROUTE, 0, &fixed, &[]);
        fixed[8..].copy_from_slice(&16_u32.to_ne_bytes());
        let down = answer::request(libc::RTM_NEWROUTE, 0, &fixed, &[]);
        assert_eq!(fib::read(&down), fib::read(&up));
    }
}
