//! The directory of a lab, which holds keys: it is removed with the lab, however the testbed ends (faults G3).

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Removes the directory at the end of its standard input: also if the testbed was killed with its whole process group.
const JANITOR: &str = "trap '' HUP INT TERM; cat; until rm -rf -- \"$0\"; do sleep 0.1; done";

/// Set to keep the directories of labs.
const KEEP: &str = "UDCO_TESTBED_KEEP";

/// A directory that is removed when dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// `None` if the directory is to be kept.
    janitor: Option<Child>,
}

impl Directory {
    /// Creates a directory that every user may read: OpenVPN rereads its configuration after it has become `nobody`.
    ///
    /// # Errors
    /// If the file system or starting a process fails.
    pub(crate) fn new() -> Result<Self> {
        // A process id is unique only in its pid namespace, and is reused.
        let random = RandomState::new().build_hasher().finish();
        let name = format!("udco-lab-{}-{random:08x}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let mut directory = Self {
            path,
            janitor: None,
        };
        fs::set_permissions(&directory.path, PermissionsExt::from_mode(0o755))?;
        if std::env::var_os(KEEP).is_none() {
            let mut janitor = Command::new("sh");
            janitor.args(["-c", JANITOR]).arg(&directory.path);
            janitor.stdin(Stdio::piped()).stdout(Stdio::null());
            let started = janitor.stderr(Stdio::null()).process_group(0).spawn();
            directory.janitor = Some(started.context("cannot start sh")?);
        }
        Ok(directory)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        match &mut self.janitor {
            Some(janitor) => {
                drop(janitor.stdin.take());
                let _ = janitor.wait();
            }
            None => eprintln!("kept: {}", self.path.display()),
        }
    }
}
