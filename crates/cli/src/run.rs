//! `udco run`: runs a program with a private engine beside it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::OFlags;
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use udco_ipc::{FD_VARIABLE, SOCKET_VARIABLE, message_id};
use udco_sys::seqpacket::Connection;

use crate::output::{caution, complain, unwritable};
use crate::preloading::{self, Identity};
use crate::{RunArguments, exit, openvpn_options, runtime_dir};

/// Name of the preload library.
const LIBRARY: &str = "libudco_preload.so";

/// Where to look for the library if it is not beside `udco`.
const LIBRARY_DIRS: [&str; 2] = ["/usr/lib/udco", "/usr/local/lib/udco"];

/// Lowest number for the program's fd: clear of the single digits that shells use.
const FIRST_FD: i32 = 50;

/// Open files that OpenVPN needs with offload: its own, and one per queue while it hands a device over.
pub(crate) const PROGRAM_FILES: u64 = 48;

/// Executes the program. Returns only on failure, the exit code.
pub(crate) fn run(arguments: &RunArguments) -> u8 {
    arguments.options.log.start();
    if let Some(option) = unknown_option(&arguments.program) {
        complain!("{option} is not an option of `udco run`: `udco run --help` lists them");
        return exit::USAGE;
    }
    let mut command = match prepare(arguments) {
        Ok(command) => command,
        Err(error) => {
            complain!("{error:#}");
            return exit::NOT_RUN;
        }
    };
    let error = command.exec();
    let program = Path::new(command.get_program());
    let shown = program.display();
    match error.kind() {
        io::ErrorKind::NotFound => match preloading::missing_interpreter(program.as_os_str()) {
            Some(missing) => {
                let missing = missing.display();
                complain!("cannot start {shown}: {missing}, which it needs, is not there");
                exit::NOT_EXECUTABLE
            }
            None => {
                complain!("cannot start {shown}: {error}");
                exit::NOT_FOUND
            }
        },
        _ => {
            complain!("cannot start {shown}: {error}");
            exit::NOT_EXECUTABLE
        }
    }
}

/// What was meant as an option. clap takes it for the program, since the program's arguments may look like options.
pub(crate) fn unknown_option(program: &[OsString]) -> Option<&str> {
    program
        .first()?
        .to_str()
        .filter(|word| word.starts_with('-'))
}

/// The command that starts the program, with an engine beside it if one can serve.
fn prepare(arguments: &RunArguments) -> Result<Command> {
    let [program, parameters @ ..] = arguments.program.as_slice() else {
        bail!("no program given");
    };
    let mut command = Command::new(program);
    command.args(parameters);
    if let Some(files) = udco_sys::process::open_files().filter(|files| *files < PROGRAM_FILES) {
        // Before OpenVPN detects an offload that would fail in the middle of a session (faults B7).
        caution!(
            message_id::OFFLOAD_UNAVAILABLE,
            "only {files} open files are allowed (LimitNOFILE=, ulimit -n), but {PROGRAM_FILES} are needed: OpenVPN uses its own data path"
        );
        return Ok(command);
    }
    let library = library()?;
    if let Some(obstacle) = preloading::obstacle(&library, &arguments.program, Identity::own()) {
        caution!(
            message_id::OFFLOAD_UNAVAILABLE,
            "{obstacle}. Until then, OpenVPN uses its own data path"
        );
    }
    command.env("LD_PRELOAD", preload(&library));
    match &arguments.engine {
        Some(path) => {
            // A relative path would refer to another file once the program changes its directory.
            let path = path.canonicalize().map_err(|error| {
                let cure = match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        "this user may not look for it: see the directories above it"
                    }
                    _ => "start it with `udco daemon --socket` and this path",
                };
                anyhow!("no engine at {}: {error}; {cure}", path.display())
            })?;
            if !runtime_dir::is_socket(&path) {
                bail!(
                    "{} is not a socket: --engine takes that of `udco daemon`",
                    path.display()
                );
            }
            command.env(SOCKET_VARIABLE, path).env_remove(FD_VARIABLE);
        }
        None => match start_engine(arguments) {
            Ok(fd) => {
                command
                    .env(FD_VARIABLE, fd.as_raw_fd().to_string())
                    .env_remove(SOCKET_VARIABLE);
                // Inherited by the program and everything it starts.
                fcntl_setfd(&fd, FdFlags::empty())?;
                std::mem::forget(fd);
            }
            Err(error) => {
                caution!(
                    message_id::OFFLOAD_UNAVAILABLE,
                    "{error:#}: OpenVPN uses its own data path"
                );
                command.env_remove("LD_PRELOAD");
            }
        },
    }
    openvpn_options::hand_on(&mut command, &arguments.program);
    Ok(command)
}

