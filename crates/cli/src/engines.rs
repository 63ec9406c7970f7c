//! Finds the running engines, and the one that has a device, unless the kernel's own driver has it.

use std::collections::HashSet;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow};
use udco_netlink::Api;
use udco_sys::socket_file;

use crate::client::{Client, Driver, Trouble, without_engine};
use crate::output::complain;
use crate::{daemon, interface, kernel, left, runtime_dir};

/// The problem, and the remedy.
pub(crate) const NO_ENGINE: &str =
    "no engine is running: start one with `udco daemon`, or name yours with --engine";

/// How many engines are asked at a time.
pub(crate) const AT_A_TIME: usize = 256;

/// An option of every command that speaks with an engine.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EngineOption {
    /// Use the engine listening on this socket [default: the one that has the device].
    #[arg(long, value_name = "PATH")]
    pub(crate) engine: Option<PathBuf>,
}

/// The socket of an engine that does not answer, and why.
pub(crate) type Silent = (PathBuf, anyhow::Error);

/// A device, and what serves it.
pub(crate) struct Found {
    pub(crate) driver: Driver,
    pub(crate) ifindex: u32,
    pub(crate) api: Api,
}

/// The device `name` of this network namespace: the kernel's if its link is of kind `ovpn`, else an engine's.
pub(crate) fn with_device(name: &str, option: &EngineOption) -> Result<Found> {
    let Some(ifindex) = interface::index(name) else {
        return Err(absent(name, false, false));
    };
    if kernel::serves(ifindex) {
        without_engine(name, option.engine.is_some())?;
        return Ok(Found {
            driver: Driver::Kernel,
            ifindex,
            api: Api::Ovpn,
        });
    }
    let (engines, mut failures) = match &option.engine {
        Some(path) => (vec![(path.clone(), Client::connect(path)?)], Vec::new()),
        None => all(),
    };
    let is_none = engines.is_empty();
    let mut unsure = None;
    for (path, mut client) in engines {
        let has = match client.find_device(name, ifindex) {
            Ok(Some(has)) => has,
            Ok(None) => continue,
            // The others may still have the device.
            Err(error) => {
                failures.push((path, error));
                continue;
            }
        };
        let found = Found {
            driver: Driver::Engine(client),
            ifindex,
            api: has.api,
        };
        if has.is_certain {
            return Ok(found);
        }
        unsure.get_or_insert(found);
    }
    if let Some(found) = unsure {
        return Ok(found);
    }
    complain(&failures);
    Err(absent(name, is_none, !failures.is_empty()))
}

/// Why no driver has the device `name`: whether no engine answers, and whether there are some that do not.
pub(crate) fn absent(name: &str, is_none: bool, any_silent: bool) -> anyhow::Error {
    if interface::index(name).is_none() {
        return anyhow!(
            "there is no interface {name} here: `udco show` lists the devices that there are"
        );
    }
    // The owner of the interface decides what can be done about it (faults G5).
    let is_left = left::devices(&HashSet::new())
        .iter()
        .any(|left| left.name == name);
    if !left::is_ours(name) {
        return anyhow!("{name} is not a udco device");
    }
    match (is_none, any_silent) {
        (true, true) => anyhow!("no engine answers"),
        // Without a peer it has no carrier, and an engine that does not answer may serve it.
        (_, false) if is_left => anyhow!(
            "no engine serves {name}: its engine or OpenVPN was killed, and no packet leaves through it; the next `udco run` \
             or `udco link add {name}` takes it over; to go on without the tunnel, in the clear, run `ip link del {name}`"
        ),
        (true, false) => anyhow!("{NO_ENGINE}"),
        _ => anyhow!("none of the engines that answer here has {name}"),
    }
}

/// Every engine that answers, and the reasons why others do not.
pub(crate) fn all() -> (Vec<(PathBuf, Client)>, Vec<Silent>) {
    each(&runtime_dir::sockets(), Ok)
}

/// Asks the engine at each socket, many at a time, so that one that does not answer delays no other. Returns the
/// answers, and the reasons why others do not answer.
pub(crate) fn each<T: Send>(
    sockets: &[PathBuf],
    ask: impl Fn(Client) -> Result<T> + Sync,
) -> (Vec<(PathBuf, T)>, Vec<Silent>) {
    let asked = |path: &PathBuf| Client::connect(path).and_then(&ask);
    let mut answers = Vec::new();
    let mut failures = Vec::new();
    for some in sockets.chunks(AT_A_TIME) {
        let results: Vec<Result<T>> = thread::scope(|scope| {
            let start = |path| thread::Builder::new().spawn_scoped(scope, move || asked(path));
            let started: Vec<_> = some.iter().map(start).collect();
            let ended = started.into_iter().zip(some).map(|(thread, path)| {
                // If there is no other thread, in this one.
                let Ok(thread) = thread else {
                    return asked(path);
                };
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))
            });
            ended.collect()
        });
        for (path, result) in some.iter().zip(results) {
            match result {
                Ok(answer) => answers.push((path.clone(), answer)),
                Err(error) if has_ended(path, &error) => {}
                Err(error) => failures.push((path.clone(), error)),
            }
        }
    }
    (answers, failures)
}

/// Reports why engines do not answer.
pub(crate) fn complain(failures: &[Silent]) {
    for failure in failures {
        complain!("{}", why(failure));
    }
}

/// Which engine does not answer, and why.
pub(crate) fn why((path, error): &Silent) -> String {
    let path = path.display().to_string();
    let why = format!("{error:#}");
    // A connection error already includes the path.
    if why.contains(&path) {
        why
    } else {
        format!("{path}: {why}")
    }
}

/// The daemon's default socket.
pub(crate) fn daemon_socket() -> Result<PathBuf> {
    let sockets = runtime_dir::sockets().into_iter();
    let mut sockets = sockets.filter(|path| path.ends_with(daemon::SOCKET));
    sockets.next().context(
        "no daemon is running: start one with `udco daemon`, or name an engine with --engine",
    )
}

/// Whether the engine behind a socket file has ended: it refuses, or the file has gone since it was listed. If the file is
/// ours, deletes it.
fn has_ended(path: &Path, error: &anyhow::Error) -> bool {
    let is_dead = error.downcast_ref() == Some(&Trouble::Absent);
    if is_dead {
        let _ = socket_file::remove_dead(path);
    }
    is_dead || path.symlink_metadata().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_has_ended_since_it_was_listed_is_not_silent() {
        let gone = std::env::temp_dir().join("udco-no-such-directory/engine.sock");
        let (answers, silent) = each(&[gone], Ok);
        assert!(answers.is_empty() && silent.is_empty(), "{silent:?}");
    }
}
