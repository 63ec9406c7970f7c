//! A process that removes an engine's socket file however the engine ends: the engine itself has no access to the
//! file system.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use udco_sys::socket_file::SocketFile;

/// What to remove.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The socket file.
    path: PathBuf,
}

/// Starts the process; the file is removed when the returned handle is closed, as the kernel does when a process
/// ends.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn start(path: &Path) -> Result<ChildStdin> {
    let path = std::path::absolute(path)?;
    let this = std::env::current_exe().context("cannot find the udco program")?;
    let mut child = Command::new(this)
        .args([OsString::from("sweep"), "--".into(), path.into()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(udco_sys::process::named_limit)
        .context("cannot start a process")?;
    child.stdin.take().context("no pipe to the process")
}

/// Waits for the engine's end.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // A signal that ends the engine may go to its whole process group.
    let _ = rustix::process::setsid();
    udco_sys::process::ignore_termination();
    let file = SocketFile::made_at(&arguments.path)
        .with_context(|| arguments.path.display().to_string())?;
    io::stdin().read_to_end(&mut Vec::new())?;
    file.remove();
    Ok(())
}
