//! The validity of X.509 certificates (RFC 5280), and nothing else of them.

use crate::key::base64;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// How many certificates of a file to look at: a file of authorities may have hundreds.
const MAX: usize = 1000;

/// ASN.1 tags.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// First and last moment of each certificate in a PEM file, in seconds since 1970.
pub(super) fn validities(text: &[u8]) -> Vec<(i64, i64)> {
    let text = String::from_utf8_lossy(text);
    let blocks = text.split(BEGIN).skip(1).take(MAX);
    let bodies = blocks.filter_map(|block| Some(block.split_once(END)?.0));
    bodies
        .filter_map(|body| validity(&base64::decode(body.as_bytes())?))
        .collect()
}

fn validity(der: &[u8]) -> Option<(i64, i64)> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if let Some((_, behind)) = element(rest, VERSION) {
        rest = behind;
    }
    // Serial number, algorithm, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        rest = element(rest, tag)?.1;
    }
    let (times, _) = element(rest, SEQUENCE)?;
    let (not_before, rest) = time(times)?;
    let (not_after, _) = time(rest)?;
    Some((not_before, not_after))
}

/// The contents of the element with this tag at the front, and what is behind it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [first, length, rest @ ..] = bytes else {
        return None;
    };
    (*first == tag).then_some(())?;
    let (length, rest) = match length {
        0..0x80 => (usize::from(*length), rest),
        // The length's own length.
        _ => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.len() <= 4).then_some(())?;
            let join = |sum: usize, digit: &u8| sum << 8 | usize::from(*digit);
            (digits.iter().fold(0, join), rest)
        }
    };
    rest.split_at_checked(length)
}

fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    if let Some((text, rest)) = element(bytes, UTC_TIME) {
        let (year, others) = digits(text, 2)?;
        // RFC 5280, 4.1.2.5.1
        let year = if year < 50 { 2000 + year } else { 1900 + year };
        return Some((moment(year, others)?, rest));
    }
    let (text, rest) = element(bytes, GENERALIZED_TIME)?;
    let (year, others) = digits(text, 4)?;
    Some((moment(year, others)?, rest))
}

/// Splits off a number with this many digits.
fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_at_checked(count)?;
    digits.iter().all(u8::is_ascii_digit).then_some(())?;
    let join = |sum: i64, digit: &u8| sum * 10 + i64::from(digit - b'0');
    Some((digits.iter().fold(0, join), rest))
}

/// `MMDDhhmmssZ` of a year.
fn moment(year: i64, text: &[u8]) -> Option<i64> {
    let mut rest = text;
    let mut parts = [0; 5];
    for part in &mut parts {
        (*part, rest) = digits(rest, 2)?;
    }
    let [month, day, hour, minute, second] = parts;
    (rest == b"Z" && (1..=12).contains(&month)).then_some(())?;
    // Years that begin in March, so that the leap day is the last of one.
    let year = if month > 2 { year } else { year - 1 };
    let month = (month + 9) % 12;
    let leaps = year / 4 - year / 100 + year / 400;
    let days = 365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (year, text, wanted) in [
            (1970, "0101000000Z", 0),
            (2000, "0229120000Z", 951_825_600),
            (2026, "1129084518Z", 1_795_941_918),
            (2050, "1231235959Z", 2_556_143_999),
        ] {
            assert_eq!(moment(year, text.as_bytes()), Some(wanted), "{year} {text}");
        }
        for bad in ["", "0101000000", "1301000000Z", "01x1000000Z"] {
            assert_eq!(moment(2026, bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_passed_over() {
        for text in [
            "",
            BEGIN,
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
        ] {
            assert_eq!(validities(text.as_bytes()), [], "{text}");
        }
        assert_eq!(
            element(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], SEQUENCE),
            None
        );
    }

    fn wrap(tag: u8, contents: &[u8]) -> Vec<u8> {
        let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], contents].concat()
    }

    /// A certificate as far as it is read, with lengths in their long form.
    fn certificate() -> Vec<u8> {
        let times = [
            wrap(UTC_TIME, b"700101000000Z"),
            wrap(GENERALIZED_TIME, b"20501231235959Z"),
        ];
        let parts = [
            wrap(VERSION, &wrap(INTEGER, &[2])),
            wrap(INTEGER, &[1, 2, 3]),
            wrap(SEQUENCE, &[0; 9]),
            wrap(SEQUENCE, &[1; 300]),
            wrap(SEQUENCE, &times.concat()),
            wrap(SEQUENCE, &[0; 50]),
        ];
        wrap(SEQUENCE, &wrap(SEQUENCE, &parts.concat()))
    }

    #[test]
    fn a_certificate_is_read_and_one_that_is_cut_or_changed_does_no_harm() {
        let whole = certificate();
        assert_eq!(validity(&whole), Some((0, 2_556_143_999)));
        let text = base64::encode(&whole);
        let pem = format!("comment\n{BEGIN}\n{}\n{END}\n", *text);
        assert_eq!(validities(pem.repeat(2).as_bytes()).len(), 2);
        for at in 0..whole.len() {
            assert_eq!(validity(&whole[..at]), None, "{at}");
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = validity(&changed);
            }
        }
    }
}
