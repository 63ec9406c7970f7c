use super::*;
use crate::testing::{Toy, key};

const NOW: Time = Time::from_millis(1);

/// The slots as dco-behaviour 5.5 words them: an array and a bit.
#[derive(Clone, Default)]
struct Model {
    slots: [Option<(u8, u8)>; 2],
    primary: usize,
}

#[test]
fn all_sequences_of_six_slot_operations() {
    const OPERATIONS: usize = 6;
    for sequence in 0..OPERATIONS.pow(6) {
        let mut slots = KeySlots::<Toy>::empty();
        let mut model = Model::default();
        for step in 0..6u32 {
            let secret = step as u8 + 1;
            // Ids repeat, so that both slots may hold the same one.
            let id = secret / 2;
            let (one, other) = (model.primary, 1 - model.primary);
            match sequence / OPERATIONS.pow(step) % OPERATIONS {
                0 => {
                    slots.put(Slot::Primary, Some(key(id, secret)));
                    model.slots[one] = Some((id, secret));
                }
                1 => {
                    slots.put(Slot::Secondary, Some(key(id, secret)));
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
