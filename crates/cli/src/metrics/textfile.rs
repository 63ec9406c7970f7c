//! A file that a collector reads at any time: it finds the old text or the new one, never a part.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::output::complain;

/// For collectors that run as another user.
const MODE: u32 = 0o644;

/// Replaces the file. Anything else of that name stays: root would replace `/dev/null`, for everybody.
///
/// # Errors
/// The file system's; then the old file stays.
pub(super) fn write(file: &Path, text: &str) -> io::Result<()> {
    let name = file.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    match fs::symlink_metadata(file) {
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => {
            return Err(io::Error::other(
                "not a regular file: without --textfile, the counters are printed",
            ));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut fresh = std::ffi::OsString::from(".");
    fresh.push(name);
    fresh.push(".new");
    let fresh = file.with_file_name(fresh);
    // Left by a run that was killed.
    if let Err(error) = fs::remove_file(&fresh)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    // Follows no link that someone else has put there.
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(MODE);
    let written = options
        .open(&fresh)
        .and_then(|mut to| to.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&fresh, file));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// Calls `write` at this interval, for ever. A disk that is full for a while is no reason to end.
///
/// # Errors
/// That of the first call.
pub(super) fn repeat(every: Duration, mut write: impl FnMut() -> Result<()>) -> Result<()> {
    write()?;
    let mut next = Instant::now();
    loop {
        next = (next + every).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
        if let Err(error) = write() {
            complain!("{error:#}");
        }
    }
}

/// A time such as `15s`, `2m` or `30`, in seconds.
pub(crate) fn interval(text: &str) -> Result<Duration> {
    let (number, factor) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    match number.parse::<u32>() {
        Ok(number @ 1..) => Ok(Duration::from_secs(u64::from(number) * factor)),
        _ => bail!("not a time: give seconds or minutes, e.g. 15s or 2m"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let directory = std::env::temp_dir().join(format!("udco-textfile-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let (file, fresh) = (
            directory.join("udco.prom"),
            directory.join(".udco.prom.new"),
        );
        let victim = directory.join("victim");
        fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, &fresh).unwrap();
        for text in ["one\n", "two\n"] {
            write(&file, text).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert!(fs::metadata(&file).unwrap().permissions().mode() & 0o400 != 0);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
        let missing = write(&directory.join("none/udco.prom"), "text").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn only_a_regular_file_is_replaced() {
        let directory = std::env::temp_dir().join(format!("udco-special-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let path = |name: &str| directory.join(name);
        let _listener = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        fs::create_dir(path("directory")).unwrap();
        fs::write(path("victim"), "mine").unwrap();
        std::os::unix::fs::symlink(path("victim"), path("link")).unwrap();
        std::os::unix::fs::symlink(path("nothing"), path("dangling")).unwrap();
        for name in ["socket", "directory", "link", "dangling"] {
            let kind = fs::symlink_metadata(path(name)).unwrap().file_type();
            let refused = write(&path(name), "text").expect_err(name).to_string();
            assert!(
                refused.contains("regular file") || refused.contains("directory"),
                "{refused}"
            );
            let after = fs::symlink_metadata(path(name)).unwrap().file_type();
            assert_eq!(after, kind, "{name}");
        }
        assert_eq!(fs::read_to_string(path("victim")).unwrap(), "mine");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 5);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn times_have_a_unit_or_are_seconds() {
        for (text, seconds) in [("15s", 15), ("2m", 120), ("30", 30)] {
            assert_eq!(
                interval(text).unwrap(),
                Duration::from_secs(seconds),
                "{text}"
            );
        }
        for bad in ["", "s", "0s", "-1", "1h", "1.5s", "99999999999s"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_failure_ends_a_repetition() {
        let failed = repeat(Duration::from_secs(1), || bail!("no such directory"));
        assert!(failed.is_err());
    }
}
