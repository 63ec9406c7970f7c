//! Checks an engine's confinement from outside.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::procfs::Proc;

/// Checks that an engine has no capability and no way to get one, that each of its threads has a filter, and that only
/// root can inspect it.
///
/// # Errors
/// Names the rights that it still has.
pub fn require(engine: &Proc) -> Result<()> {
    let process = format!("/proc/{}", engine.pid);
    let process = Path::new(&process);
    for thread in fs::read_dir(process.join("task"))? {
        let file = thread?.path().join("status");
        // The thread may have ended meanwhile.
        let Ok(status) = fs::read_to_string(&file) else {
            continue;
        };
        let of = |name: &str| {
            let found = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            found
                .map(str::trim)
                .with_context(|| format!("no {name} in {}", file.display()))
        };
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let left = of(set)?;
            ensure!(
                left.trim_start_matches('0').is_empty(),
                "{engine:?} has {set} {left}"
            );
        }
        // Emptying the bounding set takes a capability, which root's engine had.
        let bounds = of("CapBnd")?;
        let uid = of("Uid")?;
        ensure!(
            bounds.trim_start_matches('0').is_empty() || !uid.starts_with("0\t"),
            "{engine:?} of user {uid} has CapBnd {bounds}"
        );
        ensure!(of("NoNewPrivs")? == "1", "{engine:?} may get rights");
        // The filter exists only for some architectures.
        ensure!(
            of("Seccomp")? == "2" || !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")),
            "{engine:?} may make any system call"
        );
    }
    let limits = fs::read_to_string(process.join("limits"))?;
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<&str> = core.unwrap_or_default().split_whitespace().collect();
    ensure!(
        core.get(4..6) == Some(&["0", "0"]),
        "{engine:?} may leave a core file: {core:?}"
    );
    // Readable by root only.
    let environment = fs::read(process.join("environ"));
    ensure!(
        !environment.is_ok_and(|environment| !environment.is_empty()),
        "{engine:?} has an environment"
    );
    if let Ok(directory) = fs::read_link(process.join("cwd")) {
        ensure!(
            directory == Path::new("/"),
            "{engine:?} is in {directory:?}"
        );
    }
    Ok(())
}
