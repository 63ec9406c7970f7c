//! The process that should answer, and does not: a sentence that says which one, why, and what to do.

use std::fmt::{self, Display, Formatter};
use std::fs;

use udco_sys::seqpacket::Connection;

use crate::escape::printable;

/// The longest name that the kernel has for a process.
const NAME: usize = 16;

/// A process that does not answer.
#[derive(Debug)]
pub(crate) struct Stalled {
    pub(crate) pid: u32,
    name: String,
    /// As in `/proc`.
    state: char,
    /// Whether it has as many open files as it may; unknown files count as few.
    is_out_of_files: bool,
}

impl Stalled {
    /// The process that listens at the other end; `None` if it is in another pid namespace, or has gone.
    pub(super) fn behind(connection: &Connection) -> Option<Self> {
        let pid = u32::try_from(connection.peer_credentials().ok()?.pid).ok()?;
        let process = Self::read(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        Some(Self {
            is_out_of_files: is_out_of_files(pid).unwrap_or(false),
            ..process
        })
    }

    /// Whether it has ended, and only its parent does not know.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Reads the text of `/proc/PID/stat`: a process may have any name.
    fn read(pid: u32, stat: &str) -> Option<Self> {
        let (before, after) = stat.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        Some(Self {
            pid,
            name: printable(name, NAME),
            state: after.trim_start().chars().next()?,
            is_out_of_files: false,
        })
    }
}

/// Only root may see an engine's files.
fn is_out_of_files(pid: u32) -> Option<bool> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let mut lines = limits.lines();
    let line = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    let soft: usize = line.split_whitespace().next()?.parse().ok()?;
    Some(open >= soft)
}

impl std::error::Error for Stalled {}

impl Display for Stalled {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            name,
            state,
            is_out_of_files,
        } = self;
        write!(to, "process {pid} ({name}) ")?;
        match state {
            'T' => write!(to, "is stopped (state T); `kill -CONT {pid}` lets it go on"),
            't' => write!(
                to,
                "is stopped by a debugger (state t), which can let it go on"
            ),
            'D' => write!(
                to,
                "waits for the kernel (state D); if that lasts, `cat /proc/{pid}/stack`, as root, shows where"
            ),
            'Z' | 'X' => write!(to, "has ended (state {state})"),
            _ if *is_out_of_files => write!(
                to,
                "has as many open files as it may: `prlimit --pid {pid} --nofile=524288` raises the limit, and LimitNOFILE= in its \
                 unit for its next start"
            ),
            _ => write!(
                to,
                "is busy or hangs (state {state}); if that lasts, restart it, which ends its tunnels"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_with_its_state_and_a_cure() {
        let words = |stat: &str| Stalled::read(711, stat).unwrap().to_string();
        assert_eq!(
            words("711 (udco) T 1 711 711 0"),
            "process 711 (udco) is stopped (state T); `kill -CONT 711` lets it go on"
        );
        for (state, means) in [
            ('t', "by a debugger"),
            ('D', "waits for the kernel"),
            ('Z', "has ended"),
            ('S', "hangs (state S)"),
            ('R', "is busy"),
        ] {
            let words = words(&format!("711 (udco) {state} 1"));
            assert!(words.contains(means), "{words}");
            assert!(!words.contains("-CONT"), "{words}");
        }
        let full = Stalled {
            is_out_of_files: true,
            ..Stalled::read(711, "711 (udco) S 1").unwrap()
        };
        assert!(full.to_string().contains("--pid 711 --nofile="), "{full}");
        let odd = words("711 (a) b) (\n) T 1");
        assert!(
            odd.contains("(a) b) (") && odd.contains("is stopped"),
            "{odd}"
        );
        assert!(!odd.contains('\n'), "{odd}");
        assert!(Stalled::read(711, "").is_none());
    }
}
