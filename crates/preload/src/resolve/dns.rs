//! DNS messages: a query for the addresses of a name, and its answer.

use alloc::vec::Vec;

/// Types of records, and the class.
pub(super) const A: u16 = 1;
pub(super) const AAAA: u16 = 28;
const INTERNET: u16 = 1;

/// The largest answer over UDP, as announced in the `OPT` record.
pub(super) const ROOM: usize = 1232;

/// A recursive query. `None` if it is not a host name.
pub(super) fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    // Recursion desired; one question, no answers, no authority records, one additional record.
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 {
        return None;
    }
    for label in name.split('.') {
        let len = u8::try_from(label.len())
            .ok()
            .filter(|len| (1..64).contains(len))?;
        bytes.push(len);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&INTERNET.to_be_bytes());
    // OPT: the root, its type, the size of answers, no extended code, no options.
    bytes.extend_from_slice(&[0, 0, 41]);
    bytes.extend_from_slice(&(ROOM as u16).to_be_bytes());
    bytes.extend_from_slice(&[0; 6]);
    Some(bytes)
}

/// Whether these bytes answer that query: same id, same question.
pub(super) fn is_answer(answer: &[u8], id: u16, name: &str, kind: u16) -> bool {
    let Some(query) = question(id, name, kind) else {
        return false;
    };
    // The question itself, without the OPT record.
    let text = query.get(12..query.len() - 11).unwrap_or_default();
    let is_response = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    is_response
        && answer.get(..2) == Some(&id.to_be_bytes())
        && answer
            .get(12..)
            .and_then(|rest| rest.get(..text.len()))
            .is_some_and(|found| found.eq_ignore_ascii_case(text))
}

/// The addresses in an answer; `None` if it is malformed.
pub(super) fn addresses(answer: &[u8], kind: u16) -> Option<Vec<Vec<u8>>> {
    let number = |at: usize| Some(u16::from_be_bytes(*answer.get(at..)?.first_chunk()?));
    let mut at = after_name(answer, 12)? + 4;
    let mut found = Vec::new();
    for _ in 0..number(6)? {
        at = after_name(answer, at)?;
        let (record, class, len) = (number(at)?, number(at + 2)?, usize::from(number(at + 8)?));
        let value = answer.get(at + 10..at + 10 + len)?;
        let wanted = if kind == A { 4 } else { 16 };
        if record == kind && class == INTERNET && value.len() == wanted {
            found.push(value.to_vec());
        }
        at += 10 + len;
    }
    Some(found)
}

/// The end of a name: a length of 0, or a pointer to the rest of it.
fn after_name(answer: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *answer.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xC0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with an alias and two addresses.
    fn answer(id: u16) -> Vec<u8> {
        let mut bytes = question(id, "vpn.example", A).unwrap();
        bytes.truncate(bytes.len() - 11);
        bytes[2] |= 0x80;
        bytes[7] = 3;
        bytes[11] = 0;
        let record = |kind: u16, value: &[u8]| {
            let head = [
                0xC0,
                12,
                0,
                kind as u8,
                0,
                1,
                0,
                0,
                0,
                60,
                0,
                value.len() as u8,
            ];
            [&head[..], value].concat()
        };
        bytes.extend(record(5, &[1, b'x', 0xC0, 12]));
        bytes.extend(record(A, &[192, 0, 2, 1]));
        bytes.extend(record(A, &[192, 0, 2, 2]));
        bytes
    }

    #[test]
    fn the_addresses_of_an_answer_are_found_behind_an_alias() {
        let reply = answer(7);
        assert!(is_answer(&reply, 7, "vpn.example", A));
        assert!(is_answer(&reply, 7, "VPN.example.", A));
        assert!(!is_answer(&reply, 8, "vpn.example", A), "another question");
        assert!(!is_answer(&reply, 7, "vpn.example", AAAA));
        assert!(!is_answer(&reply, 7, "vpn.exampla", A));
        assert_eq!(
            addresses(&reply, A).unwrap(),
            [[192, 0, 2, 1], [192, 0, 2, 2]]
        );
        assert_eq!(addresses(&reply, AAAA).unwrap(), [[0u8; 0]; 0]);
    }

    #[test]
    fn a_malformed_answer_is_survived() {
        let reply = answer(7);
        for cut in 0..reply.len() {
            let _ = addresses(&reply[..cut], A);
            let _ = is_answer(&reply[..cut], 7, "vpn.example", A);
        }
        for at in 0..reply.len() {
            for value in [0, 0x3F, 0xC0, 0xFF] {
                let mut wrong = reply.clone();
                wrong[at] = value;
                let _ = addresses(&wrong, A);
            }
        }
        assert_eq!(question(1, "a..b", A), None);
        assert_eq!(question(1, &"a".repeat(64), A), None);
    }
}
