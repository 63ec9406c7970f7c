//! The processes of engines, whether their sockets can be seen or not.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::getuid;

/// An engine's process.
pub(crate) struct Process {
    pub(super) pid: u32,
    /// Its id in its own pid namespace.
    pub(super) inner: u32,
    pub(super) is_daemon: bool,
    /// Whether its `/run` is known to be another than this process's. A mount namespace of its own, as that of most services,
    /// may share it.
    pub(super) has_other_run: bool,
}

impl Process {
    /// Whether it is in another pid namespace, as in a container.
    pub(super) fn is_contained(&self) -> bool {
        self.pid != self.inner
    }
}

/// Engine processes according to `/proc`. Other users' only for root, and those of other network namespaces only with
/// `everywhere`.
pub(super) fn processes(everywhere: bool) -> Vec<Process> {
    let here = std::fs::read_link("/proc/self/ns/net").ok();
    let own_run = directory(Path::new("/run"));
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|pid| {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        if read("comm")?.trim_end() != "udco" {
            return None;
        }
        let words = read("cmdline")?;
        let verb = words.split('\0').nth(1)?;
        let status = read("status")?;
        let field = |name: &str| {
            let mut lines = status.lines();
            lines
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        // The processes that start an engine, or wait for its end, have a single thread.
        let is_engine = matches!(verb, "engine" | "daemon") && field("Threads:")? != "1";
        let uid = field("Uid:")?.split_whitespace().next()?.parse::<u32>();
        let may_ask = getuid().is_root() || uid == Ok(getuid().as_raw());
        // Unknown if the process may not be inspected.
        let there = std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let is_here = everywhere || there.is_none() || there == here;
        let inner = field("NSpid:")?.split_whitespace().last()?.parse().ok()?;
        let is_daemon = verb == "daemon";
        let run = directory(Path::new(&format!("/proc/{pid}/root/run")));
        (is_engine && may_ask && is_here).then_some(Process {
            pid,
            inner,
            is_daemon,
            has_other_run: run.is_some() && run != own_run,
        })
    })
    .collect()
}

/// What tells a directory from all others; `None` if it cannot be seen.
fn directory(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
