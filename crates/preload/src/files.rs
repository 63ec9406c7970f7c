//! Files.

use crate::calls::{self, Errno, Fd};
use crate::real;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;
use libc::c_int;

// glibc had no `fstat` before 2.33, only a name of its own; the kernel's call is the same everywhere. It fills in what
// `libc` calls `stat`, or `stat64` on 32 bits.
#[cfg(target_pointer_width = "64")]
use libc::{SYS_fstat, stat};
#[cfg(target_pointer_width = "32")]
use libc::{SYS_fstat64 as SYS_fstat, stat64 as stat};

/// Device number of `/dev/net/tun`: 10, 200 (of `<linux/miscdevice.h>`).
pub(crate) const TUN_DEVICE: libc::dev_t = libc::makedev(10, 200);

/// Opens a file.
pub(crate) fn open(path: &CStr, flags: c_int) -> Result<Fd, Errno> {
    // SAFETY: the path is a C string.
    calls::checked(unsafe { real::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0) }).map(Fd::new)
}

/// A whole file; `None` if it cannot be read, or is not text.
pub(crate) fn text(path: &CStr) -> Option<String> {
    let file = open(path, libc::O_RDONLY).ok()?;
    let (mut text, mut part) = (Vec::new(), [0_u8; 4096]);
    loop {
        // SAFETY: pointer and length describe the array.
        let read = unsafe { real::read(file.raw(), part.as_mut_ptr().cast(), part.len()) };
        match calls::checked_len(read) {
            Ok(0) => return String::from_utf8(text).ok(),
            Ok(len) => text.extend_from_slice(part.get(..len)?),
            Err(libc::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// File type, and the number of a device.
pub(crate) fn kind(fd: c_int) -> Result<(libc::mode_t, libc::dev_t), Errno> {
    let found = status(fd)?;
    Ok((found.st_mode & libc::S_IFMT, found.st_rdev))
}

/// The number of the file at a path.
pub(crate) fn inode(path: &CStr) -> Result<u64, Errno> {
    let file = open(path, libc::O_RDONLY)?;
    Ok(status(file.raw())?.st_ino)
}

/// The numbers of a file system and of the file in it, whichever descriptor refers to it.
pub(crate) fn identity(fd: c_int) -> Result<(u64, u64), Errno> {
    status(fd).map(|found| (found.st_dev, found.st_ino))
}

fn status(fd: c_int) -> Result<stat, Errno> {
    // SAFETY: all zeroes is a valid stat.
    let mut found: stat = unsafe { core::mem::zeroed() };
    // SAFETY: fstat writes a stat, which outlives the call.
    let result = unsafe { libc::syscall(SYS_fstat, fd, &raw mut found) };
    calls::checked_len(result as isize).map(|_| found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_the_kernel_says_of_a_file_is_understood() {
        let path = std::env::current_exe().unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let path = std::ffi::CString::new(path.into_os_string().into_encoded_bytes()).unwrap();
        assert_eq!(inode(&path), Ok(file.metadata().unwrap().ino()));
        assert_eq!(kind(file.as_raw_fd()).unwrap().0, libc::S_IFREG);
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(
            kind(null.as_raw_fd()),
            Ok((libc::S_IFCHR, libc::makedev(1, 3)))
        );
        assert_eq!(inode(c"/no/such/file"), Err(libc::ENOENT));
    }

    #[test]
    fn a_file_is_read_to_its_end() {
        let name = std::env::temp_dir().join(format!("udco-text-{}", std::process::id()));
        let long = "a line\n".repeat(3000);
        std::fs::write(&name, &long).unwrap();
        let path = std::ffi::CString::new(name.clone().into_os_string().into_encoded_bytes());
        let found = text(&path.unwrap());
        std::fs::remove_file(name).unwrap();
        assert_eq!(found, Some(long));
        assert_eq!(text(c"/no/such/file"), None);
    }
}
