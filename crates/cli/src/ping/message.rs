//! Echo requests and their answers as bytes (RFC 792, RFC 4443).

/// Type, code, checksum, identifier and sequence number.
pub(super) const HEADER: usize = 8;

const REQUEST: u8 = 8;
const REPLY: u8 = 0;
const REQUEST6: u8 = 128;
const REPLY6: u8 = 129;

/// A request with so much payload, which begins with `mark` as far as there is room. The kernel makes the checksum of
/// IPv6.
pub(super) fn request(
    is_ipv6: bool,
    identifier: u16,
    sequence: u16,
    payload: usize,
    mark: [u8; 8],
) -> Vec<u8> {
    let kind = if is_ipv6 { REQUEST6 } else { REQUEST };
    let mut message = vec![kind, 0, 0, 0];
    message.extend_from_slice(&identifier.to_be_bytes());
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend(
        mark.into_iter()
            .chain((8..).map(|at: usize| at as u8))
            .take(payload),
    );
    if !is_ipv6 {
        let checksum = checksum(&message);
        if let Some(place) = message.get_mut(2..4) {
            place.copy_from_slice(&checksum.to_be_bytes());
        }
    }
    message
}

/// The sequence number of an answer to a request of ours, and how much payload it has. `identifier`: where the kernel
/// does not compare it.
pub(super) fn answer(
    is_ipv6: bool,
    identifier: Option<u16>,
    mark: [u8; 8],
    message: &[u8],
) -> Option<(u16, usize)> {
    let (header, payload) = message.split_first_chunk::<HEADER>()?;
    let [kind, 0, _, _, a, b, c, d] = *header else {
        return None;
    };
    let is_reply = kind == if is_ipv6 { REPLY6 } else { REPLY };
    let is_ours = identifier.is_none_or(|ours| ours == u16::from_be_bytes([a, b]));
    let is_marked = payload.iter().zip(&mark).all(|(one, other)| one == other);
    (is_reply && is_ours && is_marked).then(|| (u16::from_be_bytes([c, d]), payload.len()))
}

/// The Internet checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u16::from_be_bytes([high, low]),
        [high] => u16::from_be_bytes([high, 0]),
        _ => 0,
    });
    let mut sum: u64 = words.map(u64::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: [u8; 8] = *b"udco-tst";

    /// As the other end answers.
    fn answered(mut request: Vec<u8>) -> Vec<u8> {
        request[0] = if request[0] == REQUEST { REPLY } else { REPLY6 };
        request
    }

    #[test]
    fn a_request_has_the_size_and_checksum_that_were_asked_for() {
        for payload in [0, 1, 7, 8, 9, 56, 1472] {
            let request = request(false, 7, 9, payload, MARK);
            assert_eq!(request.len(), HEADER + payload);
            assert_eq!(checksum(&request), 0, "{payload}");
            assert_eq!(request[HEADER..][..payload.min(8)], MARK[..payload.min(8)]);
        }
        assert_eq!(request(true, 7, 9, 0, MARK), [128, 0, 0, 0, 0, 7, 0, 9]);
    }

    #[test]
    fn only_answers_to_ours_are_taken() {
        for is_ipv6 in [false, true] {
            let ours = answered(request(is_ipv6, 7, 9, 56, MARK));
            let taken = |identifier, message: &[u8]| answer(is_ipv6, identifier, MARK, message);
            assert_eq!(taken(Some(7), &ours), Some((9, 56)));
            assert_eq!(taken(None, &ours), Some((9, 56)));
            assert_eq!(taken(Some(8), &ours), None, "of another process");
            assert_eq!(answer(!is_ipv6, Some(7), MARK, &ours), None);
            assert_eq!(answer(is_ipv6, Some(7), *b"another!", &ours), None);
            let request = request(is_ipv6, 7, 9, 56, MARK);
            assert_eq!(taken(Some(7), &request), None, "a request");
            for cut in 0..HEADER {
                assert_eq!(taken(Some(7), &ours[..cut]), None);
            }
        }
    }
}
