//! Where the lines of an engine beside a program go: to where the program's own go (faults C3).
//!
//! An engine that kept the standard error it was started with would keep whoever reads it waiting: `out=$(udco run --
//! openvpn --daemon … 2>&1)`, ssh, Ansible. So each program says where its lines go, and says it anew when it has
//! daemonized; the engine's own standard error is closed at the first such word.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustix::fs::{FileType, fstat};
use rustix::net::SendFlags;
use udco_sys::lines::{Sink, sink};

/// The longest name on syslog.
const MAX_IDENT: usize = 64;

/// Severities of syslog(3).
const LOG_ERR: u16 = 3;
const LOG_WARNING: u16 = 4;
const LOG_NOTICE: u16 = 5;

/// Where the lines of a program go.
#[derive(Debug)]
enum Output {
    File(Sink),
    /// Socket of syslog(3), facility, and `name[pid]`.
    Syslog(OwnedFd, u16, String),
}

thread_local! {
    /// That of the program whose session this thread is.
    static OWN: RefCell<Option<Arc<Output>>> = const { RefCell::new(None) };
}

/// Those of all programs, the newest last.
static ALL: Mutex<Vec<Weak<Output>>> = Mutex::new(Vec::new());

/// `/dev/null`, if lines go where the programs' go: later the engine may not open files.
static NULL: OnceLock<File> = OnceLock::new();

/// From now on lines go where the programs' own go.
///
/// # Errors
/// If there is no `/dev/null`.
pub fn follow_programs() -> io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    let _ = NULL.set(null);
    Ok(())
}

/// Writes a line to the output of the program whose session this thread is, else to that of the program which came
/// last, else to the standard error. A line that one of them does not take at the moment is lost (faults B1).
pub fn write(line: &[u8]) {
    let own = OWN.try_with(|own| own.try_borrow().ok().and_then(|own| own.clone()));
    match own.ok().flatten().or_else(newest) {
        Some(output) => output.write(line),
        None => sink().write(line),
    }
}

/// The same for a panic, which may have struck in the middle of another line of this thread.
pub fn write_unless_busy(line: &[u8]) {
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

/// Lets go of the standard error with which the engine was started, if lines follow the programs.
pub(crate) fn let_go() {
    let Some(null) = NULL.get() else {
        return;
    };
    let _ = rustix::stdio::dup2_stderr(null);
    // It may have opened what was there once more.
    if let Ok(null) = null.try_clone() {
        sink().redirect(null.into());
    }
}

/// The program whose session this thread is writes here from now on.
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
    /// `None` for what no lines are written to.
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
    fn write(&self, line: &[u8]) {
        match self {
            Self::File(file) => file.write(line),
            Self::Syslog(socket, facility, name) => {
                let priority = facility & !7 | severity(line);
                // Without a time: what reads it puts its own.
                let mut message = format!("<{priority}>{name}: ").into_bytes();
                message.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                let _ = rustix::net::send(socket, &message, flags);
            }
        }
    }
}

fn severity(line: &[u8]) -> u16 {
    match line {
        _ if line.starts_with(b"udco: error") => LOG_ERR,
        _ if line.starts_with(b"udco: warning") => LOG_WARNING,
        _ => LOG_NOTICE,
    }
}
