//! What an engine process drops before it serves: its environment, descriptors, user, and all privileges.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::io::fcntl_dupfd_cloexec;
use udco_ipc::message_id;
use udco_sys::confinement::{self, Unforeseen};

/// If this variable is set, `udco` starts engines that end at any system call outside their table. For tests.
const STRICT: &str = "UDCO_STRICT";

/// The option that passes this to an engine, which has no environment.
pub(crate) const STRICT_OPTION: &str = "--strict";

/// The option that marks environment and descriptors as already dropped.
const BARE_OPTION: &str = "--bare";

/// How an engine is confined.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// End at a system call that is not in the table, for tests.
    #[arg(long, hide = true)]
    strict: bool,

    /// The environment has been dropped.
    #[arg(long, hide = true)]
    pub(crate) bare: bool,
}

impl Options {
    /// Gives up all privileges. Call it before starting another thread.
    pub(crate) fn enter(self) {
        udco_sys::lines::sink().open();
        if cfg!(feature = "unconfined") {
            tracing::error!(
                "built with the feature `unconfined`, for measurements only: the engine keeps all privileges"
            );
            return;
        }
        let unforeseen = if self.strict {
            Unforeseen::Ends
        } else {
            Unforeseen::Fails
        };
        for lack in confinement::enter(unforeseen) {
            tracing::warn!(message_id = message_id::NOT_CONFINED, "{lack}");
        }
    }
}

/// Arguments that carry this process's settings to an engine's process, which gets no environment.
pub(crate) fn for_engine() -> Vec<OsString> {
    let mut words = vec![BARE_OPTION.into()];
    if std::env::var_os(STRICT).is_some_and(|value| !value.is_empty()) {
        words.push(STRICT_OPTION.into());
    }
    words
}

/// Executes this program again, with these arguments added and without an environment: nobody who inspects the
/// process or reads its memory finds anything of the user who started it.
///
/// # Errors
/// If it cannot; the process then continues unchanged.
pub(crate) fn become_bare(further: &[OsString]) -> io::Error {
    let this = match std::env::current_exe() {
        Ok(this) => this,
        Err(error) => return error,
    };
    Command::new(this)
        .args(std::env::args_os().skip(1))
        .args(for_engine())
        .args(further)
        .env_clear()
        .exec()
}

/// Closes everything this process inherited except standard error and `kept`, and returns the former standard output.
///
/// # Errors
/// If there is no `/dev/null` to put in its place.
pub(crate) fn leave_descriptors(kept: Option<i32>) -> Result<OwnedFd> {
    udco_sys::process::close_inherited(kept);
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("cannot open /dev/null")?;
    let output = fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)
        .or_else(|_| fcntl_dupfd_cloexec(&null, 3))?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(output)
}
