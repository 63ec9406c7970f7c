use super::*;
use crate::testing::{key, record};
use crate::wire::OVERHEAD;
use proptest::prelude::*;
use std::collections::BTreeSet;

const NOW: Time = Time::from_millis(1);

#[test]
fn a_record_has_the_tag_in_front_of_the_ciphertext() {
    let record = record(
        &key(3, 0x11),
        PeerId::new(0x0a0b0c).unwrap(),
        0x01020304,
        &[1, 2, 3],
    );
    assert_eq!(record[..8], [0x4b, 0x0a, 0x0b, 0x0c, 1, 2, 3, 4]);
    assert_eq!(record[24..], [0x12, 0x13, 0x14]);
}

#[test]
fn every_flipped_bit_is_noticed_and_changes_nothing() {
    let (sender, receiver) = (key(0, 9), key(0, 9));
    let good = record(&sender, PeerId::from(1), 1, &[5; 20]);
    for bit in 0..good.len() * 8 {
        let mut forged = good.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            receiver.open(&mut forged, NOW).unwrap_err(),
            DropReason::RxBadTag,
            "bit {bit}"
        );
    }
    let mut again = good.clone();
    let mut good = good;
    assert_eq!(receiver.open(&mut good, NOW).unwrap().payload, [5; 20]);
    assert_eq!(
        receiver.open(&mut again, NOW).unwrap_err(),
        DropReason::RxReplay
    );
}

#[test]
fn records_of_every_short_length() {
    let key = key(0, 9);
    for len in 0..=40 {
        let expected = if len < OVERHEAD {
            DropReason::RxNoTag
        } else {
            DropReason::RxBadTag
        };
        assert_eq!(key.open(&mut vec![1; len], NOW).unwrap_err(), expected);
    }
    assert_eq!(
        key.open(&mut record(&key, PeerId::from(1), 7, &[]), NOW)
            .unwrap()
            .payload,
        []
    );
    let packet_id = key.next_packet_id().unwrap();
    let sealed = packet_id.seal(PeerId::from(1), &mut [0; OVERHEAD - 1]);
    assert_eq!(sealed, Err(DropReason::TxSealFailed));
}

proptest! {
    /// promises B4, wherever the counter stands and however many ids each batch reserves and leaves unused.
    #[test]
    fn no_packet_id_is_handed_out_twice(
        first in prop_oneof![1..1000u32, u32::MAX - 500..=u32::MAX],
        batches in prop::collection::vec((0..100u32, 0..100usize), 1..20),
    ) {
        let key = crate::testing::key_at(0, 9, first);
        let mut taken = BTreeSet::new();
        for (count, used) in batches {
            let Some(ids) = key.reserve(count) else {
                prop_assert!(key.is_used_up());
                continue;
            };
            for id in ids.take(used) {
                prop_assert!(taken.last() < Some(&id.value()), "they rise");
                taken.insert(id.value());
                let mut record = [0; OVERHEAD + 1];
                let on_the_wire = id.value().to_be_bytes();
                prop_assert_eq!(id.seal(PeerId::from(1), &mut record), Ok(()));
                prop_assert_eq!(&record[4..8], on_the_wire);
            }
        }
        prop_assert!(taken.first().is_none_or(|lowest| *lowest >= first));
    }
}
