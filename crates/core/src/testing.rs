//! What the tests share: a toy cipher, and packets.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};

use crate::aead::{Aead, AeadFailed, Cipher, NONCE};
use crate::device::{Device, Mode, NewPeer};
use crate::endpoint::Endpoint;
use crate::key::{Key, KeyMaterial, any_packet_id};
use crate::key_slots::Slot;
use crate::packet_id::PacketIds;
use crate::peer::Keepalive;
use crate::peer_id::PeerId;
use crate::time::Time;
use crate::wire::{KeyId, TAG};

/// Adds a byte to each byte; the tag mixes everything. That suffices to notice any flipped bit.
#[derive(Clone, Copy)]
pub(crate) struct Toy(pub(crate) u8);

impl Toy {
    fn tag(self, nonce: [u8; NONCE], aad: &[u8], ciphertext: &[u8]) -> [u8; TAG] {
        let mut tag = [self.0; TAG];
        for (at, byte) in nonce.iter().chain(aad).chain(ciphertext).enumerate() {
            tag[at % TAG] = tag[at % TAG]
                .rotate_left(3)
                .wrapping_mul(31)
                .wrapping_add(*byte);
        }
        tag
    }
}

impl Aead for Toy {
    fn seal(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        payload: &mut [u8],
        tag: &mut [u8; TAG],
    ) -> Result<(), AeadFailed> {
        payload
            .iter_mut()
            .for_each(|byte| *byte = byte.wrapping_add(self.0));
        *tag = self.tag(nonce, aad, payload);
        Ok(())
    }

    fn open(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        payload: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), AeadFailed> {
        if *tag != self.tag(nonce, aad, payload) {
            return Err(AeadFailed);
        }
        payload
            .iter_mut()
            .for_each(|byte| *byte = byte.wrapping_sub(self.0));
        Ok(())
    }
}

/// A key that opens what a key with the same secret and tail has sealed.
pub(crate) fn key(id: u8, secret: u8) -> Key<Toy> {
    key_at(id, secret, 1)
}

/// Such a key whose next packet id is `next`.
pub(crate) fn key_at(id: u8, secret: u8, next: u32) -> Key<Toy> {
    let material = KeyMaterial {
        id: KeyId::new(id).unwrap(),
        cipher: Cipher::Aes256Gcm,
        encrypt: Toy(secret),
        decrypt: Toy(secret),
        encrypt_nonce_tail: [secret; 8],
        decrypt_nonce_tail: [secret; 8],
    };
    Key::with_packet_ids(material, PacketIds::starting_at(next))
}

/// A record as it arrives from the network.
pub(crate) fn record(key: &Key<Toy>, peer: PeerId, packet_id: u32, payload: &[u8]) -> Vec<u8> {
    let mut record = vec![0; crate::wire::OVERHEAD];
    record.extend_from_slice(payload);
    let packet_id = any_packet_id(key, packet_id);
    packet_id.seal(peer, &mut record).unwrap();
    record
}

/// An IPv4 packet with nothing in it.
pub(crate) fn packet(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet
}

pub(crate) fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

/// A peer with VPN address 10.8.0.`id`, at port `id`.
pub(crate) fn new_peer(id: u16) -> NewPeer<()> {
    NewPeer {
        id: id.into(),
        tx_id: id.into(),
        vpn4: Some(Ipv4Addr::new(10, 8, 0, id as u8)),
        vpn6: None,
        endpoint: Some(Endpoint {
            remote: at(id),
            local: None,
        }),
        keepalive: Keepalive::default(),
        transport: (),
    }
}

/// A multi-peer device with these peers, each with primary key 0 of secret `id`.
pub(crate) fn device(ids: &[u16]) -> Device<Toy, ()> {
    let mut device = Device::new(Mode::Mp, 99);
    for id in ids {
        device.add_peer(new_peer(*id), Time::default()).unwrap();
        device
            .install_key((*id).into(), Slot::Primary, key(0, *id as u8))
            .unwrap();
    }
    device
}
