//! Tells the service manager that started a daemon when it serves and when it ends (`Type=notify`, sd_notify(3)).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use anyhow::{Context, Result};

/// The variable with the manager's socket.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// The option that passes it to a daemon, which has no environment.
const OPTION: &str = "--notify-socket";

/// Longest wait for a manager that does not read: it must not keep a daemon from serving.
const PATIENCE: Duration = Duration::from_secs(5);

/// The service manager; nobody, if the daemon was started by hand.
pub(crate) struct Manager(Option<UnixDatagram>);

/// Arguments that hand the manager's socket to a daemon.
pub(crate) fn for_daemon() -> Vec<OsString> {
    arguments(std::env::var_os(VARIABLE))
}

/// Set to nothing, the variable is as good as not set.
fn arguments(socket: Option<OsString>) -> Vec<OsString> {
    let socket = socket.filter(|socket| !socket.is_empty());
    socket.map_or_else(Vec::new, |socket| vec![OPTION.into(), socket])
}

impl Manager {
    /// Connects to the manager's socket: a path, or `@` and a name in the abstract namespace. Call it before the
    /// confinement, which forbids this.
    ///
    /// # Errors
    /// If the socket is no such thing, or nobody receives there.
    pub(crate) fn at(socket: Option<&OsStr>) -> Result<Self> {
        let Some(name) = socket else {
            return Ok(Self(None));
        };
        let connected = connect(name.as_bytes());
        let connected = connected.with_context(|| {
            format!(
                "cannot reach the service manager at {VARIABLE}={}",
                name.display()
            )
        })?;
        Ok(Self(Some(connected)))
    }

    /// Reports that clients are served from now on.
    pub(crate) fn ready(&self) {
        self.send("READY=1");
    }

    /// Reports an orderly end.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, state: &str) {
        let sent = self.0.as_ref().map(|socket| socket.send(state.as_bytes()));
        if let Some(Err(error)) = sent {
            tracing::warn!("the service manager does not learn {state}: {error}");
        }
    }
}

fn connect(name: &[u8]) -> io::Result<UnixDatagram> {
    let address = match name.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the manager receives from a daemon with this socket.
    fn notices(manager: &UnixDatagram, socket: &str) -> Vec<String> {
        let daemon = Manager::at(Some(OsStr::new(socket))).unwrap();
        daemon.ready();
        daemon.stopping();
        let receive = |_| {
            let mut room = [0; 64];
            let len = manager.recv(&mut room).unwrap();
            String::from_utf8_lossy(&room[..len]).into_owned()
        };
        (0..2).map(receive).collect()
    }

    #[test]
    fn an_empty_variable_names_no_manager() {
        assert!(arguments(None).is_empty());
        assert!(arguments(Some("".into())).is_empty());
        let given: [OsString; 2] = [OPTION.into(), "@a".into()];
        assert_eq!(arguments(Some("@a".into())), given);
    }

    #[test]
    fn a_manager_hears_of_start_and_end_at_both_kinds_of_sockets() {
        let name = format!("udco-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let expected = ["READY=1", "STOPPING=1"];
        assert_eq!(notices(&manager, &format!("@{name}")), expected);

        let path = std::env::temp_dir().join(&name);
        let manager = UnixDatagram::bind(&path).unwrap();
        assert_eq!(notices(&manager, path.to_str().unwrap()), expected);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_a_manager_nothing_is_sent_and_a_dead_one_is_named() {
        Manager::at(None).unwrap().ready();
        let error = Manager::at(Some(OsStr::new("/nowhere/notify"))).err();
        let text = format!("{:#}", error.unwrap());
        assert!(text.contains("NOTIFY_SOCKET=/nowhere/notify"), "{text}");
    }
}
