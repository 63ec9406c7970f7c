//! Opens regular files only, where configurations and other users' processes name them: a pipe blocks, or loses what is
//! read from it, and merely opening a device may have effects, such as starting a watchdog.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, open as open_as};

/// Opens a regular file for reading.
///
/// # Errors
/// `Unsupported` if it is anything else; the file system's.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Names the file without opening it, so that nobody can put another one in its place.
    let named = open_as(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    check(&named)?;
    let by_number = format!("/proc/self/fd/{}", named.as_raw_fd());
    match File::open(by_number) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => without_proc(path),
        opened => opened,
    }
}

/// Where `/proc` is not mounted.
fn without_proc(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open_as(path, flags, Mode::empty())?;
    check(&file)?;
    Ok(file.into())
}

fn check(file: &OwnedFd) -> io::Result<()> {
    match FileType::from_raw_mode(fstat(file)?.st_mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "not a regular file",
        )),
    }
}

/// Makes a pipe that no one writes to: whoever opens it waits.
#[cfg(test)]
pub(crate) fn make_fifo(path: &Path) {
    use rustix::fs::{CWD, mknodat};

    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

    use super::*;

    #[test]
    fn nothing_but_a_regular_file_is_opened() {
        let directory = std::env::temp_dir().join(format!("udco-regular-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let path = |name: &str| directory.join(name);
        make_fifo(&path("fifo"));
        let _listener = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        std::os::unix::fs::symlink("fifo", path("link")).unwrap();
        std::fs::write(path("file"), "text").unwrap();
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, path("fifo"), WatchFlags::OPEN).unwrap();
        for name in ["fifo", "socket", "directory", "link"] {
            let refused = open(&path(name)).expect_err(name);
            assert_eq!(refused.kind(), io::ErrorKind::Unsupported, "{name}");
        }
        let mut events = [0; 256];
        let opened = rustix::io::read(&watch, &mut events);
        assert_eq!(opened, Err(rustix::io::Errno::AGAIN), "it was opened");
        for found in [open(&path("file")), without_proc(&path("file"))] {
            let mut text = String::new();
            found.unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "text");
        }
        assert!(without_proc(&path("fifo")).is_err());
        let missing = open(&path("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
