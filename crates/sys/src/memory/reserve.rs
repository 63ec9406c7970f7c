//! A reserve of memory for when the system gives none: a region of addresses, mapped while there are some, so that limits that
//! are lowered later do not count it. Until it is used, it costs no memory.

use std::alloc::{GlobalAlloc, Layout};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Memory that is handed out from its beginning to its end, and from the beginning again once all is given back. It takes no
/// lock, since it serves the global allocator.
#[derive(Debug)]
pub(super) struct Region {
    /// Null until [`Self::map`].
    start: AtomicPtr<u8>,
    length: u32,
    /// An [`InUse`].
    in_use: AtomicU64,
}

/// Where the rest of a region begins, and how many bytes live below. In one number, for they change together.
#[derive(Clone, Copy)]
struct InUse {
    end: u32,
    live: u32,
}

impl InUse {
    const fn of(number: u64) -> Self {
        Self {
            end: number as u32,
            live: (number >> 32) as u32,
        }
    }

    const fn number(self) -> u64 {
        (self.live as u64) << 32 | self.end as u64
    }
}

impl Region {
    pub(super) const fn new(length: u32) -> Self {
        Self {
            start: AtomicPtr::new(ptr::null_mut()),
            length,
            in_use: AtomicU64::new(0),
        }
    }

    /// Reserves the addresses, if that has not been done.
    pub(super) fn map(&self) -> io::Result<()> {
        if !self.start.load(Ordering::Acquire).is_null() {
            return Ok(());
        }
        let length = self.length as usize;
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: the kernel chooses an address at which nothing is mapped.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, access, flags) }?;
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let first = self
            .start
            .compare_exchange(ptr::null_mut(), start.cast(), order.0, order.1);
        if first.is_err() {
            // SAFETY: mapped above, with this length, and nobody else knows the address.
            let _ = unsafe { munmap(start, length) };
        }
        Ok(())
    }

    /// Whether more than `most` bytes are in use, or half of the region cannot be used again yet.
    pub(super) fn has_in_use_more_than(&self, most: u32) -> bool {
        let in_use = InUse::of(self.in_use.load(Ordering::Relaxed));
        in_use.live > most || in_use.end > self.length / 2
    }

    /// Null if too little is left. The memory is not cleared.
    fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.start.load(Ordering::Acquire);
        if start.is_null() {
            return ptr::null_mut();
        }
        let mut begin = 0;
        let taken = self.change(|in_use| {
            let unaligned = start.addr().checked_add(in_use.end as usize)?;
            begin = unaligned.checked_next_multiple_of(layout.align())? - start.addr();
            let size = u32::try_from(layout.size()).ok()?;
            let end = u32::try_from(begin).ok()?.checked_add(size)?;
            (end <= self.length).then_some(InUse {
                end,
                live: in_use.live.checked_add(size)?,
            })
        });
        match taken {
            // SAFETY: within the region.
            true => unsafe { start.add(begin) },
            false => ptr::null_mut(),
        }
    }

    /// Where in the region this memory is; `None` if it is not from here.
    fn offset(&self, memory: *mut u8) -> Option<u32> {
        let start = self.start.load(Ordering::Relaxed);
        let offset = memory.addr().checked_sub(start.addr())?;
        let offset = u32::try_from(offset).ok()?;
        (!start.is_null() && offset < self.length).then_some(offset)
    }

    /// Takes back what [`Self::alloc`] has returned.
    fn free(&self, offset: u32, size: usize) {
        self.change(|in_use| {
            let live = in_use.live.saturating_sub(size as u32);
            let is_last = offset as usize + size == in_use.end as usize;
            let end = match (live, is_last) {
                (0, _) => 0,
                // So what comes and goes does not use up a region in which something stays.
                (_, true) => offset,
                (_, false) => in_use.end,
            };
            Some(InUse { end, live })
        });
    }

    /// Whether this allocation could be made longer or shorter where it is.
    fn resize(&self, offset: u32, size: usize, new: usize) -> bool {
        let (Ok(size), Ok(new)) = (u32::try_from(size), u32::try_from(new)) else {
            return false;
        };
        self.change(|in_use| {
            let is_last = offset.checked_add(size) == Some(in_use.end);
            let end = match is_last {
                true => offset.checked_add(new).filter(|end| *end <= self.length)?,
                false if new <= size => in_use.end,
                false => return None,
            };
            let live = in_use.live.saturating_sub(size).checked_add(new)?;
            Some(InUse { end, live })
        })
    }

    /// Changes what is in use; `false` if `to` says that it cannot.
    fn change(&self, mut to: impl FnMut(InUse) -> Option<InUse>) -> bool {
        // What another thread has done with the memory comes before what is done with it next.
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let to = |number| to(InUse::of(number)).map(InUse::number);
        self.in_use.fetch_update(success, failure, to).is_ok()
    }
}

/// An allocator, and a region for when it fails.
#[derive(Debug)]
pub(super) struct Backed<A> {
    pub(super) first: A,
    pub(super) region: Region,
}

// SAFETY: memory comes from `first`, or from the region, which overlaps nothing of it; the region hands nothing out twice.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Backed<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        let memory = unsafe { self.first.alloc(layout) };
        match memory.is_null() {
            true => self.region.alloc(layout),
            false => memory,
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { self.first.alloc_zeroed(layout) };
        if !memory.is_null() {
            return memory;
        }
        let memory = self.region.alloc(layout);
        if !memory.is_null() {
            // SAFETY: it has this size. It may have been in use before.
            unsafe { memory.write_bytes(0, layout.size()) };
        }
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises a size that is possible for this alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let new = match self.region.offset(memory) {
            None => {
                // SAFETY: the caller's promises are passed on; `memory` came from `first`.
                let new = unsafe { self.first.realloc(memory, layout, size) };
                if !new.is_null() {
                    return new;
                }
                self.region.alloc(new_layout)
            }
            Some(offset) => {
                // SAFETY: as for `alloc`.
                let new = unsafe { self.first.alloc(new_layout) };
                if new.is_null() && self.region.resize(offset, layout.size(), size) {
                    return memory;
                }
                match new.is_null() {
                    true => self.region.alloc(new_layout),
                    false => new,
                }
            }
        };
        if !new.is_null() {
            // SAFETY: two allocations, each of at least this size.
            unsafe { ptr::copy_nonoverlapping(memory, new, layout.size().min(size)) };
            // SAFETY: it came from here, with this layout, and is used no more.
            unsafe { self.dealloc(memory, layout) };
        }
        new
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match self.region.offset(memory) {
            Some(offset) => self.region.free(offset, layout.size()),
            // SAFETY: `memory` came from `first`, with this layout.
            None => unsafe { self.first.dealloc(memory, layout) },
        }
    }
}

#[cfg(test)]
mod tests;
