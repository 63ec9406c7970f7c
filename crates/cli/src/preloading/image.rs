//! What an ELF file says of how it is loaded.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::regular;

/// `PT_INTERP`: the segment of an ELF file that names the dynamic linker.
const PT_INTERP: u32 = 3;

/// Longer than any name of a dynamic linker or script interpreter.
pub(super) const LONGEST_NAME: usize = 512;

/// The relevant properties of an ELF file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// Class, byte order and machine: a library and its program must agree in them.
    pub(super) kind: (u8, u8, u16),
    /// The dynamic linker; `None` in a static program.
    pub(super) linker: Option<Vec<u8>>,
    /// The file is truncated.
    pub(super) is_cut: bool,
}

impl Image {
    /// `None` if it is not an ELF file.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        let file = regular::open(path)?;
        let len = file.metadata()?.len();
        let mut head = [0; 64];
        if file.read_at(&mut head, 0)? < head.len() || !head.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        let is_wide = head[4] == 2;
        let is_big = head[5] == 2;
        let number = |bytes: &[u8], at: usize, size: usize| {
            let bytes = bytes.get(at..at + size).unwrap_or_default();
            let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
            match is_big {
                true => bytes.iter().fold(0, join),
                false => bytes.iter().rev().fold(0, join),
            }
        };
        let kind = (head[4], head[5], number(&head, 18, 2) as u16);
        let (start, size, count) = match is_wide {
            true => (
                number(&head, 32, 8),
                number(&head, 54, 2),
                number(&head, 56, 2),
            ),
            false => (
                number(&head, 28, 4),
                number(&head, 42, 2),
                number(&head, 44, 2),
            ),
        };
        let mut image = Self {
            kind,
            linker: None,
            is_cut: false,
        };
        for index in 0..count {
            let mut segment = [0; 56];
            let read = file.read_at(&mut segment, start.saturating_add(index * size))?;
            let (offset, in_file) = match is_wide {
                true => (number(&segment, 8, 8), number(&segment, 32, 8)),
                false => (number(&segment, 4, 4), number(&segment, 16, 4)),
            };
            image.is_cut |= read < 32 || offset.saturating_add(in_file) > len;
            if number(&segment, 0, 4) == u64::from(PT_INTERP) {
                let mut name = vec![0; LONGEST_NAME.min(in_file as usize)];
                let read = file.read_at(&mut name, offset)?;
                name.truncate(read);
                image.linker = Some(name);
            }
        }
        Ok(Some(image))
    }
}
