//! The cost of traffic: processor time and memory of some processes, of the kernel's threads, of the machine.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::lab::Lab;

/// Clock ticks a second in `/proc`: the same on every Linux.
const TICKS: f64 = 100.0;

/// A flag of `/proc/<pid>/stat`: a thread of the kernel.
const PF_KTHREAD: u64 = 0x0020_0000;

/// Processor seconds, as a difference between two [`Ledger`]s or as a total.
///
/// The kernel charges a packet's way through it to the process in whose context it runs: the tunnel's system call, or
/// the sender's. Deferred work is charged to the kernel's threads (ksoftirqd). Only [`Cost::machine`] is sure to
/// include everything.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// The named processes, in user mode.
    pub user: f64,
    /// The named processes, in the kernel.
    pub system: f64,
    /// All kernel threads.
    pub kernel: f64,
    /// The whole machine, everything but idle time: also both ends of the traffic, and any other process.
    pub machine: f64,
}

/// A reading of all meters.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// User and system ticks by process.
    named: BTreeMap<u32, [u64; 2]>,
    kernel: BTreeMap<u32, u64>,
    machine: u64,
}

impl Ledger {
    /// Reads all meters; the processes are those in `lab` with one of these `names`.
    ///
    /// # Errors
    /// If the lab has ended or `/proc` cannot be read.
    pub fn read(lab: &Lab, names: &[&str]) -> Result<Self> {
        let mut named = BTreeMap::new();
        for process in lab.processes()? {
            if names.contains(&process.name.as_str())
                && let Some(meter) = Meter::read(process.pid)
            {
                named.insert(process.pid, [meter.user, meter.system]);
            }
        }
        let pids = fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let kernel = pids
            .filter_map(|pid: u32| Some((pid, Meter::read(pid)?)))
            .filter(|(_, meter)| meter.flags & PF_KTHREAD != 0)
            .map(|(pid, meter)| (pid, meter.user + meter.system))
            .collect();
        Ok(Self {
            named,
            kernel,
            machine: busy()?,
        })
    }

    /// The time spent since `earlier`. Ignores processes that have ended since.
    pub fn since(&self, earlier: &Self) -> Cost {
        let spent = |index: usize| {
            let each = self.named.iter().map(|(pid, now)| {
                let before = earlier.named.get(pid).map_or(0, |before| before[index]);
                now[index].saturating_sub(before)
            });
            each.sum::<u64>() as f64 / TICKS
        };
        let kernel = self.kernel.iter().map(|(pid, now)| {
            let before = earlier.kernel.get(pid).copied().unwrap_or(*now);
            now.saturating_sub(before)
        });
        Cost {
            user: spent(0),
            system: spent(1),
            kernel: kernel.sum::<u64>() as f64 / TICKS,
            machine: self.machine.saturating_sub(earlier.machine) as f64 / TICKS,
        }
    }
}

/// The peak resident memory of the processes in `lab` with one of these `names`, summed, in bytes.
///
/// # Errors
/// If the lab has ended.
pub fn peak_memory(lab: &Lab, names: &[&str]) -> Result<u64> {
    let processes = lab.processes()?;
    let named = processes
        .iter()
        .filter(|process| names.contains(&process.name.as_str()));
    Ok(named.filter_map(|process| high_water(process.pid)).sum())
}

/// `VmHWM`, in bytes.
fn high_water(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The average number of busy processors over `interval`.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn busy_processors(interval: Duration) -> Result<f64> {
    let (before, begin) = (busy()?, Instant::now());
    thread::sleep(interval);
    let ticks = busy()?.saturating_sub(before) as f64;
    Ok(ticks / TICKS / begin.elapsed().as_secs_f64())
}

struct Meter {
    flags: u64,
    user: u64,
    system: u64,
}

impl Meter {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// proc(5): fields 9, 14 and 15. The name, field 2, may hold blanks and parentheses.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(") ")?;
        let field = |number: usize| rest.split(' ').nth(number - 3)?.parse().ok();
        Some(Self {
            flags: field(9)?,
            user: field(14)?,
            system: field(15)?,
        })
    }
}

/// Ticks in which the machine was not idle, summed over all its processors.
fn busy() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    parse_busy(&stat).context("/proc/stat has no line `cpu`")
}

/// proc(5): user, nice, system, (idle, iowait,) irq, softirq. Time stolen by a hypervisor was not spent here.
fn parse_busy(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    [0, 1, 2, 5, 6].iter().map(|&at| fields.get(at)).sum()
}

#[cfg(test)]
mod tests {
    use super::{Meter, parse_busy};

    #[test]
    fn meters_are_read_whatever_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 120 34 0 0 20 0 1 0 5 1 1";
        let meter = Meter::parse(stat).expect("a line of stat");
        assert_eq!(
            (meter.flags, meter.user, meter.system),
            (4_194_560, 120, 34)
        );
        assert_eq!(parse_busy("cpu  1 2 4 800 160 8 16 32 0 0\n"), Some(31));
    }
}
