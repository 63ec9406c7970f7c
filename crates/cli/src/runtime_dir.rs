//! The directories of engine sockets.

use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::getuid;

/// The system's directory, and that of a user without access to it.
fn candidates() -> Vec<PathBuf> {
    let of_user = std::env::var_os("XDG_RUNTIME_DIR").and_then(|dir| of_user(&dir));
    [Some(PathBuf::from("/run/udco")), of_user]
        .into_iter()
        .flatten()
        .collect()
}

/// Our directory inside the user's runtime directory. As XDG demands, an empty or relative path does not count:
/// anyone could have put a socket below the current directory (promises G8).
fn of_user(dir: &OsStr) -> Option<PathBuf> {
    let dir = Path::new(dir);
    dir.is_absolute().then(|| dir.join("udco"))
}

/// Our directory for sockets, created if need be.
///
/// # Errors
/// Why there is no place for it.
pub(crate) fn make() -> io::Result<PathBuf> {
    first_of(candidates())
}

fn first_of(dirs: Vec<PathBuf>) -> io::Result<PathBuf> {
    let mut failed = Vec::new();
    for dir in dirs {
        match make_own(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) => failed.push(format!("{}: {error}", dir.display())),
        }
    }
    Err(io::Error::other(failed.join("; ")))
}

/// A new socket path there for a private engine. The process id alone is not unique: engines of several pid namespaces
/// may share the directory (faults C5).
pub(crate) fn new_socket(directory: &Path) -> PathBuf {
    // A hasher has random keys.
    let random = RandomState::new().build_hasher().finish();
    let name = format!("{}-{random:016x}.sock", std::process::id());
    directory.join(name)
}

/// All existing sockets.
pub(crate) fn sockets() -> Vec<PathBuf> {
    let mut dirs = candidates();
    if getuid().is_root() {
        dirs.extend(of_users());
    }
    let mut sockets: Vec<PathBuf> = dirs
        .iter()
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "sock")
        })
        .collect();
    sockets.sort();
    sockets.dedup();
    sockets
}

/// Whether a path leads to a socket. Connecting to any other file is refused as if an engine had ended there.
pub(crate) fn is_socket(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| found.file_type().is_socket())
}

/// Whether a socket of this name would count as an engine's.
pub(crate) fn is_engines(path: &Path) -> bool {
    let is_socket = path.extension().is_some_and(|it| it == "sock");
    is_socket && candidates().iter().any(|dir| path.parent() == Some(dir))
}

/// The directories of other users' engines, which root may use as well.
fn of_users() -> impl Iterator<Item = PathBuf> {
    let users = std::fs::read_dir("/run/user").into_iter().flatten();
    users.flatten().map(|user| user.path().join("udco"))
}

fn make_own(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .mode(0o755)
        .recursive(true)
        .create(dir)?;
    let found = std::fs::symlink_metadata(dir)?;
    // The owner of a directory, or whoever set a link to it, could replace its files (promises G8).
    if !found.is_dir() {
        return Err(io::Error::other("it is not a directory"));
    }
    if found.uid() != getuid().as_raw() {
        let error = format!("it belongs to user {}", found.uid());
        return Err(io::Error::other(error));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_named_with_what_is_wrong_there() {
        let here = std::env::temp_dir().join(format!("udco-places-{}", std::process::id()));
        std::fs::create_dir(&here).unwrap();
        std::fs::write(here.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&here, here.join("link")).unwrap();
        let places = || vec![here.join("file"), here.join("link")];
        let failed = first_of(places()).unwrap_err().to_string();
        assert!(failed.contains("/file: File exists"), "{failed}");
        assert!(failed.contains("/link: it is not a directory"), "{failed}");
        let good = here.join("good");
        assert_eq!(
            first_of([places(), vec![good.clone()]].concat()).unwrap(),
            good
        );
        std::fs::remove_dir_all(&here).unwrap();
    }

    #[test]
    fn only_an_absolute_directory_of_the_user_counts() {
        let of_user = |dir: &str| of_user(OsStr::new(dir));
        assert_eq!(of_user("/run/user/0"), Some("/run/user/0/udco".into()));
        for bad in ["", ".", "run"] {
            assert_eq!(of_user(bad), None, "{bad}");
        }
    }
}
