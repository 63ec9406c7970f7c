//! Programs whose standard error takes no more lines, and then takes them again.

use crate::calls::*;
use libc::*;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of a page: a file on a tmpfs has room up to the end of its last one, even if the disk is full.
const PAGE: usize = 4096;

/// What a daemon says whose checks have passed: its exit status is lost.
pub(crate) const WELL: &str = "all is well\n";

/// Runs the program of that name.
pub(crate) fn run(name: &str) {
    // Standard error is what is tested.
    std::panic::set_hook(Box::new(|panic| {
        let _ = writeln!(std::io::stdout(), "{panic}");
    }));
    let line = Lines::new();
    match name {
        "full-disk" => full_disk(&line),
        "next-file" => next_file(&line),
        "own-line" => own_line(&line),
        "closed" => closed(&line),
        "other-file" => other_file(&line),
        "full-pipe" => full_pipe(&line),
        "full-socket" => full_socket(&line),
        "closed-pipe" => closed_pipe(&line),
        "fork" => forks(&line),
        "daemon" => daemon(&line),
        other => panic!("no program {other}"),
    }
}

/// Makes the library write lines.
struct Lines(c_int);

impl Lines {
    /// Once the engine has died, the library says of each link that is to be deleted that it stays.
    fn new() -> Self {
        let channel = generic(SOCK_CLOEXEC);
        assert!(is_readable(channel, 10_000), "the engine lives");
        Self(route_socket())
    }

    fn cause(&self) {
        let body = [&[0; 4][..], &987_654_i32.to_ne_bytes(), &[0; 8]].concat();
        send_all(self.0, &netlink(RTM_DELLINK, 1, 5, &body));
        let (answer, _) = receive_datagram(self.0, 0).unwrap();
        assert_eq!(error_of(&answer), 0);
    }
}

/// A line that was written.
fn is_whole(line: &str) -> bool {
    line.starts_with("udco: the engine died: ") && line.ends_with("(`ip link del`)")
}

fn lost(lines: u32) -> String {
    let (word, them) = if lines == 1 {
        ("line", "it")
    } else {
        ("lines", "them")
    };
    format!("udco: {lines} {word} lost: nobody read {them}, or the disk was full")
}

/// Asserts that a text is the number of lost lines and then a whole one.
fn assert_reported(text: &str, lines: u32) {
    let all: Vec<_> = text.lines().collect();
    assert!(
        matches!(all[..], [report, line] if report == lost(lines) && is_whole(line)),
        "{text:?}"
    );
}

/// A disk of four pages, in a mount namespace of its own.
struct Disk(PathBuf);

impl Disk {
    fn new() -> Self {
        let at = std::env::temp_dir().join(format!("udco-disk-{}", std::process::id()));
        std::fs::create_dir_all(&at).unwrap();
        let path = CString::new(at.to_str().unwrap()).unwrap();
        let (kind, options) = (c"tmpfs".as_ptr(), c"size=16384".as_ptr().cast());
        // SAFETY: C strings.
        let mounted = unsafe { mount(kind, path.as_ptr(), kind, 0, options) };
        assert_eq!(mounted, 0, "{}", errno());
        Self(at)
    }

    /// A log that has only this much room, and is now standard error.
    fn log(&self, name: &str, room: usize) -> PathBuf {
        let path = self.0.join(name);
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        file.write_all(&vec![b'.'; PAGE - 1 - room]).unwrap();
        file.write_all(b"\n").unwrap();
        become_standard_error(&file);
        path
    }

    fn fill(&self) {
        let mut file = File::create(self.0.join("fill")).unwrap();
        while file.write_all(&[0; PAGE]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("fill")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let path = CString::new(self.0.to_str().unwrap()).unwrap();
        // SAFETY: a C string.
        unsafe { umount2(path.as_ptr(), MNT_DETACH) };
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn become_standard_error(file: &impl AsRawFd) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { dup2(file.as_raw_fd(), 2) }, 2);
}

/// What stands behind the first line of a log.
fn rest_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap();
    text.split_once('\n').unwrap().1.to_owned()
}

fn full_disk(line: &Lines) {
    let disk = Disk::new();
    let log = disk.log("log", 100);
    disk.fill();
    line.cause();
    line.cause();
    let text = rest_of(&log);
    assert_eq!(text.len(), 100, "{text}");
    disk.make_room();
    line.cause();
    line.cause();
    let text = rest_of(&log);
    let all: Vec<_> = text.lines().collect();
    assert_eq!((all.len(), all[0].len()), (4, 100), "{text}");
    assert_eq!(all[1], lost(2));
    assert!(is_whole(all[2]) && is_whole(all[3]), "{text}");
}

fn next_file(line: &Lines) {
    let disk = Disk::new();
    disk.log("log", 100);
    disk.fill();
    line.cause();
    line.cause();
    line.cause();
    disk.make_room();
    let log = disk.log("next", 0);
    line.cause();
    assert_reported(&rest_of(&log), 3);
}

fn own_line(line: &Lines) {
    let disk = Disk::new();
    let log = disk.log("log", 0);
    disk.fill();
    line.cause();
    format_line();
    disk.make_room();
    // It tries once a second.
    let deadline = Instant::now() + Duration::from_secs(10);
    while rest_of(&log).is_empty() {
        assert!(Instant::now() < deadline, "it never says so");
        format_line();
    }
    format_line();
    assert_eq!(rest_of(&log), lost(1) + "\n");
}

