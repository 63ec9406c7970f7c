//! The file of a listening socket: who owns it, and who may delete it.
//!
//! `connect` refuses a regular file just as it refuses a socket whose process has died, so the refusal alone does not
//! tell the two apart (faults D5).

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::seqpacket::Connection;

/// A socket file that this process has made.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// The file that this process has just made at `path`.
    ///
    /// # Errors
    ///
    /// If it no longer exists, or is not a socket and so cannot be what this process made.
    pub fn made_at(path: &Path) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(path)?;
        if !found.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a socket, so it is left alone",
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            identity: (found.dev(), found.ino()),
        })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Deletes it, unless another file has taken its place.
    pub fn remove(&self) {
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Deletes the socket file at `path` if a process of this user made it and has died. Returns whether the path is free
/// now: a file of another kind or of another user stays, and so does a symbolic link.
///
/// # Errors
///
/// The file system's.
pub fn remove_dead(path: &Path) -> io::Result<bool> {
    match remove_if_dead(path) {
        // Another process removed the dead one first.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        result => result,
    }
}

fn remove_if_dead(path: &Path) -> io::Result<bool> {
    let found = std::fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() || found.uid() != geteuid().as_raw() {
        return Ok(false);
    }
    match Connection::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
        _ => return Ok(false),
    }
    std::fs::remove_file(path)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seqpacket::Listener;

    /// A directory that is deleted when dropped.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("udco-socket-file-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_a_dead_socket_is_deleted() {
        let directory = Directory::new("dead");
        let path = directory.0.join("one.sock");
        assert!(remove_dead(&path).unwrap(), "nothing is there");

        let listener = Listener::listen(&path, 0o600).unwrap();
        assert!(!remove_dead(&path).unwrap());
        drop(listener);
        assert!(remove_dead(&path).unwrap());
        assert!(!path.exists());

        std::fs::write(&path, "precious").unwrap();
        assert!(!remove_dead(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

        let link = directory.0.join("link.sock");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(!remove_dead(&link).unwrap());
        assert!(link.is_symlink());
    }

    #[test]
    fn only_a_socket_is_taken_for_one() {
        let directory = Directory::new("kind");
        let path = directory.0.join("one.sock");
        std::fs::write(&path, "precious").unwrap();
        let link = directory.0.join("link.sock");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for other in [&path, &link, &directory.0] {
            let refused = SocketFile::made_at(other).unwrap_err();
            assert!(refused.to_string().contains("not a socket"), "{refused}");
        }
    }

    #[test]
    fn a_file_in_its_place_is_left_alone() {
        let directory = Directory::new("place");
        let path = directory.0.join("one.sock");
        let first = Listener::listen(&path, 0o600).unwrap();
        let file = SocketFile::made_at(&path).unwrap();
        std::fs::rename(&path, directory.0.join("kept.sock")).unwrap();
        let second = Listener::listen(&path, 0o600).unwrap();
        file.remove();
        assert!(path.exists());
        SocketFile::made_at(&path).unwrap().remove();
        assert!(!path.exists());
        drop((first, second));
    }
}
