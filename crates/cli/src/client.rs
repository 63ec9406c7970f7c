//! A connection to an engine, like the preload library's: requests and their answers. Its channels reach the kernel's
//! own driver, too.

mod channel;
mod device;
mod exchange;
mod io;
mod releases;
mod stalled;
mod wait;

pub(crate) use channel::{Channel, Driver, Event};
pub(crate) use device::TunDevice;
pub(crate) use exchange::{Offer, Supplies};
pub(crate) use io::{NO_DRIVER, is_admin, without_engine};
pub(crate) use stalled::Stalled;
pub(crate) use wait::wait;

use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use udco_ipc::client::{self, Greeted};
use udco_ipc::{COMMAND, MAX_MESSAGE, OtherVersion, ToClient, ToEngine};
use udco_netlink::Api;
use udco_sys::seqpacket::Connection;

use self::exchange::{Exchange, Failure, Line};
use crate::{interface, refusal, runtime_dir};

/// Timeout for an engine's answer.
const ANSWER: Duration = Duration::from_secs(3);

/// The longest report of an engine: that of 100,000 peers has half of that.
const LONGEST: u64 = 256 << 20;

/// Why an engine cannot serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// This user may not use it.
    #[error(
        "you may not use this engine: only root, the user who started it and users allowed by `udco daemon --allow-uid` may"
    )]
    Denied,
    /// It does not answer in time.
    #[error("the engine does not answer")]
    Silent,
    /// It is not running.
    #[error("no engine there: start it with `udco daemon --socket` and this path")]
    Absent,
    /// It has closed the connection.
    #[error("the engine has ended")]
    Ended,
    /// It runs, and has closed the connection.
    #[error("the engine has no room for this: its log says which limit is reached")]
    Full,
}

/// A device that an engine has.
pub(crate) struct HasDevice {
    pub(crate) api: Api,
    /// Whether it is certainly in this network namespace: an index and a name may occur in several.
    pub(crate) is_certain: bool,
}