/// A file of the program's that gets the number of standard error, which is closed.
fn open_status() -> File {
    close_fd(2);
    // SAFETY: a C string.
    let number = unsafe { memfd_create(c"status".as_ptr(), MFD_CLOEXEC) };
    assert_eq!(number, 2, "the lowest number");
    // SAFETY: no pointers.
    let other = unsafe { fcntl(number, F_DUPFD_CLOEXEC, 3) };
    assert!(other > 2);
    // SAFETY: an open file that nobody else has.
    unsafe { File::from_raw_fd(other) }
}

fn closed(line: &Lines) {
    close_fd(2);
    line.cause();
    let status = open_status();
    format_line();
    assert_eq!(status.metadata().unwrap().len(), 0);
    let disk = Disk::new();
    let log = disk.log("log", 0);
    line.cause();
    let text = rest_of(&log);
    assert!(is_whole(text.trim_end()), "{text}");
}

fn other_file(line: &Lines) {
    let disk = Disk::new();
    disk.log("log", 0);
    disk.fill();
    line.cause();
    line.cause();
    let status = open_status();
    format_line();
    assert_eq!(status.metadata().unwrap().len(), 0);
    disk.make_room();
    let log = disk.log("next", 0);
    line.cause();
    assert_reported(&rest_of(&log), 2);
}

/// A pipe or socket that is full, from the end that is written to, and what made it full.
fn fill(end: &OwnedFd) -> usize {
    set_flags(end, O_NONBLOCK);
    let mut file = File::from(end.try_clone().unwrap());
    let mut written = 0;
    // In ever smaller pieces, so that really nothing fits.
    for size in [PAGE, 64, 1] {
        while let Ok(some) = file.write(&vec![b'.'; size]) {
            written += some;
        }
    }
    set_flags(end, 0);
    written
}

fn set_flags(end: &OwnedFd, flags: c_int) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { fcntl(end.as_raw_fd(), F_SETFL, flags) }, 0);
}

/// The two ends.
fn pipe() -> (File, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (File::from(OwnedFd::from(reader)), writer.into())
}

/// Loses two lines, empties the pipe or socket, and reads what comes then.
fn unread(line: &Lines, mut reader: File, writer: &OwnedFd) {
    become_standard_error(writer);
    let mut filling = vec![0; fill(writer)];
    line.cause();
    line.cause();
    reader.read_exact(&mut filling).unwrap();
    line.cause();
    let mut said = vec![0; PAGE];
    let len = reader.read(&mut said).unwrap();
    let mut text = String::from_utf8_lossy(&said[..len]).into_owned();
    if text.lines().count() < 2 {
        let len = reader.read(&mut said).unwrap();
        text.push_str(&String::from_utf8_lossy(&said[..len]));
    }
    assert_reported(&text, 2);
}

fn full_pipe(line: &Lines) {
    let (reader, writer) = pipe();
    unread(line, reader, &writer);
}

fn full_socket(line: &Lines) {
    let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    unread(line, File::from(OwnedFd::from(reader)), &writer.into());
}

fn closed_pipe(line: &Lines) {
    // A Rust program ignores it from its start.
    // SAFETY: the default needs no handler.
    unsafe { signal(SIGPIPE, SIG_DFL) };
    let (reader, writer) = pipe();
    become_standard_error(&writer);
    drop(reader);
    line.cause();
    let disk = Disk::new();
    let log = disk.log("log", 0);
    line.cause();
    assert_reported(&rest_of(&log), 1);
}

fn forks(line: &Lines) {
    let disk = Disk::new();
    let log = disk.log("log", 0);
    disk.fill();
    line.cause();
    line.cause();
    in_child(|| {
        line.cause();
        disk.make_room();
        line.cause();
        assert_reported(&rest_of(&log), 1);
    });
    line.cause();
    let text = rest_of(&log);
    let all: Vec<_> = text.lines().collect();
    assert_eq!((all.len(), all[2]), (4, &*lost(2)), "{text}");
}

fn daemon(line: &Lines) {
    let disk = Disk::new();
    let log = disk.log("log", 0);
    disk.fill();
    line.cause();
    // SAFETY: no pointers; this program has the one thread that matters.
    assert_eq!(unsafe { libc::daemon(1, 1) }, 0);
    disk.make_room();
    line.cause();
    assert_reported(&rest_of(&log), 1);
    drop(disk);
    // SAFETY: pointer and length describe the text.
    unsafe { write(1, WELL.as_ptr().cast(), WELL.len()) };
    // SAFETY: never returns.
    unsafe { _exit(0) };
}

/// Formats a line as a program does for its log: by `vsnprintf`, with a format without arguments.
fn format_line() {
    unsafe extern "C" {
        fn vsnprintf(
            into: *mut c_char,
            room: size_t,
            format: *const c_char,
            list: *mut c_void,
        ) -> c_int;
    }
    let (mut line, mut list) = ([0; 64], [0_u64; 8]);
    let (into, list) = (line.as_mut_ptr(), list.as_mut_ptr().cast());
    // SAFETY: pointer and length describe the room, and the format reads nothing from the list.
    let len = unsafe { vsnprintf(into, line.len(), c"a line".as_ptr(), list) };
    assert_eq!(len, 6);
}
