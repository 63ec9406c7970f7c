//! `udco daemon`: one engine for several programs.

use std::io;

use anyhow::{Context, Result};
use udco_engine::{Access, Engine, Listening};

use crate::{DaemonArguments, log, runtime_dir};

/// Name of the daemon's socket in the runtime directory.
pub(crate) const SOCKET: &str = "engine.sock";

/// Serves until it is killed.
pub(crate) fn run(arguments: DaemonArguments) -> Result<()> {
    log::start(arguments.options.verbose);
    let path = match arguments.socket {
        Some(path) => path,
        None => runtime_dir::make()
            .context("no place for a socket: give one with --socket PATH")?
            .join(SOCKET),
    };
    let access = Access {
        uids: arguments.allow_uid,
        gids: arguments.allow_gid,
    };
    let listening = Listening::start(&path, access).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow::anyhow!("an engine listens at {} already", path.display())
        }
        io::ErrorKind::AlreadyExists => anyhow::anyhow!(
            "{} is there already and is no socket of this user's engines, so it stays: name another place with --socket",
            path.display()
        ),
        _ => anyhow::Error::new(error).context(format!("cannot listen at {}", path.display())),
    })?;
    let _ = udco_sys::process::forbid_core_dumps();
    let engine =
        Engine::start(arguments.options.for_engine()).context("cannot start the engine")?;
    tracing::info!("listening at {}", listening.path().display());
    listening.serve(&engine).context("the socket broke")
}
