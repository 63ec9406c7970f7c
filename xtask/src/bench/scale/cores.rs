//! The machine's cores, and running on some of them.

use std::fs;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this process may use: one of each core first, then the cores' other threads.
#[derive(Debug)]
pub(super) struct Cores(Vec<usize>);

impl Cores {
    pub(super) fn here() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("the processors of this process")?;
        let mut processors = Vec::new();
        for number in (0..CpuSet::MAX_CPU).filter(|&number| allowed.is_set(number)) {
            let file = format!("/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list");
            processors.push((number, fs::read_to_string(file).unwrap_or_default()));
        }
        Ok(Self(spread(processors)))
    }

    /// How many, or less if a control group grants less processor time.
    pub(super) fn count(&self) -> usize {
        let granted = std::thread::available_parallelism().map_or(1, usize::from);
        self.0.len().min(granted)
    }

    /// Does this with the first of them only: what `work` starts cannot leave them, either.
    pub(super) fn on<T>(&self, count: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
        confine(&self.0[..count])?;
        let result = work();
        confine(&self.0)?;
        result
    }
}

/// Confines this thread, and the threads and processes that it starts from now on.
fn confine(processors: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for &number in processors {
        set.set(number);
    }
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on {processors:?} only"))
}

/// Processors, given with a list of their core's (`0-1`, `0,8`): the first of each core, then the second, and so on.
fn spread(mut processors: Vec<(usize, String)>) -> Vec<usize> {
    let rank = |(number, list): &(usize, String)| {
        let ranges = list.trim().split(',').filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
        });
        let rank = ranges.flatten().take_while(|other| other < number).count();
        (rank, *number)
    };
    processors.sort_by_key(rank);
    processors.into_iter().map(|(number, _)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_core_comes_before_the_second_thread_of_any() {
        let order = |lists: &[&str]| {
            spread(
                lists
                    .iter()
                    .map(|&list| list.to_owned())
                    .enumerate()
                    .collect(),
            )
        };
        assert_eq!(order(&["0-1\n", "0-1\n", "2-3\n", "2-3\n"]), [0, 2, 1, 3]);
        assert_eq!(order(&["0,2\n", "1,3\n", "0,2\n", "1,3\n"]), [0, 1, 2, 3]);
        assert_eq!(order(&["", ""]), [0, 1]);
    }

    #[test]
    fn work_sees_only_the_cores_that_it_has() {
        let cores = Cores::here().unwrap();
        let inside = cores.on(1, || Ok(Cores::here()?.0)).unwrap();
        assert_eq!(inside, cores.0[..1]);
        assert_eq!(Cores::here().unwrap().0, cores.0);
    }
}
