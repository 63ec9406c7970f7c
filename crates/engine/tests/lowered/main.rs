//! A memory limit below what the engine has (promises J5): what may be refused is, and what has to end finds the reserve.

#[path = "../wire/api.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod api;
#[path = "../client/mod.rs"]
mod client;
#[path = "../wire/eventually.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod eventually;
#[path = "../wire/forger.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod forger;
#[path = "../wire/inner.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod inner;
#[path = "../wire/site.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod site;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use udco_sys::memory::{self, Allocator};

use crate::api::{BOTH, SECONDARY};
use crate::client::namespace::enter;
use crate::site::{Plan, Site};

/// The one of the program, with its reserve.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const PEERS: u32 = 250;

const EDQUOT: i32 = 122;

/// So much that nothing is refused, but that all threads allocate in one place, as under any limit.
const MUCH: u64 = 4 << 30;

fn limit_to(bytes: u64) {
    let limits = Rlimit {
        current: Some(bytes),
        ..getrlimit(Resource::As)
    };
    setrlimit(Resource::As, limits).unwrap();
}

/// Lowers the limit to less than what is in use, and uses up what the heap has left, down to what a request takes.
fn lower() -> Vec<Vec<u8>> {
    limit_to(1 << 20);
    let mut all = Vec::new();
    for size in [64 << 10, 4 << 10] {
        while memory::is_left(size) {
            all.push(vec![1; size]);
        }
    }
    all
}

#[test]
fn keys_dumps_and_ends_without_memory_end_no_engine() {
    if !enter("keys_dumps_and_ends_without_memory_end_no_engine") {
        return;
    }
    limit_to(MUCH);
    for api in BOTH {
        let site = Site::planned(&Plan::of(api));
        let (openvpn, target) = (&site.openvpn, site.openvpn.target);
        let remote = site.add_peer(1).address();
        for id in 2..=PEERS {
            openvpn.must(&target.peer_new(&openvpn.new_peer(id, remote)));
        }
        let used_up = lower();
        for id in 1..=PEERS {
            let answer = openvpn.ask(&target.key_new(id, SECONDARY, 1));
            assert_eq!(answer.err(), Some(EDQUOT), "peer {id}");
        }
        let another = openvpn.new_peer(PEERS + 1, remote);
        let answer = openvpn.ask(&target.peer_new(&another));
        assert_eq!(answer.err(), Some(EDQUOT));
        openvpn
            .client
            .request(&openvpn.requests, &target.peer_dump(), None);
        let answers = openvpn.requests.drain();
        assert_eq!(answers.len(), 1, "the dump's end alone");
        for id in 1..=PEERS {
            openvpn.must(&target.peer_del(id));
        }
        drop(used_up);
        limit_to(MUCH);
        let notified = site.notifications().len();
        assert_eq!(notified, PEERS as usize);
        assert!(!memory::is_on_reserve());
        let _ = site.add_peer(1);
        openvpn.must(&target.key_new(1, SECONDARY, 1));
    }
}
