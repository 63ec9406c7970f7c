//! Index, name and namespace of a device are the kernel's word, whatever a client says (faults D1).
//!
//! The hostile client is a user who may make TUN devices in a namespace of its own, where it may do all it likes, and can
//! reach the engine from the namespace of the others, in which it may change nothing.

use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use rustix::thread::UnshareFlags;
use udco_ipc::{Alias, ToEngine};
use udco_sys::network_namespace;
use udco_sys::route::Monitor;
use udco_sys::tun;

use crate::api::{Api, BOTH};
use crate::client::namespace::enter;
use crate::client::netlink::MULTI_PEER;
use crate::client::{Client, Owned, set_alias};
use crate::site::Site;

/// A device of the hostile client's own namespace, and a monitor of that.
struct Elsewhere {
    queue: OwnedFd,
    ifindex: u32,
    monitor: Monitor,
}

impl Elsewhere {
    /// A device with this name, index and alias, in a new namespace.
    fn make(name: &str, ifindex: u32, alias: &Alias) -> Self {
        let (name, alias) = (name.to_owned(), *alias);
        let make = move || {
            enter_new_namespace();
            let made = loop {
                let made = tun::create(&name, 1).unwrap();
                assert!(made.ifindex <= ifindex, "indices go up");
                if made.ifindex == ifindex {
                    break made;
                }
                for queue in made.queues {
                    tun::Queue::adopt(queue)
                        .unwrap()
                        .set_persist(false)
                        .unwrap();
                }
            };
            set_alias(ifindex, alias.as_bytes());
            Self {
                queue: made.queues.into_iter().next().unwrap(),
                ifindex,
                monitor: Monitor::open().unwrap(),
            }
        };
        thread::spawn(make).join().unwrap()
    }

    fn netns(&self) -> u64 {
        network_namespace(self.monitor.as_fd()).number()
    }
}

/// The namespace applies only to the calling thread.
#[allow(
    deprecated,
    reason = "a network namespace of one thread breaks no memory rule"
)]
fn enter_new_namespace() {
    rustix::thread::unshare(UnshareFlags::NEWNET).unwrap();
}

/// Names of the engine's devices with their indices.
fn devices(client: &Client) -> Vec<(String, u64)> {
    let state = client.show();
    let devices = state["devices"].as_array().unwrap().iter();
    let devices = devices.map(|it| {
        let name = it["name"].as_str().unwrap().to_owned();
        (name, it["ifindex"].as_u64().unwrap())
    });
    devices.collect()
}

#[test]
fn a_device_is_never_registered_for_an_index_that_it_has_not() {
    if !enter("device_proof::a_device_is_never_registered_for_an_index_that_it_has_not") {
        return;
    }
    for api in BOTH {
        let site = Site::open(api);
        let forger = site.add_peer(1);
        site.require_traffic(&forger, b"before");
        let here = Monitor::open().unwrap();
        let netns = network_namespace(here.as_fd()).number();
        let present = site.openvpn.target.ifindex;
        let hostile = Client::welcome(&site.engine);
        // The index of the others' device, and the one that comes next.
        for ifindex in [present, present + 1] {
            for name in ["wire0", "wire1", "other0"] {
                let nonce = hostile.ask_for_device(api.kind(), "asked0", MULTI_PEER);
                let alias = Alias::new(api.kind(), nonce);
                let own = Elsewhere::make(name, ifindex, &alias);
                // Its queue with a monitor of the others' namespace.
                let fds = [own.queue.as_fd(), here.as_fd()];
                assert_ne!(hostile.hand_over((ifindex, netns, name), &fds), 0, "{name}");
                assert_eq!(devices(&site.openvpn.client).len(), 1);
            }
        }
        // The index is still free for its owner, and the traffic unaffected.
        assert_eq!(
            site.openvpn.client.make_device(api.kind(), "wire1"),
            present + 1
        );
        site.require_traffic(&forger, b"after");
    }
}

