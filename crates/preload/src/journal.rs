//! journald, by its native protocol: a line keeps its level, and the id by which the journal's catalog explains it.

use crate::calls::{self, Errno};
use crate::environment::variable;
use crate::{files, lines};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;
use libc::c_int;

/// Where journald listens.
const SOCKET: &CStr = c"/run/systemd/journal/socket";

/// The variable by which the service manager says that standard error leads to the journal.
const STREAM: &str = "JOURNAL_STREAM";

const STANDARD_ERROR: c_int = 2;

/// Writes a line of this kind (`udco_ipc::message_id`), as [`lines::write`] does, or as an entry if standard error leads to
/// the journal.
pub(crate) fn say(id: &str, line: &str) {
    say_of(id, None, line);
}

/// The same of a line about this device, which the line names, too.
pub(crate) fn say_of(id: &str, device: Option<&str>, line: &str) {
    if !lines::are_wanted() {
        return;
    }
    let is_journal = is_standard_error();
    let write = |id, device, line: &str| {
        // Without Unix sockets, or behind a chroot, the line goes to the stream.
        (is_journal && send(&entry(id, device, line)).is_ok()) || lines::write(line)
    };
    if !(lines::report(|report| write(None, None, report)) && write(Some(id), device, line)) {
        lines::count(1);
    }
}

/// A text from the environment, for a line: it must not forge one, nor move a terminal's cursor (faults D4).
pub(crate) fn seen(text: &str) -> String {
    let as_seen = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(as_seen).collect()
}

fn is_standard_error() -> bool {
    let stream = variable(STREAM);
    stream.is_some_and(|stream| {
        files::identity(STANDARD_ERROR).is_ok_and(|(device, inode)| {
            stream.as_bytes() == format!("{device}:{inode}").as_bytes()
        })
    })
}

fn send(entry: &[u8]) -> Result<(), Errno> {
    let socket = calls::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0)?;
    calls::connect_unix(socket.raw(), SOCKET)?;
    calls::send(socket.raw(), entry, &[])
}

/// The datagram: a warning, as the lines on syslog(3) are.
fn entry(id: Option<&str>, device: Option<&str>, line: &str) -> Vec<u8> {
    let message = line.strip_prefix("udco: ").unwrap_or(line).trim_end();
    let device = device.map_or_else(String::new, |it| format!("UDCO_DEVICE={}\n", seen(it)));
    let id = id.map_or_else(String::new, |id| format!("MESSAGE_ID={id}\n"));
    let head = format!("PRIORITY=4\nSYSLOG_IDENTIFIER=udco\n{device}{id}MESSAGE\n");
    let mut entry = head.into_bytes();
    // A value after its length may have any bytes.
    entry.extend_from_slice(&(message.len() as u64).to_le_bytes());
    entry.extend_from_slice(message.as_bytes());
    entry.push(b'\n');
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_forges_no_field() {
        let entry = entry(Some("0123"), None, "udco: one\nPRIORITY=0\n");
        let expected = b"PRIORITY=4\nSYSLOG_IDENTIFIER=udco\nMESSAGE_ID=0123\nMESSAGE\n\x0e\0\0\0\0\0\0\0one\nPRIORITY=0\n";
        assert_eq!(entry, expected);
    }

    #[test]
    fn a_line_about_a_device_has_it_as_a_field() {
        let of = |device| {
            let entry = entry(Some("0123"), Some(device), "udco: tun0: one\n");
            String::from_utf8_lossy(&entry).into_owned()
        };
        assert!(of("tun0").contains("\nUDCO_DEVICE=tun0\nMESSAGE_ID=0123\n"));
        assert!(of("a\nPRIORITY=0").contains("\nUDCO_DEVICE=a?PRIORITY=0\n"));
    }
}
