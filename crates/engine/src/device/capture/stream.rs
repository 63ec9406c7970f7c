//! The packets in a piece of a stream, each with its length in front, as runs of one length.

use std::iter;

use udco_core::framing::PREFIX;

use super::{Run, Seen};

/// Lengths of the whole packets in a piece that begins with one; ends at what can be none.
pub(crate) fn packets(piece: &[u8]) -> impl Iterator<Item = usize> + Clone {
    let mut rest = piece;
    iter::from_fn(move || {
        let (prefix, packets) = rest.split_first_chunk::<PREFIX>()?;
        let len = usize::from(u16::from_be_bytes(*prefix));
        rest = packets.get(len..)?;
        (len >= PREFIX).then_some(len)
    })
}

/// Those packets as runs, each seen as `seen` says.
pub(crate) fn runs<'a>(seen: Seen<'_>, piece: &'a [u8]) -> impl Iterator<Item = Run<'a>> {
    let mut rest = piece;
    iter::from_fn(move || {
        let mut lens = packets(rest);
        let each = lens.next()?;
        let mut end = PREFIX + each;
        for len in lens {
            if len > each {
                break;
            }
            end += PREFIX + len;
            if len < each {
                // A run's last.
                break;
            }
        }
        let bytes;
        (bytes, rest) = rest.split_at_checked(end)?;
        Some(Seen { bytes, ..seen }.run(each, PREFIX))
    })
}

#[cfg(test)]
mod tests {
    use udco_ipc::capture::Way;

    use super::*;

    fn piece(lens: &[usize]) -> Vec<u8> {
        let packet = |len: &usize| [&(*len as u16).to_be_bytes()[..], &vec![7; *len]].concat();
        lens.iter().flat_map(packet).collect()
    }

    #[test]
    fn packets_of_one_length_are_a_run_and_a_shorter_one_is_its_last() {
        let seen = Seen::inner(Way::InnerIn, None, &[]);
        let runs = |piece: &[u8]| -> Vec<_> {
            let len = |run: Run<'_>| (run.each, run.seen.bytes.len());
            runs(seen, piece).map(len).collect()
        };
        let lens = [10, 10, 4, 10, 12, 12, 5, 6];
        assert_eq!(
            runs(&piece(&lens)),
            [(10, 12 + 12 + 6), (10, 12), (12, 14 + 14 + 7), (6, 8)]
        );
        assert_eq!(packets(&piece(&lens)).collect::<Vec<_>>(), lens);
        // The beginning of another one; no packet at all.
        let cut = piece(&[10, 10]);
        for len in 12..24 {
            assert_eq!(runs(&cut[..len]), [(10, 12)], "{len}");
        }
        assert_eq!(runs(&cut[..11]), []);
        assert_eq!(runs(&piece(&[10, 1, 10])), [(10, 12)]);
        assert_eq!(runs(&piece(&[0, 10])), []);
    }
}
