//! The private engine of a program, which `udco run` starts.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use rustix::io::{FdFlags, fcntl_setfd};
use udco_engine::{Access, Dispenser, Engine, Listening, Options, output};

use crate::{EngineArguments, confinement, log, panics, runtime_dir, sweep};

/// The line that an engine prints once it is ready to serve. If it cannot start, it prints why, and `udco run` logs it.
pub(crate) const READY: &str = "ready";

/// Serves the clients that get their connections through an inherited fd, until all have ended.
pub(crate) fn run(arguments: &EngineArguments) -> Result<()> {
    if arguments.detach {
        return detach(arguments).map_err(|error| refuse(rustix::stdio::stdout(), &error));
    }
    let output = confinement::leave_descriptors(Some(arguments.fd))?;
    arguments.options.log.start();
    let fd = udco_sys::process::inherited_fd(arguments.fd)
        .with_context(|| format!("fd {} is not open", arguments.fd))?;
    fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    let dispenser =
        Dispenser::adopt(fd).context("the inherited fd does not hand out connections")?;
    if !arguments.keep_output {
        output::follow_clients().context("/dev/null")?;
    }
    // Leave the program's process group: a Ctrl-C is for the program, whose end closes its connection and so ends the
    // engine. But stay in its session: the kernel schedules each session as a group (autogroup), and beside busy
    // threads in the program's session an engine in one of its own got no processor for seconds (faults G1).
    let _ = rustix::process::setpgid(None, None);
    udco_sys::process::ignore_termination();
    // If the limit is too low, the engine reports it.
    let _ = udco_sys::process::raise_open_files();
    let listening = arguments.directory.as_deref().and_then(listen);
    let options = &arguments.options;
    panics::end_the_process();
    let for_engine = Options {
        beside_openvpn: true,
        ..options.for_engine()
    };
    let engine = Engine::start_confined(for_engine, || options.confinement.enter())
        .context("cannot start the engine");
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => refuse(output, &error),
    };
    std::thread::scope(|scope| {
        if let Some((listening, _)) = &listening {
            let engine = &engine;
            let serve = move || listening.serve(engine);
            if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, serve) {
                tracing::warn!("`udco show` cannot find this engine: {error}");
            }
        }
        ready(output)?;
        // The listener's thread never ends; the process does.
        match dispenser.serve(&engine) {
            Ok(()) => std::process::exit(0),
            Err(error) => {
                tracing::error!("{error}");
                std::process::exit(1)
            }
        }
    })
}

/// Makes this engine visible to `udco show`; also returns the handle whose closing removes the socket file. Not every
/// user has a place for a socket, so a failure does not stop the engine.
fn listen(directory: &Path) -> Option<(Listening, ChildStdin)> {
    let path = runtime_dir::new_socket(directory);
    let listening = Listening::start(&path, Access::default()).ok()?;
    let sweeper = sweep::start(listening.path()).ok()?;
    Some((listening.without_removal(), sweeper))
}

/// Reports that clients are served from now on, and closes the pipe of the report.
fn ready(output: OwnedFd) -> io::Result<()> {
    writeln!(File::from(output), "{READY}")
}

/// Reports there why no client will be served, in one line, and ends the process: the log gets it from `udco run`, whose
/// lines the journal knows to be the unit's.
fn refuse(output: impl AsFd, error: &anyhow::Error) -> ! {
    let why = format!("{error:#}\n");
    let _ = rustix::io::write(output, why.as_bytes());
    std::process::exit(1)
}

/// Starts the engine as a separate process and exits: the program must not find a child that it did not start.
fn detach(arguments: &EngineArguments) -> Result<()> {
    arguments.options.log.start();
    let this = std::env::current_exe().context("cannot find the udco program")?;
    let rest = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--detach");
    let directory = runtime_dir::make().ok();
    let directory = directory.map_or_else(Vec::new, |directory| {
        vec!["--directory".into(), directory.into_os_string()]
    });
    let fd = udco_sys::process::inherited_fd(arguments.fd)
        .with_context(|| format!("fd {} is not open", arguments.fd))?;
    Command::new(this)
        .args(rest)
        .args(confinement::for_engine())
        .args(log::for_bare_engine())
        .args(directory)
        .env_clear()
        .stdin(Stdio::null())
        .spawn()
        .map_err(udco_sys::process::named_limit)
        .context("cannot start an engine")?;
    drop::<OwnedFd>(fd);
    Ok(())
}
