use proptest::prelude::*;

use super::{attributes as validate, *};
use crate::tlv::Writer;

static OUTER: Policy = Policy {
    max: 10,
    attributes: &[
        (1, Kind::U32(100)),
        (2, Kind::Nest(&INNER)),
        (3, Kind::U8(1)),
        (4, Kind::Be16 { min: 1 }),
        (5, Kind::Exactly(8)),
        (6, Kind::AtMost(4)),
        (7, Kind::AtLeast(4)),
        (8, Kind::Uint),
        (9, Kind::NulString(3)),
    ],
};
static INNER: Policy = Policy {
    max: 1,
    attributes: &[(1, Kind::U16(7))],
};

fn written(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    fill(&mut writer);
    writer.into_bytes()
}

/// What is wrong, and where.
fn verdict(
    how: Strictness,
    fill: impl FnOnce(&mut Writer),
) -> Option<(i32, String, Option<usize>)> {
    let bytes = written(fill);
    let rejection = validate(&OUTER, Attributes::of(&bytes, 0), how).err()?;
    let text = rejection.extack.text.unwrap_or_default().into_owned();
    Some((rejection.errno.0, text, rejection.extack.offset))
}

fn strict(fill: impl FnOnce(&mut Writer)) -> Option<(i32, String, Option<usize>)> {
    verdict(Strictness::Strict, fill)
}

fn wrong(errno: i32, text: &str, offset: usize) -> Option<(i32, String, Option<usize>)> {
    Some((errno, text.to_owned(), Some(offset)))
}

#[test]
fn numbers_must_be_known() {
    for unknown in [0, 11, 1000] {
        let verdict = strict(|list| {
            list.u32(1, 1);
            list.u32(unknown, 1);
        });
        assert_eq!(verdict, wrong(22, "Unknown attribute type", 8));
    }
    assert_eq!(
        strict(|list| list.u32(10, 1)),
        wrong(22, "Unsupported attribute", 0)
    );
}

#[test]
fn integers_have_a_length_and_a_range() {
    assert_eq!(strict(|list| list.u32(1, 100)), None);
    assert_eq!(
        strict(|list| list.u32(1, 101)),
        wrong(34, "integer out of range", 0)
    );
    assert_eq!(
        strict(|list| list.u16(1, 1)),
        wrong(22, "invalid attribute length", 0)
    );
    assert_eq!(
        strict(|list| list.be16(4, 0)),
        wrong(34, "integer out of range", 0)
    );
    assert_eq!(strict(|list| list.be16(4, 1)), None);
    assert_eq!(strict(|list| list.u64(8, 1)), None);
    assert_eq!(
        strict(|list| list.u16(8, 1)),
        wrong(22, "invalid attribute length", 0)
    );
}

#[test]
fn bytes_have_a_length() {
    let size = "binary attribute size out of range";
    for (number, good, bad) in [(5, 8, 7), (5, 8, 9), (6, 0, 5), (7, 9, 3)] {
        assert_eq!(strict(|list| list.put(number, &vec![0; good])), None);
        assert_eq!(
            strict(|list| list.put(number, &vec![0; bad])),
            wrong(34, size, 0)
        );
    }
}

#[test]
fn strings_end_within_their_length() {
    let unreadable = "Attribute failed policy validation";
    assert_eq!(strict(|list| list.string(9, "abc")), None);
    assert_eq!(strict(|list| list.put(9, b"abc")), wrong(22, unreadable, 0));
    assert_eq!(
        strict(|list| list.put(9, b"abcd\0")),
        wrong(22, unreadable, 0)
    );
    assert_eq!(
        strict(|list| list.put(9, b"abc\0\0\0")),
        wrong(34, unreadable, 0)
    );
    assert_eq!(strict(|list| list.put(9, b"")), wrong(22, unreadable, 0));
}

#[test]
fn nests_are_marked_and_looked_into() {
    assert_eq!(strict(|list| list.nest(2, |nest| nest.u16(1, 7))), None);
    assert_eq!(strict(|list| list.nest(2, |_| {})), None);
    assert_eq!(
        strict(|list| list.plain_nest(2, |_| {})),
        wrong(22, "NLA_F_NESTED is missing", 0)
    );
    assert_eq!(
        strict(|list| list.nest(1, |nest| nest.put(0, &[]))),
        wrong(22, "NLA_F_NESTED not expected", 0)
    );
    assert_eq!(
        strict(|list| list.nest(2, |nest| nest.u16(1, 8))),
        wrong(34, "integer out of range", 4)
    );
}

#[test]
fn nothing_may_be_left_over() {
    let mut bytes = written(|list| list.u32(1, 1));
    bytes.push(0);
    let rejection = validate(&OUTER, Attributes::of(&bytes, 0), Strictness::Strict).err();
    let extack = rejection.unwrap().extack;
    assert_eq!(
        (extack.text.as_deref(), extack.offset),
        (Some(LEFTOVER), None)
    );
    assert!(validate(&OUTER, Attributes::of(&bytes, 0), Strictness::Lax).is_ok());
    assert_eq!(
        warning(Attributes::of(&bytes, 0)).text.as_deref(),
        Some(LEFTOVER)
    );
}

#[test]
fn lax_validation_reads_what_it_can() {
    let lax = |fill: fn(&mut Writer)| verdict(Strictness::Lax, fill);
    assert_eq!(lax(|list| list.u32(11, 1)), None);
    assert_eq!(lax(|list| list.u32(10, 1)), None);
    assert_eq!(lax(|list| list.u64(1, 1)), None);
    assert_eq!(lax(|list| list.plain_nest(2, |nest| nest.u16(1, 7))), None);
    assert_eq!(
        lax(|list| list.u16(1, 1)),
        wrong(34, "Attribute failed policy validation", 0)
    );
    assert_eq!(
        lax(|list| list.u8(3, 2)),
        wrong(34, "integer out of range", 0)
    );
}

proptest! {
    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let strict = validate(&OUTER, Attributes::of(&bytes, 0), Strictness::Strict);
        let lax = validate(&OUTER, Attributes::of(&bytes, 0), Strictness::Lax);
        prop_assert!(strict.is_err() || lax.is_ok());
    }
}
