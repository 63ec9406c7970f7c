use super::*;
use crate::peer_id::PeerId;
use crate::testing::{Toy, key, record};

const NOW: Time = Time::from_millis(1);

/// The slots as dco-behaviour 5.5 words them: an array and a bit.
#[derive(Clone, Default)]
struct Model {
    slots: [Option<(u8, u8)>; 2],
    primary: usize,
}

/// A key that has opened packet 2, and not packet 1.
fn lossy(id: u8, secret: u8) -> Key<Toy> {
    let key = key(id, secret);
    open(&key, 2);
    key
}

fn open(key: &Key<Toy>, packet_id: u32) {
    let mut record = record(key, PeerId::from(1), packet_id, &[]);
    key.open(&mut record, NOW).unwrap();
}

const fn loss(expected: u64, lost: u64) -> Loss {
    Loss { expected, lost }
}

#[test]
fn all_sequences_of_six_slot_operations() {
    const OPERATIONS: usize = 6;
    for sequence in 0..OPERATIONS.pow(6) {
        let mut slots = KeySlots::<Toy>::empty();
        let mut model = Model::default();
        let mut installed = 0;
        for step in 0..6u32 {
            let secret = step as u8 + 1;
            // Ids repeat, so that both slots may hold the same one.
            let id = secret / 2;
            let (one, other) = (model.primary, 1 - model.primary);
            match sequence / OPERATIONS.pow(step) % OPERATIONS {
                0 => {
                    slots.put(Slot::Primary, Some(lossy(id, secret)));
                    installed += 1;
                    model.slots[one] = Some((id, secret));
                }
                1 => {
                    slots.put(Slot::Secondary, Some(lossy(id, secret)));
                    installed += 1;
                    model.slots[other] = Some((id, secret));
                }
                2 => {
                    slots.swap();
                    model.primary = other;
                }
                3 => {
                    slots.put(Slot::Primary, None);
                    model.slots[one] = None;
                }
                4 => {
                    slots.put(Slot::Secondary, None);
                    model.slots[other] = None;
                }
                _ => {
                    let received = slots
                        .by_key_id(KeyId::new(id).unwrap(), NOW)
                        .map(|key| key.material.encrypt.0);
                    let in_order = [model.slots[one], model.slots[other]];
                    let expected = in_order
                        .into_iter()
                        .flatten()
                        .find(|(other, _)| *other == id);
                    assert_eq!(received, expected.map(|(_, secret)| secret));
                }
            }
            let held = |slot| {
                slots
                    .at(slot)
                    .map(|key| (key.id().value(), key.material.encrypt.0))
            };
            assert_eq!(held(Slot::Primary), model.slots[model.primary]);
            assert_eq!(held(Slot::Secondary), model.slots[1 - model.primary]);
            assert_eq!(slots.loss(), loss(2 * installed, installed));
        }
    }
}

#[test]
fn a_retired_key_opens_packets_until_its_time_is_over() {
    let mut slots = KeySlots::<Toy>::empty();
    slots.put(Slot::Primary, Some(key(2, 2)));
    slots.put(Slot::Secondary, Some(key(1, 1)));
    slots.retire(Slot::Secondary, Time::from_millis(1000));
    assert!(slots.at(Slot::Secondary).is_none());
    assert!(
        slots
            .by_key_id(KeyId::ALL[1], Time::from_millis(999))
            .is_some()
    );
    assert!(!slots.is_overdue(Time::from_millis(999)));
    assert!(
        slots
            .by_key_id(KeyId::ALL[1], Time::from_millis(1000))
            .is_none()
    );
    assert!(slots.is_overdue(Time::from_millis(1000)));
    slots.forget_retired();
    assert!(!slots.is_overdue(Time::from_millis(1000)));
}

#[test]
fn the_loss_of_a_peer_outlives_its_keys() {
    let mut slots = KeySlots::<Toy>::empty();
    assert_eq!(slots.loss(), Loss::NONE);
    slots.put(Slot::Primary, Some(lossy(0, 1)));
    slots.put(Slot::Secondary, Some(lossy(1, 2)));
    slots.swap();
    assert_eq!(slots.loss(), loss(4, 2));
    // A retired key still accepts late packets.
    let old = Arc::clone(slots.at(Slot::Secondary).unwrap());
    slots.retire(Slot::Secondary, Time::from_millis(1000));
    open(&old, 1);
    assert_eq!(slots.loss(), loss(4, 1));
    // One key is retired at a time: the next one takes its place.
    slots.retire(Slot::Primary, Time::from_millis(2000));
    assert_eq!(slots.loss(), loss(4, 1));
    slots.forget_retired();
    slots.put(Slot::Primary, Some(lossy(2, 3)));
    assert_eq!(slots.loss(), loss(6, 2));
    // Packets that an earlier snapshot opens with a key that is gone do not count.
    open(&old, 9);
    assert_eq!(slots.loss(), loss(6, 2));
    assert_eq!(slots.clone().loss(), slots.loss());
}