/// Starts the engine, waits until it is ready, and returns the fd through which clients request connections.
fn start_engine(arguments: &RunArguments) -> Result<OwnedFd> {
    let (ours, engines) = Connection::pair().context("cannot create a connection to an engine")?;
    let engines = engines.into_fd();
    fcntl_setfd(&engines, FdFlags::empty())?;
    let this = std::env::current_exe().context("cannot find the udco program")?;
    let mut engine = Command::new(this);
    engine.args([
        "engine",
        "--detach",
        "--fd",
        &engines.as_raw_fd().to_string(),
    ]);
    if let Some(workers) = arguments.options.workers {
        engine.args(["--workers", &workers.to_string()]);
    }
    if let Some(processors) = &arguments.options.cpu {
        engine.args(["--cpu", &processors.to_string()]);
    }
    for offload in &arguments.options.without {
        engine.args(["--without", offload.name()]);
    }
    if arguments.options.allow_key_reuse {
        engine.arg("--allow-key-reuse");
    }
    engine.args(arguments.options.log.for_engine());
    if let Some(path) = &arguments.log {
        let file = open_log(path);
        engine.stderr(file.map_err(|error| unwritable(path, error))?);
        engine.arg("--keep-output");
    }
    let mut child = engine
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(udco_sys::process::named_limit)
        .context("cannot start an engine")?;
    drop(engines);
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    child.wait()?;
    match line.trim() {
        crate::private_engine::READY => {}
        "" => bail!("the engine did not start"),
        why => bail!("{why}"),
    }
    let fd = ours.into_fd();
    let high = fcntl_dupfd_cloexec(&fd, FIRST_FD);
    Ok(high.unwrap_or(fd))
}

/// Opens the file of the engine's log. A pipe must have its reader: the start of OpenVPN does not wait for one.
fn open_log(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    File::options()
        .create(true)
        .append(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(errno) if errno == Errno::NXIO.raw_os_error() => {
                io::Error::other("nobody reads this pipe")
            }
            _ => error,
        })
}

/// The value of `LD_PRELOAD`: our library, then the existing entries.
fn preload(library: &Path) -> OsString {
    let mut value = library.as_os_str().to_owned();
    if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        value.push(":");
        value.push(others);
    }
    value
}

/// The preload library that belongs to this program.
///
/// # Errors
/// If there is none.
pub(crate) fn library() -> Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name(LIBRARY);
    let places = std::iter::once(beside.clone())
        .chain(LIBRARY_DIRS.iter().map(|dir| Path::new(dir).join(LIBRARY)));
    let found = places.into_iter().find(|path| path.is_file());
    found.with_context(|| {
        format!("{LIBRARY} is neither beside the udco program ({}) nor in {}; build it with `cargo build --release -p udco-preload`",
            beside.display(), LIBRARY_DIRS.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_waits_for_no_reader() {
        let name = format!("udco-run-log-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        crate::regular::make_fifo(&path);
        let refused = open_log(&path).unwrap_err();
        assert_eq!(refused.to_string(), "nobody reads this pipe");
        let reader = File::options().read(true).write(true).open(&path);
        assert!(open_log(&path).is_ok());
        drop(reader);
        std::fs::remove_file(&path).unwrap();
        drop(open_log(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
