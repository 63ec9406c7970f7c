//! Where the engine writes log lines about a client: to the client's own output (faults C3).
//!
//! If an engine kept the standard error that it was started with, it would keep the reader waiting: `out=$(udco run --
//! openvpn --daemon … 2>&1)`, ssh, Ansible. So each client reports its output, and again after it has daemonized; at
//! the first report the engine closes its own standard error.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustix::fs::{FileType, fstat};
use rustix::net::SendFlags;
use udco_sys::lines::{Record, Sink, for_syslog, sink};

/// The longest ident for syslog.
const MAX_IDENT: usize = 64;

/// Where a client's log lines go.
#[derive(Debug)]
enum Output {
    File(Sink),
    /// Socket of syslog(3), facility, and `name[pid]`.
    Syslog(OwnedFd, u16, String),
}

thread_local! {
    /// The output of the client that this thread serves.
    static OWN: RefCell<Option<Arc<Output>>> = const { RefCell::new(None) };
}

/// The outputs of all clients, the newest last.
static ALL: Mutex<Vec<Weak<Output>>> = Mutex::new(Vec::new());

/// `/dev/null`, if lines follow the clients: later the engine may not open files.
static NULL: OnceLock<File> = OnceLock::new();

/// From now on log lines go to the clients' outputs.
///
/// # Errors
/// If there is no `/dev/null`.
pub fn follow_clients() -> io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    let _ = NULL.set(null);
    Ok(())
}

/// Writes a line to the output of the client that this thread serves, else to the newest client's, else to standard
/// error. A line that the output cannot take at once is lost (faults B1).
pub fn write(line: &Record) {
    let own = OWN.try_with(|own| own.try_borrow().ok().and_then(|own| own.clone()));
    match own.ok().flatten().or_else(newest) {
        Some(output) => output.write(line),
        None => sink().write(line),
    }
}

/// The same for a panic, which may have interrupted another line of this thread.
pub fn write_unless_busy(line: &Record) {
    let newest = match ALL.try_lock() {
        Ok(all) => all.iter().rev().find_map(Weak::upgrade),
        Err(_) => None,
    };
    match newest.as_deref() {
        Some(Output::File(file)) => file.write_unless_busy(line),
        Some(syslog) => syslog.write(line),
        None => sink().write_unless_busy(line),
    }
}

/// Closes the standard error that the engine was started with, if lines follow the clients.
pub(crate) fn let_go() {
    let Some(null) = NULL.get() else {
        return;
    };
    let _ = rustix::stdio::dup2_stderr(null);
    // The sink may hold a second descriptor of it.
    if let Ok(null) = null.try_clone() {
        sink().redirect(null.into());
    }
}

/// From now on the lines of the client that this thread serves go here.
pub(crate) fn follow(file: Option<OwnedFd>, pid: u32, facility: u16, ident: &[u8]) {
    if NULL.get().is_none() {
        return;
    }
    let output = file.and_then(|file| Output::new(file, pid, facility, ident));
    let output = output.map(Arc::new);
    if let Some(output) = &output {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(output));
    }
    OWN.with(|own| own.replace(output));
    let_go();
}

fn newest() -> Option<Arc<Output>> {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().rev().find_map(Weak::upgrade)
}

impl Output {
    /// `None` for a file that is not suited to log lines.
    fn new(file: OwnedFd, pid: u32, facility: u16, ident: &[u8]) -> Option<Self> {
        let kind = FileType::from_raw_mode(fstat(&file).ok()?.st_mode);
        let takes_lines = matches!(
            kind,
            FileType::RegularFile | FileType::CharacterDevice | FileType::Fifo | FileType::Socket
        );
        let ident = ident.get(..MAX_IDENT.min(ident.len()))?;
        let name = String::from_utf8_lossy(ident).replace(char::is_control, "?");
        takes_lines.then(|| match name.is_empty() {
            true => Self::File(Sink::to(file)),
            false => Self::Syslog(file, facility, format!("{name}[{pid}]")),
        })
    }

    /// Never waits.
    fn write(&self, line: &Record) {
        match self {
            Self::File(file) => file.write(line),
            Self::Syslog(socket, facility, name) => {
                let priority = facility & !7 | line.level.severity();
                let message = format!("<{priority}>{name}: {}", for_syslog(line));
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                let _ = rustix::net::send(socket, message.as_bytes(), flags);
            }
        }
    }
}
