//! Memory that one process writes and another one reads: a file in memory, in blocks.
//!
//! The writer never reads it, so whatever the reader does with the file cannot mislead it. The reader can neither shorten
//! it, which would end the writer at its next byte, nor, from Linux 5.1 on, write to it. The reader takes copies, since
//! the writer may change what it looks at.
#![allow(unsafe_code)]

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use rustix::io::Errno;

/// How an engine makes the file; its filter of system calls allows no other way.
pub(crate) const FLAGS: MemfdFlags = MemfdFlags::CLOEXEC.union(MemfdFlags::ALLOW_SEALING);

/// One block, and the only way to write to it.
#[derive(Debug)]
pub struct Block {
    number: usize,
    start: NonNull<u8>,
    size: usize,
    len: usize,
    _mapping: Arc<Mapping>,
}

/// The whole file, for its reader.
#[derive(Debug)]
pub struct Reader {
    mapping: Mapping,
}

/// The whole file.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    size: usize,
}

/// Makes a file of `count` blocks of `size` bytes, the first one at its beginning, and so on. Others may read the file.
///
/// # Errors
/// The kernel's error, such as `EMFILE` and `ENOMEM`.
pub fn blocks(name: &str, count: usize, size: usize) -> io::Result<(OwnedFd, Vec<Block>)> {
    let mut file = std::fs::File::from(memfd_create(name, FLAGS)?);
    // Also gives it its memory: whoever writes to a block later waits for none.
    let empty = vec![0; size];
    for _ in 0..count {
        file.write_all(&empty)?;
    }
    let file = OwnedFd::from(file);
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let mapping = Arc::new(Mapping::new(&file, count * size, access)?);
    let fixed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    match fcntl_add_seals(&file, fixed | SealFlags::FUTURE_WRITE) {
        Err(Errno::INVAL) => fcntl_add_seals(&file, fixed)?,
        sealed => sealed?,
    }
    let block = |number| Block {
        number,
        // SAFETY: within the mapping, which has `count` times `size` bytes.
        start: unsafe { mapping.start.add(number * size) },
        size,
        len: 0,
        _mapping: Arc::clone(&mapping),
    };
    Ok((file, (0..count).map(block).collect()))
}

// SAFETY: its bytes are no other block's, and the mapping stays until the last block goes.
unsafe impl Send for Block {}

// SAFETY: the pointer is only used to unmap, once.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Block {
    /// Which one it is, from 0 on.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Bytes that were written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes for which there is room.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.size - self.len
    }

    /// Begins anew.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds bytes, as far as there is room.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(self.room());
        // SAFETY: the block has more bytes, or ends there.
        let to = unsafe { self.start.add(self.len) };
        // SAFETY: `len` bytes fit there, and no reference to them is ever made: the other process may read them meanwhile,
        // and finds what it finds.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), len) };
        self.len += len;
    }
}

impl Reader {
    /// The reader of a file that [`blocks`] has made, of this size.
    ///
    /// # Errors
    /// `EINVAL` if it is another file, or shorter; the kernel's error.
    pub fn new(file: &OwnedFd, size: usize) -> io::Result<Self> {
        // Its end would end us, too.
        let is_fixed = fcntl_get_seals(file)?.contains(SealFlags::SHRINK);
        if !is_fixed || fstat(file)?.st_size < i64::try_from(size).unwrap_or(i64::MAX) {
            return Err(Errno::INVAL.into());
        }
        let mapping = Mapping::new(file, size, libc::PROT_READ)?;
        Ok(Self { mapping })
    }

    /// Copies what is in the file from `at` on; returns `false`, and copies nothing, if it ends before.
    #[must_use]
    pub fn copy(&self, at: usize, into: &mut [u8]) -> bool {
        let end = at.checked_add(into.len());
        if end.is_none_or(|end| end > self.mapping.size) {
            return false;
        }
        // SAFETY: within the mapping, or at its end.
        let from = unsafe { self.mapping.start.add(at) };
        // SAFETY: as many bytes are there, and no reference to them is ever made.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr(), into.len()) };
        true
    }
}

impl Mapping {
    fn new(file: &OwnedFd, size: usize, access: libc::c_int) -> io::Result<Self> {
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                access,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, size })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is ours, and no block is left that could use it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use rustix::fs::{FallocateFlags, fallocate};

    use super::*;

    #[test]
    fn what_is_written_to_a_block_is_at_its_place_and_never_beyond() {
        let (file, mut blocks) = blocks("test", 3, 4096).unwrap();
        let reader = Reader::new(&file, 3 * 4096).unwrap();
        let read = |at: usize, len: usize| {
            let mut bytes = vec![1; len];
            assert!(reader.copy(at, &mut bytes));
            bytes
        };
        let numbers: Vec<_> = blocks.iter().map(Block::number).collect();
        assert_eq!(numbers, [0, 1, 2]);
        let block = &mut blocks[1];
        assert!(block.is_empty());
        block.append(b"one");
        block.append(b"two");
        assert_eq!((block.len(), block.room()), (6, 4090));
        assert_eq!(read(4096, 8), b"onetwo\0\0");
        block.append(&[7; 5000]);
        assert_eq!((block.len(), block.room()), (4096, 0));
        assert_eq!(read(4095, 2), [0, b'o']);
        assert_eq!(read(2 * 4096 - 1, 2), [7, 0]);
        block.clear();
        block.append(b"x");
        assert_eq!(read(4096, 4), b"xnet");
        // A block that is kept keeps the memory.
        let mut last = blocks.pop().unwrap();
        drop(blocks);
        last.append(b"last");
        assert_eq!(read(2 * 4096, 4), b"last");
    }

    #[test]
    fn a_reader_reads_no_more_than_there_is() {
        let (file, _blocks) = blocks("test", 2, 4096).unwrap();
        let reader = Reader::new(&file, 8192).unwrap();
        let mut bytes = [0; 3];
        assert!(reader.copy(8189, &mut bytes));
        for at in [8190, 8193, usize::MAX] {
            assert!(!reader.copy(at, &mut bytes), "{at}");
        }
        assert!(reader.copy(8192, &mut []));
        assert!(Reader::new(&file, 8193).is_err());
        // One that may get shorter.
        let other = crate::process::memory_file("test").unwrap();
        other.set_len(8192).unwrap();
        assert!(Reader::new(&other.into(), 8192).is_err());
    }

    #[test]
    fn whoever_reads_the_file_cannot_change_it() {
        let (file, _blocks) = blocks("test", 1, 4096).unwrap();
        let is_read_only = fcntl_get_seals(&file)
            .unwrap()
            .contains(SealFlags::FUTURE_WRITE);
        let file = File::from(file);
        assert!(file.set_len(0).is_err());
        assert!(file.set_len(8192).is_err());
        assert!(fcntl_add_seals(&file, SealFlags::WRITE).is_err());
        // From Linux 5.1 on.
        if is_read_only {
            assert!(file.write_at(b"x", 0).is_err());
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            assert!(fallocate(&file, hole, 0, 4096).is_err());
        }
    }
}