#[test]
fn a_device_of_another_namespace_takes_no_name_or_index_here() {
    if !enter("device_proof::a_device_of_another_namespace_takes_no_name_or_index_here") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let forger = site.add_peer(1);
    let here = Monitor::open().unwrap();
    let netns = network_namespace(here.as_fd()).number();
    let next = site.openvpn.target.ifindex + 1;
    let hostile = Client::welcome(&site.engine);
    let nonce = hostile.ask_for_device("ovpn", "wire1", MULTI_PEER);
    let own = Elsewhere::make("wire1", next, &Alias::new("ovpn", nonce));
    assert_ne!(own.netns(), netns);
    // All its claims are true but the namespace: it may serve there, where it is.
    let fds = [own.queue.as_fd(), own.monitor.as_fd()];
    assert_eq!(hostile.hand_over((own.ifindex, netns, "wire1"), &fds), 0);
    // Neither its name nor its index is in anybody's way here.
    assert_eq!(site.openvpn.client.make_device("ovpn", "wire1"), next);
    let expected = [
        ("wire0".to_owned(), u64::from(next) - 1),
        ("wire1".to_owned(), next.into()),
        ("wire1".to_owned(), next.into()),
    ];
    assert_eq!(devices(&site.openvpn.client), expected);
    site.require_traffic(&forger, b"here");
    // The hostile client got none of its packets.
    let queue = tun::Queue::adopt(own.queue).unwrap();
    let nothing = queue.read(&mut [0; 65_535]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_nonce_is_good_for_one_question_of_one_client() {
    if !enter("device_proof::a_nonce_is_good_for_one_question_of_one_client") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let (victim, hostile) = (Client::welcome(&site.engine), Client::welcome(&site.engine));
    // Anybody reads in `ip link` what another one was asked.
    let others = victim.ask_for_device("ovpn", "wire1", MULTI_PEER);
    let made = tun::create("wire1", 1).unwrap();
    set_alias(made.ifindex, Alias::new("ovpn", others).as_bytes());
    let here = Monitor::open().unwrap();
    let fds = [made.queues[0].as_fd(), here.as_fd()];
    let own = hostile.ask_for_device("ovpn", "wire1", MULTI_PEER);
    assert_ne!(own, others);
    assert_ne!(
        hostile.hand_over((made.ifindex, 0, "wire1"), &fds),
        0,
        "another's"
    );
    assert_eq!(victim.hand_over((made.ifindex, 0, "wire1"), &fds), 0);
    // A device is handed over only once, even by a user that may give it a new alias.
    let own = hostile.ask_for_device("ovpn", "wire9", MULTI_PEER);
    set_alias(made.ifindex, Alias::new("ovpn", own).as_bytes());
    assert_ne!(
        hostile.hand_over((made.ifindex, 0, "wire9"), &fds),
        0,
        "twice"
    );
    // An old nonce is worthless.
    let second = tun::create("wire2", 1).unwrap();
    set_alias(second.ifindex, Alias::new("ovpn", own).as_bytes());
    let fds = [second.queues[0].as_fd(), here.as_fd()];
    hostile.ask_for_device("ovpn", "wire2", MULTI_PEER);
    assert_ne!(
        hostile.hand_over((second.ifindex, 0, "wire2"), &fds),
        0,
        "old"
    );
    assert_eq!(devices(&victim).len(), 2);
}

#[test]
fn queues_of_different_interfaces_are_no_device() {
    if !enter("device_proof::queues_of_different_interfaces_are_no_device") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let client = Client::welcome(&site.engine);
    let nonce = client.ask_for_device("ovpn", "wire1", MULTI_PEER);
    let (one, other) = (
        tun::create("wire1", 1).unwrap(),
        tun::create("wire2", 1).unwrap(),
    );
    set_alias(one.ifindex, Alias::new("ovpn", nonce).as_bytes());
    let here = Monitor::open().unwrap();
    let fds = [one.queues[0].as_fd(), other.queues[0].as_fd(), here.as_fd()];
    assert_ne!(client.hand_over((one.ifindex, 0, "wire1"), &fds), 0);
    // Nor is one that lacks its index in the monitor's namespace.
    client.ask_for_device("ovpn", "wire1", MULTI_PEER);
    let fds = [one.queues[0].as_fd(), here.as_fd()];
    assert_ne!(client.hand_over((1_000_000, 0, "wire1"), &fds), 0);
    assert_eq!(devices(&client).len(), 1);
}

#[test]
fn a_name_is_looked_up_as_the_kernel_has_it_now() {
    if !enter("device_proof::a_name_is_looked_up_as_the_kernel_has_it_now") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let client = Client::welcome(&site.engine);
    let first = client.make_device("ovpn", "wire1");
    crate::site::ip(&["link set wire1 down", "link set wire1 name moved1"]);
    // The name is free, and so it can be had.
    let second = client.make_device("ovpn", "wire1");
    assert_ne!(first, second);
    // And the renamed device has its new name.
    crate::site::ip(&["link set moved1 alias x"]);
    client.remove_device(first);
    assert_eq!(devices(&client).len(), 2);
}

#[test]
fn a_device_is_found_in_its_namespace_by_its_index() {
    if !enter("device_proof::a_device_is_found_in_its_namespace_by_its_index") {
        return;
    }
    let site = Site::open(Api::Ovpn);
    let ifindex = site.openvpn.target.ifindex;
    let here = network_namespace(Monitor::open().unwrap().as_fd()).number();
    // Whoever asks: only to learn which engine to speak to.
    let client = Client::stranger(&site.engine);
    let find = |netns, ifindex, name: &str| {
        let name = name.as_bytes();
        let question = ToEngine::FindDevice {
            netns,
            ifindex,
            name,
        };
        client.ask(9, &question, &[])
    };
    let nothing = Some(Owned::Done(19));
    assert_eq!(find(here, ifindex, "renamed"), Some(Owned::Device(true)));
    assert_eq!(find(here + 1, ifindex, "wire0"), nothing);
    assert_eq!(find(here, ifindex + 1, "wire0"), nothing);
    // Where namespaces have no number.
    assert_eq!(find(0, ifindex, "wire0"), Some(Owned::Device(false)));
    assert_eq!(find(0, ifindex, "other"), nothing);
}
