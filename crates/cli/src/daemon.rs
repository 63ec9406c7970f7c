//! `udco daemon`: one engine for several clients.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use udco_engine::{Access, Engine, Listening};
use udco_ipc::message_id;
use udco_sys::signal::Termination;

use crate::{DaemonArguments, confinement, log, notify, output, panics, runtime_dir, sweep, user};

/// Name of the daemon's socket in the runtime directory.
pub(crate) const SOCKET: &str = "engine.sock";

/// Serves until SIGTERM or SIGINT (faults B11).
pub(crate) fn run(arguments: DaemonArguments) -> Result<()> {
    if !arguments.options.confinement.bare {
        arguments.options.log.start();
        let mut further = match &arguments.socket {
            Some(_) => Vec::new(),
            None => vec!["--socket".into(), default_place()?.into_os_string()],
        };
        further.extend(notify::for_daemon());
        further.extend(log::for_bare_engine());
        let error = confinement::become_bare(&further);
        bail!("cannot restart without the environment: {error}");
    }
    drop(confinement::leave_descriptors(None)?);
    arguments.options.log.start();
    let path = match arguments.socket {
        Some(path) => path,
        None => default_place()?,
    };
    let manager = notify::Manager::at(arguments.notify_socket.as_deref())?;
    // Before any thread starts that would receive the signals.
    udco_sys::process::ignore_hangup();
    // A TCP peer takes two open files.
    let _ = udco_sys::process::raise_open_files();
    let termination = Termination::catch().context("cannot wait for signals")?;
    let user = arguments.user.as_deref();
    let user = user.map(|user| user::find(user, arguments.group.as_deref()));
    let user = user.transpose()?;
    let access = Access {
        uids: arguments.allow_uid,
        gids: arguments.allow_gid,
    };
    let listening = Listening::start(&path, access).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow::anyhow!("an engine already listens at {}", path.display())
        }
        io::ErrorKind::AlreadyExists => anyhow::anyhow!(
            "{} exists and is not a socket of this user's engines, so it is left alone: choose another path with --socket",
            path.display()
        ),
        io::ErrorKind::Unsupported => anyhow::anyhow!(
            "the file system of {} has no access lists: allow just one group (--allow-gid), or choose another path with --socket",
            path.display()
        ),
        _ => output::refused("listen at", &path, error),
    })?;
    let _sweeper =
        sweep::start(&path).context("cannot start the process that removes the socket file")?;
    let listening = listening.without_removal();
    if let Some(user) = user {
        listening
            .give_to(user)
            .context("cannot make --user the owner of the socket")?;
        udco_sys::lines::sink().open();
        udco_sys::confinement::become_user(user)
            .context("cannot switch to --user: only root can")?;
    }
    let options = &arguments.options;
    panics::end_the_process();
    let engine = Engine::start_confined(options.for_engine(), || options.confinement.enter())
        .context("cannot start the engine")?;
    tracing::info!("listening at {}", listening.path().display());
    manager.ready();
    let signal = loop {
        listening.serve_until_readable(&engine, &termination);
        if let Some(signal) = termination.received() {
            break signal;
        }
    };
    manager.stopping();
    let stay = match engine.end_devices() {
        0 => "",
        1 => "; its device stays and drops all packets",
        _ => "; its devices stay and drop all packets",
    };
    tracing::info!(
        message_id = message_id::DAEMON_ENDED,
        "ended by {signal}{stay}"
    );
    // Skip the destructors: ending sessions in order would delete the devices, and packets would leave by other
    // routes.
    std::process::exit(0)
}

fn default_place() -> Result<PathBuf> {
    let directory = runtime_dir::make();
    let directory = directory
        .map_err(|why| anyhow!("no place for a socket: {why}; choose one with --socket PATH"))?;
    Ok(directory.join(SOCKET))
}
