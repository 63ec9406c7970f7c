//! The engine beside a program: what `udco run` starts.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use rustix::io::{FdFlags, fcntl_setfd};
use udco_engine::{Access, Engine, Listening};
use udco_sys::seqpacket::Connection;

use crate::{EngineArguments, log, runtime_dir};

/// What the engine prints when it is ready to serve.
pub(crate) const READY: &str = "ready";

/// Serves the program at the other end of an inherited fd until it is gone.
pub(crate) fn run(arguments: &EngineArguments) -> Result<()> {
    if arguments.detach {
        return detach(arguments);
    }
    log::start(arguments.options.verbose);
    let fd = udco_sys::process::inherited_fd(arguments.fd)
        .with_context(|| format!("fd {} is not open", arguments.fd))?;
    fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    let connection = Connection::adopt(fd).context("the inherited fd is no front's connection")?;
    // Not a member of the program's terminal and process group: a Ctrl-C is for the program, which tells us its end by
    // closing the connection.
    let _ = rustix::process::setsid();
    udco_sys::process::ignore_termination();
    let _ = udco_sys::process::forbid_core_dumps();
    let engine =
        Engine::start(arguments.options.for_engine()).context("cannot start the engine")?;
    let listening = listen();
    std::thread::scope(|scope| {
        if let Ok(listening) = &listening {
            let engine = &engine;
            scope.spawn(move || listening.serve(engine));
        }
        ready()?;
        let served = engine.serve(connection);
        // The listener's thread never ends; the process does, and its socket file with it.
        if let Ok(listening) = &listening {
            listening.close();
        }
        match served {
            Ok(()) => std::process::exit(0),
            Err(error) => {
                tracing::error!("{error}");
                std::process::exit(1)
            }
        }
    })
}

/// Lets `udco show` find this engine. Not everybody has a place for a socket file; that is no reason not to serve.
fn listen() -> io::Result<Listening> {
    Listening::start(&runtime_dir::new_socket()?, Access::default())
}

/// Says that fronts are served from now on, and lets go of the pipe that says it.
fn ready() -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{READY}")?;
    stdout.flush()?;
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

/// Starts the engine as a process of its own and ends: the program must not find a child that it did not start.
fn detach(arguments: &EngineArguments) -> Result<()> {
    let this = std::env::current_exe().context("cannot find the udco program")?;
    let rest = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--detach");
    let fd = udco_sys::process::inherited_fd(arguments.fd)
        .with_context(|| format!("fd {} is not open", arguments.fd))?;
    Command::new(this)
        .args(rest)
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start an engine")?;
    drop::<OwnedFd>(fd);
    Ok(())
}
