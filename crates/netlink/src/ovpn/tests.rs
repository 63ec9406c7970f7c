use super::schema::{keyconf, keydir, peer};
use super::*;
use crate::rejection::Rejection;
use crate::tlv::{Attributes, Writer};
use crate::{CipherAlg, Keepalive, Slot};

/// The nest that `fill` writes, after 20 bytes of headers and 8 of IFINDEX.
fn nested<T>(fill: impl FnOnce(&mut Writer), judge: impl FnOnce(&Attribute<'_>) -> T) -> T {
    let mut writer = Writer::after(vec![0; 28]);
    writer.nest(2, fill);
    let bytes = writer.into_bytes();
    let nest = Attributes::of(&bytes, 28).next().unwrap();
    judge(&nest)
}

const LOOPBACK6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];

/// The text with which PEER_NEW is refused, or the missing attribute's number.
fn refusal_of(mode: Mode, fill: impl FnOnce(&mut Writer)) -> String {
    let refused = nested(fill, |nest| request::peer_new(nest, mode)).expect_err("accepted");
    match (
        refused.extack.text,
        refused.extack.missing,
        refused.extack.missing_in,
    ) {
        (Some(text), None, None) => text.into_owned(),
        (None, Some(number), Some(28)) => format!("missing {number}"),
        _ => panic!("neither a text nor a missing attribute"),
    }
}

fn base(nest: &mut Writer) {
    nest.u32(peer::ID, 1);
    nest.u32(peer::SOCKET, 9);
}

fn remote4(nest: &mut Writer) {
    base(nest);
    nest.put(peer::REMOTE_IPV4, &[127, 0, 0, 1]);
    nest.be16(peer::REMOTE_PORT, 6000);
}

fn remote6(nest: &mut Writer, address: [u8; 16]) {
    base(nest);
    nest.put(peer::REMOTE_IPV6, &address);
    nest.be16(peer::REMOTE_PORT, 6000);
}

#[test]
fn peer_new_checks() {
    let p2p = |fill: fn(&mut Writer)| refusal_of(Mode::P2p, fill);
    let mp = |fill: fn(&mut Writer)| refusal_of(Mode::Mp, fill);
    assert_eq!(p2p(|nest| nest.u32(peer::SOCKET, 9)), "missing 1");
    assert_eq!(p2p(|nest| nest.u32(peer::ID, 9)), "missing 6");
    let both = p2p(|nest| {
        remote4(nest);
        nest.put(peer::REMOTE_IPV6, &LOOPBACK6);
    });
    assert_eq!(
        both,
        "ovpn: cannot specify both remote IPv4 or IPv6 address"
    );
    let port = p2p(|nest| {
        base(nest);
        nest.be16(peer::REMOTE_PORT, 1);
    });
    assert_eq!(port, "ovpn: cannot specify remote port without IP address");
    let mismatch = p2p(|nest| {
        remote6(nest, LOOPBACK6);
        nest.put(peer::LOCAL_IPV6, &MAPPED);
    });
    assert_eq!(
        mismatch,
        "ovpn: mismatching local and remote address families"
    );
    let scope = p2p(|nest| {
        remote6(nest, MAPPED);
        nest.u32(peer::REMOTE_IPV6_SCOPE_ID, 1);
    });
    assert_eq!(
        scope,
        "ovpn: cannot specify scope id without remote IPv6 address"
    );
    let vpn = |nest: &mut Writer| {
        remote4(nest);
        nest.put(peer::VPN_IPV4, &[10, 9, 0, 2]);
    };
    assert_eq!(p2p(vpn), "ovpn: unexpected VPN IP in P2P mode");
    assert_eq!(
        mp(remote4),
        "ovpn: at least one VPN IP must be configured in MP mode"
    );
    let multicast = mp(|nest| {
        remote4(nest);
        nest.put(peer::VPN_IPV4, &[224, 0, 0, 1]);
    });
    assert_eq!(
        multicast,
        "ovpn: VPN IPv4 address must be valid unicast or any"
    );
    let half = p2p(|nest| {
        remote4(nest);
        nest.u32(peer::KEEPALIVE_INTERVAL, 10);
    });
    assert_eq!(
        half,
        "ovpn: keepalive interval and timeout are required together"
    );
}

#[test]
fn peer_new_is_read() {
    let fill = |nest: &mut Writer| {
        remote6(nest, MAPPED);
        nest.put(peer::LOCAL_IPV6, &MAPPED);
        nest.put(peer::VPN_IPV4, &[0; 4]);
        nest.put(peer::VPN_IPV6, &[0xfd; 16]);
        nest.u32(peer::KEEPALIVE_INTERVAL, 10);
        nest.u32(peer::KEEPALIVE_TIMEOUT, 60);
        nest.u32(peer::TX_ID, 5);
    };
    let peer = nested(fill, |nest| request::peer_new(nest, Mode::Mp))
        .ok()
        .unwrap();
    assert_eq!((peer.id, peer.tx_id, peer.socket), (1, Some(5), 9));
    assert_eq!(peer.remote, Some("127.0.0.1:6000".parse().unwrap()));
    assert_eq!(peer.local, Some("127.0.0.1".parse().unwrap()));
    assert_eq!((peer.vpn4, peer.vpn6), (None, Some([0xfd; 16].into())));
    assert_eq!(
        peer.keepalive,
        Some(Keepalive {
            interval: 10,
            timeout: 60
        })
    );
}

