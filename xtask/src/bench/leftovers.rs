//! Cleaning up after an interrupted benchmark.
//!
//! A lab's processes and namespaces die with the benchmark however it ends, by the pipe that the lab's first process
//! reads. Its directory doesn't; a second such process removes it.

use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Result;

/// Waits for the end of its standard input, then for the labs' end.
const SCRIPT: &str = r#"cat >/dev/null; sleep 1; rm -rf "$1"-*"#;

/// Removes the directories of this process's labs when it ends.
#[derive(Debug)]
pub(crate) struct Sweeper {
    broom: Child,
    lifeline: Option<ChildStdin>,
}

impl Sweeper {
    /// Starts it.
    ///
    /// # Errors
    /// If there is no shell.
    pub(crate) fn start() -> Result<Self> {
        let labs = std::env::temp_dir().join(format!("udco-lab-{}", std::process::id()));
        let mut broom = Command::new("sh")
            .args(["-c", SCRIPT, "sweeper"])
            .arg(labs)
            .stdin(Stdio::piped())
            // The terminal interrupts the benchmark's process group, and this process must outlive it.
            .process_group(0)
            .spawn()?;
        let lifeline = broom.stdin.take();
        Ok(Self { broom, lifeline })
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if std::env::var_os("UDCO_TESTBED_KEEP").is_some() {
            let _ = self.broom.kill();
        }
        drop(self.lifeline.take());
        let _ = self.broom.wait();
    }
}
