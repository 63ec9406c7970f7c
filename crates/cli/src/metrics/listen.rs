//! Serves metrics to a few clients at a time, none of which can keep it for long.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use rustix::process::geteuid;

use super::address::Address;
use super::http;
use super::source::Source;
use crate::output::complain;
use crate::runtime_dir;

/// How many clients are served at a time; the next ones wait in the listener's queue.
const CLIENTS: usize = 4;

/// How long a client may take for its request, and for reading the answer.
const REQUEST: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(10);

/// Serves until the process is killed.
///
/// # Errors
/// If it cannot listen at the address.
pub(super) fn run(address: &Address, source: &Source) -> Result<()> {
    let refused = |error| refused(address, &error);
    match address {
        Address::Tcp(at) => {
            let listener = TcpListener::bind(at).map_err(refused)?;
            // With the port that the kernel has chosen, if it is 0.
            complain!("metrics at {}", Address::Tcp(listener.local_addr()?));
            serve_all(|| Ok(listener.accept()?.0), source);
        }
        Address::Unix(path) => {
            refuse_among_engines(path)?;
            remove_dead(path).map_err(refused)?;
            let listener = UnixListener::bind(path).map_err(refused)?;
            complain!("metrics at {address}");
            serve_all(|| Ok(listener.accept()?.0), source);
        }
    }
    Ok(())
}

/// Why it cannot listen, and what to do.
fn refused(address: &Address, error: &io::Error) -> anyhow::Error {
    let cure = match (error.kind(), address) {
        (io::ErrorKind::AddrInUse, Address::Tcp(_)) => {
            ": another program listens there, `ss -tlnp` says which: choose another port"
        }
        (io::ErrorKind::AddrInUse, Address::Unix(_)) => {
            ": something else is there: choose another path, or remove it"
        }
        (io::ErrorKind::AddrNotAvailable, _) => {
            ": give an address of this machine, or 0.0.0.0 or [::] for all of them"
        }
        (io::ErrorKind::PermissionDenied, Address::Tcp(_)) => {
            ": only root may use a port below 1024: choose a higher one"
        }
        (io::ErrorKind::PermissionDenied, Address::Unix(_)) => {
            ": choose a directory in which this user may create files"
        }
        (io::ErrorKind::NotFound, _) => ": create its directory first",
        _ => "",
    };
    let words = crate::refusal::io_words(error);
    anyhow!("cannot listen at {address}: {words}{cure}")
}

/// `udco show` takes a socket there for an engine's.
fn refuse_among_engines(path: &Path) -> Result<()> {
    if runtime_dir::is_engines(path) {
        bail!(
            "{} would be taken for an engine's socket: choose a name that does not end with .sock",
            path.display()
        );
    }
    Ok(())
}

/// Deletes the socket of a run that has ended, but no other file.
fn remove_dead(path: &Path) -> io::Result<()> {
    let is_ours = fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_socket() && found.uid() == geteuid().as_raw());
    match UnixStream::connect(path) {
        Err(error) if is_ours && error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path)
        }
        _ => Ok(()),
    }
}

/// Accepts and serves clients, for ever.
fn serve_all<S: Timed>(accept: impl Fn() -> io::Result<S> + Sync, source: &Source) {
    let serve = || {
        loop {
            match accept() {
                // What becomes of it is the client's affair.
                Ok(client) => drop(serve_one(client, source)),
                Err(error) => {
                    complain!("cannot accept a connection: {error}");
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..CLIENTS {
            // With fewer threads, fewer at a time.
            let _ = thread::Builder::new().spawn_scoped(scope, serve);
        }
        serve();
    });
}

fn serve_one(client: impl Timed, source: &Source) -> io::Result<()> {
    let mut client = Bounded {
        client,
        until: Instant::now() + REQUEST,
        answering: false,
    };
    http::serve(&mut client, |format| source.text(format))
}

/// A connection whose calls end after a while.
trait Timed: Read + Write {
    /// Limits the next call.
    fn limit(&self, left: Duration) -> io::Result<()>;
}

impl Timed for TcpStream {
    fn limit(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

impl Timed for UnixStream {
    fn limit(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

/// A client, and when its time is over: however little it sends or reads at a time.
struct Bounded<S> {
    client: S,
    until: Instant,
    answering: bool,
}

impl<S: Timed> Bounded<S> {
    fn limit(&self) -> io::Result<()> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => self.client.limit(left),
        }
    }
}

impl<S: Timed> Read for Bounded<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.limit()?;
        self.client.read(into)
    }
}

impl<S: Timed> Write for Bounded<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.answering {
            self.answering = true;
            // The engines' time is not the client's.
            self.until = Instant::now() + ANSWER;
        }
        self.limit()?;
        self.client.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.client.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("udco-metrics-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_client_whose_time_is_over_is_dropped_even_while_it_sends() {
        let (mut client, served) = UnixStream::pair().unwrap();
        client.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
        let mut served = Bounded {
            client: served,
            until: Instant::now(),
            answering: false,
        };
        let failed = http::serve(&mut served, |_| unreachable!()).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        // The answer has a time of its own.
        served.write_all(b"HTTP/1.1").unwrap();
        assert!(served.read(&mut [0; 64]).unwrap() > 0);
    }

    #[test]
    fn a_silent_client_is_dropped() {
        let (_client, served) = UnixStream::pair().unwrap();
        let mut served = Bounded {
            client: served,
            until: Instant::now() + Duration::from_millis(20),
            answering: false,
        };
        assert!(http::serve(&mut served, |_| unreachable!()).is_err());
    }

    #[test]
    fn a_client_over_tcp_is_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let source = Source::new(vec!["/nonexistent".into()], false, false);
        serve_one(listener.accept().unwrap().0, &source).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("udco_up{engine=\"/nonexistent\"} 0\n"),
            "{answer}"
        );
    }

    #[test]
    fn only_a_dead_socket_makes_room() {
        let path = path("socket");
        let listener = UnixListener::bind(&path).unwrap();
        remove_dead(&path).unwrap();
        assert!(path.exists());
        drop(listener);
        remove_dead(&path).unwrap();
        assert!(!path.exists());
        fs::write(&path, "a file").unwrap();
        remove_dead(&path).unwrap();
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_socket_among_those_of_engines_is_refused() {
        let refused = refuse_among_engines(Path::new("/run/udco/metrics.sock"));
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("does not end with .sock")
        );
        for fine in ["/run/udco/metrics", "/run/metrics.sock"] {
            assert!(refuse_among_engines(Path::new(fine)).is_ok(), "{fine}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_had_is_named_with_the_cure() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().unwrap().to_string();
        for (address, words) in [
            (taken.as_str(), "choose another port"),
            ("192.0.2.77:0", "give an address of this machine"),
            (
                "unix:/no/such/directory/socket",
                "create its directory first",
            ),
            ("unix:/etc/passwd", "choose another path, or remove it"),
        ] {
            let address: Address = address.parse().unwrap();
            let bound = match &address {
                Address::Tcp(at) => TcpListener::bind(at).map(drop),
                Address::Unix(path) => UnixListener::bind(path).map(drop),
            };
            let refused = refused(&address, &bound.unwrap_err()).to_string();
            assert!(refused.contains(words), "{refused}");
            assert!(!refused.contains("os error"), "{refused}");
        }
    }
}
