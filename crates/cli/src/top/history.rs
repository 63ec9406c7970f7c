//! The rates of the last samples.

use std::collections::VecDeque;

use crate::rates::Rate;

/// How many are kept: two minutes, at one a second.
pub(super) const LENGTH: usize = 120;

/// Bytes a second inside the tunnel, the latest first.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    received: VecDeque<f32>,
    sent: VecDeque<f32>,
}

impl History {
    /// Adds a rate; a sample without one counts as nothing.
    pub(super) fn push(&mut self, rate: Option<Rate>) {
        let rate = rate.unwrap_or_default();
        for (all, rate) in [
            (&mut self.received, rate.rx_bytes),
            (&mut self.sent, rate.tx_bytes),
        ] {
            all.push_front(rate as f32);
            all.truncate(LENGTH);
        }
    }

    /// Bits a second that were received.
    pub(super) fn received(&self) -> impl Iterator<Item = u64> {
        bits(&self.received)
    }

    /// Bits a second that were sent.
    pub(super) fn sent(&self) -> impl Iterator<Item = u64> {
        bits(&self.sent)
    }
}

fn bits(bytes: &VecDeque<f32>) -> impl Iterator<Item = u64> {
    bytes.iter().map(|bytes| (8.0 * bytes) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_comes_first_and_the_oldest_goes() {
        let mut history = History::default();
        for second in 0..LENGTH + 5 {
            history.push(Some(Rate {
                rx_bytes: second as f64,
                ..Rate::default()
            }));
        }
        history.push(None);
        let received: Vec<_> = history.received().collect();
        assert_eq!(received.len(), LENGTH);
        assert_eq!(received[..2], [0, 8 * (LENGTH as u64 + 4)]);
        assert!(history.sent().all(|sent| sent == 0));
    }
}
