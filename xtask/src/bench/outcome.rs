//! The results of a run: all samples, their medians and ratios.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cell::{Cell, Sample};
use super::figure::Figure;
use super::loads;
use super::machine::Machine;
use super::scale::Scale;
use super::target::{self, Verdict};

/// A whole run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// The command that produced it.
    pub(crate) command: String,
    pub(crate) rounds: usize,
    /// Duration of each stream and flood.
    pub(crate) seconds: u32,
    /// Duration of the whole run.
    pub(crate) minutes: f64,
    pub(crate) targets: Vec<Verdict>,
    pub(crate) outcomes: Vec<Outcome>,
    /// Moderate loads with udco at the server only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) one_end: Vec<loads::table::Outcome>,
    /// Rates by number of cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scale: Option<Scale>,
}

/// One cell, all rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    #[serde(flatten)]
    pub(crate) cell: Cell,
    pub(crate) median: Sample,
    /// One per round, `null` where it failed.
    pub(crate) samples: Vec<Option<Sample>>,
}

impl Outcome {
    pub(crate) fn new(cell: Cell, samples: Vec<Option<Sample>>) -> Self {
        let mut values: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
        for (&figure, &value) in samples.iter().flatten().flatten() {
            values.entry(figure).or_default().push(value);
        }
        let median = values
            .into_iter()
            .filter_map(|(figure, values)| Some((figure, middle(values)?)))
            .collect();
        Self {
            cell,
            median,
            samples,
        }
    }
}

impl Report {
    /// Compares the outcomes with the targets.
    pub(crate) fn judge(&mut self) {
        self.targets = target::TARGETS
            .iter()
            .map(|target| target.judge(self))
            .collect();
    }

    pub(crate) fn outcome(&self, cell: Cell) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.cell == cell)
    }

    pub(crate) fn median(&self, cell: Cell, figure: Figure) -> Option<f64> {
        self.outcome(cell)?.median.get(&figure).copied()
    }

    /// The ratio of two cells' medians.
    pub(crate) fn ratio(&self, figure: Figure, of: Cell, over: Cell) -> Option<f64> {
        Some(self.median(of, figure)? / self.median(over, figure)?)
    }

    /// The least and the greatest ratio of samples of the same round.
    pub(crate) fn ratio_range(&self, figure: Figure, of: Cell, over: Cell) -> Option<[f64; 2]> {
        let pairs = self.outcome(of)?.samples.iter();
        let ratios = pairs
            .zip(&self.outcome(over)?.samples)
            .filter_map(|(of, over)| {
                Some(of.as_ref()?.get(&figure)? / over.as_ref()?.get(&figure)?)
            });
        ratios.fold(None, |range, ratio| {
            let [least, most] = range.unwrap_or([ratio, ratio]);
            Some([least.min(ratio), most.max(ratio)])
        })
    }
}

/// The median; for an even number of values, the mean of the middle two.
pub(crate) fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied();
    let half = values.len() / 2;
    if values.len() % 2 == 1 {
        at(half)
    } else {
        Some(f64::midpoint(at(half.checked_sub(1)?)?, at(half)?))
    }
}

#[cfg(test)]
mod tests {
    use super::middle;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(middle(vec![]), None);
        assert_eq!(middle(vec![3.0, 1.0, 9.0]), Some(3.0));
        assert_eq!(middle(vec![3.0, 1.0, 9.0, 5.0]), Some(4.0));
    }
}