#[test]
fn peer_set_keeps_what_clears_an_address() {
    let fill = |nest: &mut Writer| {
        nest.u32(peer::ID, 1);
        nest.put(peer::VPN_IPV4, &[0; 4]);
    };
    let change = nested(fill, |nest| request::peer_set(nest, Mode::Mp))
        .ok()
        .unwrap();
    assert_eq!(change.vpn4, Some([0; 4].into()));
}

#[test]
fn gets_name_what_they_do_not_expect() {
    let text = |refused: Option<Rejection>| refused.and_then(|refused| refused.extack.text);
    let fill = |nest: &mut Writer| {
        nest.u32(peer::ID, 1);
        nest.u32(peer::SOCKET, 1);
        nest.put(peer::REMOTE_IPV4, &[0; 4]);
    };
    let refused = nested(fill, |nest| request::peer_get(nest).err());
    assert_eq!(
        text(refused).as_deref(),
        Some("ovpn: unexpected attribute 2")
    );
    let fill = |nest: &mut Writer| {
        nest.u32(keyconf::PEER_ID, 1);
        nest.u32(keyconf::SLOT, 1);
        nest.u32(keyconf::KEY_ID, 1);
    };
    let refused = nested(fill, |nest| request::key_get(nest).err());
    assert_eq!(
        text(refused).as_deref(),
        Some("ovpn: unexpected attribute 3")
    );
}

#[test]
fn key_new_is_read() {
    let direction = |nest: &mut Writer, byte: u8| {
        nest.put(keydir::CIPHER_KEY, &[byte; 32]);
        nest.put(keydir::NONCE_TAIL, &[byte; 8]);
    };
    let fill = |cipher: u32| {
        move |nest: &mut Writer| {
            nest.u32(keyconf::PEER_ID, 1);
            nest.u32(keyconf::SLOT, 1);
            nest.u32(keyconf::KEY_ID, 7);
            nest.u32(keyconf::CIPHER_ALG, cipher);
            nest.nest(keyconf::ENCRYPT_DIR, |nest| direction(nest, 1));
            nest.nest(keyconf::DECRYPT_DIR, |nest| direction(nest, 2));
        }
    };
    nested(fill(2), |nest| {
        let key = request::key_new(nest).ok().unwrap();
        assert_eq!((key.peer, key.slot, key.key_id), (1, Slot::Secondary, 7));
        assert_eq!(key.cipher, CipherAlg::ChaCha20Poly1305);
        assert_eq!(
            (key.encrypt.key, key.encrypt.nonce_tail),
            (&[1; 32][..], [1; 8])
        );
        assert_eq!(
            (key.decrypt.key, key.decrypt.nonce_tail),
            (&[2; 32][..], [2; 8])
        );
        // Borrowed, not copied.
        assert!(
            nest.payload
                .as_ptr_range()
                .contains(&key.encrypt.key.as_ptr())
        );
    });
    let refused = nested(fill(0), |nest| request::key_new(nest).err()).unwrap();
    assert_eq!(
        refused.extack.text.as_deref(),
        Some("ovpn: unsupported cipher")
    );
}

/// The bytes of Linux 7.3.4; those of KEY_SWAP_NTF follow dco-behaviour 2.14.
#[cfg(target_endian = "little")]
#[test]
fn notifications() {
    use crate::{DeleteReason, Notification};

    let hex = |event: Notification| {
        let bytes = notification::encode(0x15, &event);
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let (ifindex, peer) = (2, 1);
    let deleted = Notification::PeerDeleted {
        ifindex,
        peer,
        reason: DeleteReason::Userspace,
    };
    assert_eq!(
        hex(deleted),
        "3000000015000000000000000000000005010000080001000200000014000280\
         08000f00010000000800010001000000"
    );
    let floated = |remote: &str| Notification::PeerFloated {
        ifindex,
        peer,
        remote: remote.parse().unwrap(),
    };
    assert_eq!(
        hex(floated("127.0.0.1:6001")),
        "380000001500000000000000000000000b01000008000100020000001c000280\
         0800010001000000080002007f0000010600054017710000"
    );
    assert_eq!(
        hex(floated("[::1]:6002")),
        "4c0000001500000000000000000000000b010000080001000200000030000280\
         080001000100000014000300000000000000000000000000000000010800040000000000\
         0600054017720000"
    );
    assert_eq!(
        hex(Notification::KeySwap {
            ifindex,
            peer,
            key_id: 3
        }),
        "3000000015000000000000000000000009010000080001000200000014000380\
         08000100010000000600030003000000"
    );
}