/// An engine that has accepted the connection.
pub(crate) struct Client {
    line: Line,
    /// Holds the engine's last message.
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to the engine that listens at `path`.
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        // Before the connection: an engine that takes its place meanwhile is asked.
        let file = releases::File::at(path);
        let connection = Connection::connect(path).map_err(|error| {
            let why = match error.kind() {
                std::io::ErrorKind::ConnectionRefused if !runtime_dir::is_socket(path) => {
                    anyhow!("not a socket: name that of an engine")
                }
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                    Trouble::Absent.into()
                }
                std::io::ErrorKind::PermissionDenied => Trouble::Denied.into(),
                // The listener's backlog is full.
                std::io::ErrorKind::WouldBlock => Trouble::Silent.into(),
                _ => anyhow::Error::new(error).context("cannot connect"),
            };
            why.context(path.display().to_string())
        })?;
        let greeted = match releases::other(path, file) {
            Some(other) => Ok(Err(other)),
            None => Self::greet(connection),
        };
        match greeted {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(other)) => {
                releases::remember(path, file, other);
                Err(anyhow!("{other}"))
            }
            Err(error) => Err(error),
        }
        .with_context(|| path.display().to_string())
    }

    /// Greets the engine at the other end of a connection; one of another release serves nothing.
    fn greet(connection: Connection) -> Result<Result<Self, OtherVersion>> {
        let mut client = Self {
            line: Line::new(connection),
            buffer: vec![0; MAX_MESSAGE],
        };
        let mut exchange = Exchange {
            line: &mut client.line,
            supplies: Supplies::default(),
        };
        let pid = std::process::id();
        let greeted = client::greet(&mut exchange, pid, COMMAND, &mut client.buffer);
        match greeted.map_err(|Failure(error)| ungreeted(&client.line.connection, error))? {
            Greeted::Welcome => {
                client.say_where()?;
                Ok(Ok(client))
            }
            Greeted::OtherVersion(other) => Ok(Err(other)),
        }
    }

    /// Reports this process's network namespace where the kernel does not (before Linux 5.14, faults B5).
    fn say_where(&mut self) -> Result<()> {
        if interface::namespace().is_known() {
            return Ok(());
        }
        if let Some(inode) = interface::namespace_inode() {
            self.request(&ToEngine::Namespace { inode }, &[])?;
        }
        Ok(())
    }

    /// The engine's state, verbatim: a [`udco_state::EngineState`].
    pub(crate) fn state(&mut self) -> Result<String> {
        let file = udco_sys::process::memory_file("udco-show");
        let mut file = file.context("cannot create a memory file")?;
        match self.request(&ToEngine::Show, &[file.as_fd()])? {
            ToClient::Done { errno: 0, .. } => {}
            ToClient::Done { errno, .. } => bail!(refusal::of_engine(errno)),
            _ => return Err(nonsense()),
        }
        let mut text = String::new();
        file.rewind()?;
        // An engine of another user may write anything.
        let read = file.take(LONGEST).read_to_string(&mut text);
        read.map_err(|_| nonsense())?;
        if text.len() as u64 == LONGEST {
            bail!("the engine's report is too long");
        }
        Ok(text)
    }

    /// The device of this name and index in this network namespace, if the engine has it.
    pub(crate) fn find_device(&mut self, name: &str, ifindex: u32) -> Result<Option<HasDevice>> {
        let message = ToEngine::FindDevice {
            netns: interface::namespace().number(),
            ifindex,
            name: name.as_bytes(),
        };
        match self.request(&message, &[])? {
            ToClient::Device {
                is_dco_v2,
                is_certain,
                engine,
            } => Ok(Some(HasDevice {
                api: if is_dco_v2 { Api::DcoV2 } else { Api::Ovpn },
                is_certain: is_certain || Some(engine) == interface::namespace_inode(),
            })),
            ToClient::Done { .. } => Ok(None),
            _ => Err(nonsense()),
        }
    }

    /// Sends a request, with descriptors beside it, and returns the answer.
    pub(crate) fn request(
        &mut self,
        message: &ToEngine<'_>,
        fds: &[BorrowedFd<'_>],
    ) -> Result<ToClient<'_>> {
        let supplies = Supplies {
            fds,
            ..Supplies::default()
        };
        self.exchange(message, supplies)
    }

    /// Sends a request for which the engine may need something.
    pub(crate) fn exchange(
        &mut self,
        message: &ToEngine<'_>,
        supplies: Supplies<'_>,
    ) -> Result<ToClient<'_>> {
        let line = &mut self.line;
        let mut exchange = Exchange { line, supplies };
        match client::request(&mut exchange, message, &mut self.buffer) {
            Ok(answer) => Ok(answer),
            Err(Failure(error)) => Err(named(&self.line.connection, error)),
        }
    }
}

impl AsFd for Client {
    /// Readable when the engine has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.connection.as_fd()
    }
}

/// Why an engine does not greet. It reads nothing from users who may not use it, so that they see it close the connection.
fn ungreeted(connection: &Connection, error: anyhow::Error) -> anyhow::Error {
    let is_another_users = || {
        let own = rustix::process::geteuid();
        let engine = connection.peer_credentials();
        !own.is_root() && engine.is_ok_and(|engine| engine.uid != own.as_raw())
    };
    if error.downcast_ref() == Some(&Trouble::Ended) && is_another_users() {
        return Trouble::Denied.into();
    }
    let is_there = || Stalled::behind(connection).is_some_and(|process| !process.has_ended());
    if error.downcast_ref() == Some(&Trouble::Ended) && is_there() {
        return Trouble::Full.into();
    }
    named(connection, error)
}

/// An error, with the process that does not answer.
fn named(connection: &Connection, error: anyhow::Error) -> anyhow::Error {
    let is_silent = error.downcast_ref() == Some(&Trouble::Silent);
    match is_silent.then(|| Stalled::behind(connection)).flatten() {
        Some(process) => anyhow::Error::new(process).context(Trouble::Silent),
        None => error,
    }
}

fn lost(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::TimedOut => Trouble::Silent.into(),
        // Too long, or with too many descriptors.
        std::io::ErrorKind::InvalidData => nonsense(),
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => {
            Trouble::Ended.into()
        }
        _ => anyhow::Error::new(error).context("the connection to the engine is lost"),
    }
}

fn nonsense() -> anyhow::Error {
    anyhow!("unexpected reply from the engine (version mismatch?)")
}
