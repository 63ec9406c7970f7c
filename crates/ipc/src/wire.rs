//! Fields of a message body, one after the other without padding, in host order.

use crate::{HEADER, Malformed, TooLong};

/// Writes fields, and remembers whether one did not fit.
pub(crate) struct Body<'a> {
    into: &'a mut [u8],
    at: usize,
    overrun: bool,
}

impl<'a> Body<'a> {
    pub(crate) fn new(into: &'a mut [u8]) -> Self {
        Self {
            into,
            at: 0,
            overrun: false,
        }
    }

    pub(crate) fn header(&mut self, kind: u16, seq: u32) -> &mut Self {
        self.u16(kind).u16(0).u32(seq)
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.rest(&value.to_ne_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.rest(&value.to_ne_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.rest(&value.to_ne_bytes())
    }

    pub(crate) fn i32(&mut self, value: i32) -> &mut Self {
        self.rest(&value.to_ne_bytes())
    }

    pub(crate) fn rest(&mut self, bytes: &[u8]) -> &mut Self {
        match self.into.get_mut(self.at..self.at + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.at += bytes.len();
            }
            None => self.overrun = true,
        }
        self
    }

    pub(crate) fn finish(&self) -> Result<usize, TooLong> {
        if self.overrun {
            Err(TooLong)
        } else {
            Ok(self.at)
        }
    }
}

/// Reads fields.
pub(crate) struct Fields<'a> {
    left: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Splits a message into kind, sequence number and body.
    pub(crate) fn open(message: &'a [u8]) -> Result<(u16, u32, Self), Malformed> {
        debug_assert_eq!(HEADER, 8);
        let mut fields = Self { left: message };
        let kind = fields.u16()?;
        fields.u16()?;
        let seq = fields.u32()?;
        Ok((kind, seq, fields))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.take().map(u16::from_ne_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_ne_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_ne_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.take().map(i32::from_ne_bytes)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.left)
    }

    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.left.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, left) = self.left.split_first_chunk().ok_or(Malformed)?;
        self.left = left;
        Ok(*field)
    }
}
