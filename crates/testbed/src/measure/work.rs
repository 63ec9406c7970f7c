//! What some processes have done: the processor's time that they took, and how often they were switched to another.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::procfs::Proc;

/// The work of some processes, since they began or between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Processor time of all their threads, in user mode and in the kernel.
    pub time: Duration,
    /// Context switches of all their threads, voluntary or not.
    pub switches: u64,
}

impl Work {
    /// Reads that of all threads that these processes have now.
    ///
    /// # Errors
    /// If a process has ended.
    pub fn read(processes: &[Proc]) -> Result<Self> {
        let mut work = Self::default();
        for process in processes {
            let tasks = format!("/proc/{}/task", process.pid);
            for task in fs::read_dir(&tasks).with_context(|| format!("{process:?} has ended"))? {
                let task = task?.path();
                let read = |name: &str| fs::read_to_string(task.join(name)).unwrap_or_default();
                let (time, switches) =
                    (on_processor(&read("schedstat")), switches(&read("status")));
                work.time += time;
                work.switches += switches;
            }
        }
        Ok(work)
    }

    /// What was done since an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            time: self.time.saturating_sub(earlier.time),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

/// The first number of a thread's `schedstat`: nanoseconds on a processor.
fn on_processor(schedstat: &str) -> Duration {
    let first = schedstat.split_whitespace().next();
    Duration::from_nanos(first.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// The sum of both counts in a thread's `status`.
fn switches(status: &str) -> u64 {
    let counts = status
        .lines()
        .filter(|line| line.contains("ctxt_switches:"))
        .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
    counts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_switches_count() {
        let status = "Name:\ta\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(switches(status), 9);
        assert_eq!(on_processor("1500 20 3\n"), Duration::from_nanos(1500));
    }
}
