use std::net::Ipv4Addr;

use super::status::clients;
use super::*;

const VERSION_1: &str = "\
OpenVPN CLIENT LIST
Updated,2026-11-29 11:00:00
Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since
alice,192.0.2.2:40001,100,200,2026-11-29 10:00:00
ROUTING TABLE
Virtual Address,Common Name,Real Address,Last Ref
10.8.0.2,alice,192.0.2.2:40001,2026-11-29 10:59:00
192.168.7.0/24,alice,192.0.2.2:40001,2026-11-29 10:59:00
10.8.0.9C,alice,192.0.2.2:40001,2026-11-29 10:59:00
fd00:8::1000,alice,192.0.2.2:40001,2026-11-29 10:59:00
10.8.0.3,mallory,10.8.0.2,alice,192.0.2.3:40001,2026-11-29 10:59:00
GLOBAL STATS
Max bcast/mcast queue length,0
END
";

const VERSION_2: &str = "\
TITLE,OpenVPN 2.6.14
TIME,2026-11-29 11:00:00,1795950000
HEADER,CLIENT_LIST,Common Name,Real Address,Virtual Address,Virtual IPv6 Address,Bytes Received,Bytes Sent,Connected Since,Connected Since (time_t),Username,Client ID,Peer ID,Data Channel Cipher
CLIENT_LIST,alice,192.0.2.2:40001,10.8.0.2,fd00:8::1000,100,200,2026-11-29 10:00:00,1795946400,UNDEF,4,1,AES-256-GCM
CLIENT_LIST,UNDEF,192.0.2.4:40001,,,0,0,2026-11-29 10:00:00,1795946400,UNDEF,5,2,AES-256-GCM
CLIENT_LIST,mallory,192.0.2.3:1,10.8.0.2,,1,1,x,1,UNDEF,4,1,AES-256-GCM,192.0.2.3:40001,10.8.0.3,,1,1,x,1,UNDEF,6,3,AES-256-GCM
HEADER,ROUTING_TABLE,Virtual Address,Common Name,Real Address,Last Ref,Last Ref (time_t)
ROUTING_TABLE,10.8.0.2,alice,192.0.2.2:40001,2026-11-29 10:59:00,1795949940
END
";

fn of_text(text: &str) -> Vec<(String, Option<u32>, &str)> {
    let clients = clients(text).into_iter();
    clients
        .map(|client| (client.vpn.to_string(), client.peer, client.common_name))
        .collect()
}

#[test]
fn each_version_tells_the_clients() {
    let of_alice = |peer| {
        vec![
            ("10.8.0.2".to_owned(), peer, "alice"),
            ("fd00:8::1000".to_owned(), peer, "alice"),
        ]
    };
    let with_mallory = |peer, id, name| {
        let mut all = of_alice(peer);
        all.push(("10.8.0.3".to_owned(), id, name));
        all
    };
    // What a name with commas pretends to be is not believed.
    let pretends = "mallory,10.8.0.2,alice";
    assert_eq!(of_text(VERSION_1), with_mallory(None, None, pretends));
    let pretends = "mallory,192.0.2.3:1,10.8.0.2,,1,1,x,1,UNDEF,4,1,AES-256-GCM";
    let version_2 = with_mallory(Some(1), Some(3), pretends);
    assert_eq!(of_text(VERSION_2), version_2);
    let version_3 = VERSION_2.replace(',', "\t");
    assert_eq!(of_text(&version_3), of_alice(Some(1)));
    assert_eq!(of_text(""), []);
    assert_eq!(of_text("root:x:0:0:root:/root:/bin/sh\n"), []);
}

/// As organizations have them.
#[test]
fn a_name_may_have_commas() {
    let named = |name: &str, user: &str| {
        let text = VERSION_2.replace(",alice,", &format!(",{name},"));
        let text = text.replace("UNDEF,4,1", &format!("{user},4,1"));
        let clients = clients(&text).into_iter();
        let mut named = clients.filter(|it| it.vpn.to_string() == "10.8.0.2");
        named.next().map(|it| it.common_name.to_owned())
    };
    let name = "O'Brien, Bob, EMEA";
    assert_eq!(named(name, "UNDEF").as_deref(), Some(name));
    assert_eq!(named(name, "bob").as_deref(), Some(name));
    // In a user name, they move the fields between: the address is not where it should be.
    assert_eq!(named("bob", "bob,bob"), None);
}

fn peer(id: u32, vpn4: Ipv4Addr) -> Peer {
    let json = format!(
        r#"{{"id":{id},"tx_id":{id},"remote":null,"local":null,"path_mtu":null,"mss":null,
            "vpn4":"{vpn4}","vpn6":null,"keepalive":{{"interval":0,"timeout":0}},
            "keys":{{"primary":null,"secondary":null}},
            "link":{{"rx_bytes":0,"rx_packets":0,"tx_bytes":0,"tx_packets":0}},
            "vpn":{{"rx_bytes":0,"rx_packets":0,"tx_bytes":0,"tx_packets":0}}}}"#
    );
    state::read(&json).unwrap()
}

/// Who could name another's peers could make an operator cut off the wrong one.
#[test]
fn only_root_and_the_devices_user_name_its_peers() {
    let address = Ipv4Addr::new(10, 8, 0, 2);
    let named = |owner, peer, common_name: &str| Named {
        owner,
        peer,
        common_name: common_name.to_owned(),
    };
    let names = Names::from([(
        address.into(),
        vec![named(1000, Some(1), "alice"), named(1001, None, "mallory")],
    )]);
    let peer = |id| peer(id, address);
    assert_eq!(common_name(&names, &peer(1), 1000), Some("alice"));
    assert_eq!(common_name(&names, &peer(2), 1000), None);
    assert_eq!(common_name(&names, &peer(1), 1001), Some("mallory"));
    assert_eq!(common_name(&names, &peer(1), 0), None);
    let two = Names::from([(
        address.into(),
        vec![named(0, None, "alice"), named(0, None, "bob")],
    )]);
    assert_eq!(common_name(&two, &peer(1), 0), None, "files disagree");
}

#[test]
fn only_regular_files_are_read_and_not_without_end() {
    let files = Files::default();
    assert_eq!(files.read("/dev/zero".as_ref()), None);
    assert_eq!(files.read("/".as_ref()), None);
    let own = std::env::current_exe().unwrap();
    assert!(files.read(&own).is_some());
    files.read.set(MAX_BYTES);
    assert_eq!(files.read(&own).unwrap().1, "");
}
