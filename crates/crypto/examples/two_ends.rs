//! Two ends exchange a packet, refuse its replay, and rekey: `cargo run -p udco-crypto --example two_ends`.

use udco_core::{Cipher, Key, KeyId, KeyMaterial, KeySlots, PeerId, Slot, Time, wire};
use udco_crypto::{DirectionKey, fill_random};
type End = KeySlots<DirectionKey>;
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Installs a new key at both ends; a handshake would agree on its secrets. The old key still opens packets.
fn rekey(ends: [&mut End; 2], id: KeyId) -> Outcome<()> {
    let (cipher, mut secrets) = (Cipher::Aes256Gcm, [[0; 40]; 2]);
    fill_random(secrets.as_flattened_mut())?;
    for (sending, end) in ends.into_iter().enumerate() {
        let (sent, received) = (&secrets[sending], &secrets[1 - sending]);
        let material = KeyMaterial {
            id,
            cipher,
            encrypt: DirectionKey::new(cipher, &sent[..32])?,
            decrypt: DirectionKey::new(cipher, &received[..32])?,
            encrypt_nonce_tail: sent[32..].try_into()?,
            decrypt_nonce_tail: received[32..].try_into()?,
        };
        end.put(Slot::Secondary, Some(Key::new(material)));
        end.swap();
    }
    Ok(())
}

/// Seals a packet for peer 7 with the primary key.
fn send(end: &End, packet: &[u8]) -> Outcome<Vec<u8>> {
    let key = end.at(Slot::Primary).ok_or("no key")?;
    let mut record = [&vec![0; key.format().before()], packet].concat();
    record.resize(packet.len() + key.format().overhead(), 0);
    let packet_id = key.next_packet_id().ok_or("the key is used up")?;
    packet_id.seal(PeerId::from(7), &mut record)?;
    Ok(record)
}

/// Opens a record with the key that it names.
fn receive(end: &End, record: &[u8]) -> Outcome<Vec<u8>> {
    let wire::Datagram::Data { key_id, .. } = wire::classify(record)? else {
        return Err("a control packet".into());
    };
    let now = Time::from_millis(1);
    let key = end.by_key_id(key_id, now).ok_or("unknown key id")?;
    Ok(key.open(&mut record.to_vec(), now)?.payload.to_vec())
}

#[cfg_attr(test, test)]
fn main() -> Outcome<()> {
    let (mut client, mut server) = (End::empty(), End::empty());
    rekey([&mut client, &mut server], KeyId::ALL[0])?;
    let (first, late) = (send(&client, b"first")?, send(&client, b"late")?);
    assert_eq!(receive(&server, &first)?, b"first");
    let replay = receive(&server, &first).unwrap_err();
    assert_eq!(replay.to_string(), "rx_replay");
    rekey([&mut client, &mut server], KeyId::ALL[1])?;
    assert_eq!(receive(&client, &send(&server, b"second")?)?, b"second");
    assert_eq!(receive(&server, &late)?, b"late", "under the old key");
    Ok(())
}
