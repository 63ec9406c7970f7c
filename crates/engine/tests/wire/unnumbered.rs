//! A kernel before Linux 5.14, which does not number network namespaces (faults B5).

use udco_ipc::ToEngine;

use crate::api::{Api, BOTH, Notification};
use crate::client::namespace::enter;
use crate::client::{Client, Owned};
use crate::eventually::eventually_equal;
use crate::inner::udp4;
use crate::older_kernel;
use crate::site::{FakeOpenVpn, HERE4, Site, TransportSocket, ip, vpn_of};

const ENODEV: i32 = 19;

#[test]
fn devices_and_paths_are_served_where_the_kernel_does_not_number_namespaces() {
    if !enter(
        "unnumbered::devices_and_paths_are_served_where_the_kernel_does_not_number_namespaces",
    ) {
        return;
    }
    older_kernel::before_5_14();
    ip(&["link set lo mtu 1300"]);
    for api in BOTH {
        let site = Site::open(api);
        let target = site.openvpn.target;
        let forger = site.add_peer(1);
        // The path to the peer is known, so the MSS of TCP inside is clamped to it.
        let path_mtu = || site.openvpn.client.show()["devices"][0]["peers"][0]["path_mtu"].clone();
        eventually_equal(&serde_json::json!(1300), path_mtu);
        // Another client of the same user and namespace acts on the device, as the command line does.
        let other = FakeOpenVpn::beside(&site);
        assert!(other.ask(&target.peer_get(1)).is_ok());
        other.must(&target.peer_set(1, 10, 60));
        forger.send_packet(&udp4(vpn_of(1).0, HERE4, b"in"));
        assert_eq!(site.delivered(), b"in");
        // The listener, on another channel, receives the notification.
        other.must(&target.peer_del(1));
        let mut notified = Vec::new();
        eventually_equal(&true, || {
            notified.extend(site.notifications());
            matches!(notified[..], [Notification::Deleted { peer: 1, .. }])
        });
    }
}

#[test]
fn a_client_elsewhere_or_nowhere_is_not_served_from_an_unnumbered_namespace() {
    if !enter(
        "unnumbered::a_client_elsewhere_or_nowhere_is_not_served_from_an_unnumbered_namespace",
    ) {
        return;
    }
    older_kernel::before_5_14();
    let site = Site::open(Api::Ovpn);
    site.add_peer(1);
    let target = site.openvpn.target;
    for inode in [None, Some(7_u64), Some(0), Some(u64::MAX)] {
        let client = Client::stranger(&site.engine);
        if let Some(inode) = inode {
            let answer = client.ask(1, &ToEngine::Namespace { inode }, &[]);
            assert_eq!(answer, Some(Owned::Done(0)));
        }
        let openvpn = FakeOpenVpn::new(client, target, TransportSocket::open());
        let answer = openvpn.ask(&target.peer_get(1));
        // Its client says that there is such an interface here, but the engine has none of that index for it.
        assert!(matches!(answer, Err(ENODEV | 22)), "{inode:?}: {answer:?}");
    }
}
