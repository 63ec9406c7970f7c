//! What a machine of some size can measure of the whole scale.

use std::fmt;

use serde::Serialize;

/// Numbers of cores on the whole scale.
const CORES: [usize; 5] = [1, 2, 4, 8, 16];

/// Numbers of busy peers on it.
pub(super) const PEERS: [u16; 4] = [1, 10, 100, 1_000];

/// The numbers of cores that have rows with figures, and those whose rows say why they have none.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Plan {
    /// The machine's.
    pub(super) cores: usize,
    pub(super) measured: Vec<usize>,
    pub(super) left_out: Vec<usize>,
}

impl Plan {
    /// For a machine with this many cores.
    pub(super) fn of(cores: usize) -> Self {
        let (measured, left_out) = CORES.iter().partition(|&&wanted| wanted <= cores);
        Self {
            cores,
            measured,
            left_out,
        }
    }

    /// Why the rows of `left_out` have no figures.
    pub(super) fn why(&self) -> String {
        format!("not run: the machine has {}", cores(self.cores))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = PEERS.map(|peers| peers.to_string()).join(", ");
        let list = |numbers: &[usize]| {
            let words: Vec<_> = numbers.iter().map(usize::to_string).collect();
            words.join(", ")
        };
        write!(
            f,
            "cores {}, each with {peers} busy peers",
            list(&self.measured)
        )?;
        if !self.left_out.is_empty() {
            write!(f, "; cores {} {}", list(&self.left_out), self.why())?;
        }
        Ok(())
    }
}

fn cores(number: usize) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} core{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_enough_cores_is_left_out_and_says_why() {
        let all = CORES.to_vec();
        for (cores, measured) in [
            (1, 1),
            (2, 2),
            (3, 2),
            (6, 3),
            (8, 4),
            (15, 4),
            (16, 5),
            (64, 5),
        ] {
            let plan = Plan::of(cores);
            assert_eq!(plan.measured, all[..measured], "{cores} cores");
            assert_eq!(plan.left_out, all[measured..], "{cores} cores");
        }
        assert_eq!(
            Plan::of(2).to_string(),
            "cores 1, 2, each with 1, 10, 100, 1000 busy peers; cores 4, 8, 16 not run: the machine has 2 cores"
        );
        assert_eq!(
            Plan::of(16).to_string(),
            "cores 1, 2, 4, 8, 16, each with 1, 10, 100, 1000 busy peers"
        );
        assert_eq!(Plan::of(1).why(), "not run: the machine has 1 core");
    }
}
