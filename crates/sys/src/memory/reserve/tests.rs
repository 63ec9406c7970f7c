use std::alloc::System;
use std::sync::atomic::AtomicBool;

use super::*;

/// The system's, until there is no more.
#[derive(Debug, Default)]
struct Ends(AtomicBool);

// SAFETY: the system's memory, or none.
unsafe impl GlobalAlloc for Ends {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.0.load(Ordering::Relaxed) {
            true => ptr::null_mut(),
            // SAFETY: passed on.
            false => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match self.0.load(Ordering::Relaxed) {
            true => ptr::null_mut(),
            // SAFETY: passed on.
            false => unsafe { System.realloc(memory, layout, size) },
        }
    }
}

const LENGTH: u32 = 64 << 10;

fn backed() -> Backed<Ends> {
    let region = Region::new(LENGTH);
    region.map().unwrap();
    Backed {
        first: Ends(AtomicBool::new(true)),
        region,
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

fn take(all: &Backed<Ends>, layout: Layout, byte: u8) -> *mut u8 {
    // SAFETY: no layout here is empty.
    let memory = unsafe { all.alloc(layout) };
    if !memory.is_null() {
        // SAFETY: it has this size.
        unsafe { memory.write_bytes(byte, layout.size()) };
    }
    memory
}

/// To so many bytes; aligned to 8.
fn resize(all: &Backed<Ends>, memory: *mut u8, old: usize, new: usize) -> *mut u8 {
    // SAFETY: taken, or resized, with the old size.
    unsafe { all.realloc(memory, layout(old, 8), new) }
}

fn holds(memory: *mut u8, bytes: usize, byte: u8) -> bool {
    // SAFETY: written by `take`, and so long.
    unsafe { std::slice::from_raw_parts(memory, bytes) }
        .iter()
        .all(|is| *is == byte)
}

fn give(all: &Backed<Ends>, memory: *mut u8, layout: Layout) {
    // SAFETY: taken with this layout.
    unsafe { all.dealloc(memory, layout) }
}

#[test]
fn nothing_is_there_before_it_is_mapped() {
    let all = Backed {
        first: Ends(AtomicBool::new(true)),
        region: Region::new(LENGTH),
    };
    assert!(take(&all, layout(1, 1), 0).is_null());
    all.region.map().unwrap();
    let start = take(&all, layout(1, 1), 0);
    all.region.map().unwrap();
    assert!(!start.is_null() && all.region.offset(start) == Some(0));
}

#[test]
fn all_of_it_is_handed_out_and_comes_back_in_any_order() {
    let (all, one) = (backed(), layout(1 << 10, 8));
    for round in 0..3 {
        let count = LENGTH as usize / one.size();
        let mut taken: Vec<_> = (0..count)
            .map(|byte| (byte as u8, take(&all, one, byte as u8)))
            .collect();
        assert!(taken.iter().all(|(_, memory)| !memory.is_null()));
        assert!(take(&all, layout(1, 1), 0).is_null());
        assert!(all.region.has_in_use_more_than(LENGTH - 1));
        match round {
            0 => {}
            1 => taken.reverse(),
            _ => taken.rotate_left(count / 2),
        }
        for (byte, memory) in taken {
            assert!(holds(memory, one.size(), byte));
            give(&all, memory, one);
        }
        assert!(!all.region.has_in_use_more_than(0));
    }
}

#[test]
fn what_comes_and_goes_does_not_use_up_what_is_left() {
    let (all, big) = (backed(), layout(LENGTH as usize / 2, 16));
    let stays = take(&all, layout(24, 8), 7);
    for _ in 0..10 {
        let memory = take(&all, big, 1);
        assert!(!memory.is_null());
        give(&all, memory, big);
    }
    assert!(holds(stays, 24, 7));
}

#[test]
fn little_that_stays_above_what_has_gone_is_little_in_use() {
    let (all, burst) = (backed(), layout(LENGTH as usize / 4, 8));
    let before = take(&all, burst, 0);
    let stays = take(&all, layout(24, 8), 7);
    give(&all, before, burst);
    assert!(!all.region.has_in_use_more_than(24));
    let more = take(&all, burst, 0);
    assert!(all.region.has_in_use_more_than(LENGTH / 4));
    // Hardly anything could be handed out any more.
    let _ = take(&all, layout(24, 8), 0);
    give(&all, more, burst);
    assert!(all.region.has_in_use_more_than(LENGTH / 4));
    assert!(holds(stays, 24, 7));
}

#[test]
fn alignment_is_kept() {
    let all = backed();
    for align in [1, 2, 8, 64, 4096, 8192] {
        let _ = take(&all, layout(1, 1), 0);
        assert_eq!(take(&all, layout(3, align), 0).addr() % align, 0);
    }
    assert!(take(&all, layout(1, 1 << 20), 0).is_null());
}

#[test]
fn memory_in_use_before_is_zeroed_if_that_is_asked() {
    let (all, one) = (backed(), layout(100, 4));
    give(&all, take(&all, one, 255), one);
    // SAFETY: not empty.
    assert!(holds(unsafe { all.alloc_zeroed(one) }, 100, 0));
}

#[test]
fn what_grows_moves_between_the_system_and_the_region() {
    let (all, one) = (backed(), layout(100, 8));
    all.first.0.store(false, Ordering::Relaxed);
    let memory = take(&all, one, 9);
    assert_eq!(all.region.offset(memory), None);
    all.first.0.store(true, Ordering::Relaxed);
    let memory = resize(&all, memory, 100, 200);
    assert_eq!(all.region.offset(memory), Some(0));
    assert_eq!(resize(&all, memory, 200, 300), memory);
    // It is not the last one any more.
    let other = take(&all, one, 1);
    let moved = resize(&all, memory, 300, 400);
    assert!(moved != memory && holds(moved, 100, 9));
    assert_eq!(resize(&all, moved, 400, 120), moved);
    give(&all, other, one);
    assert!(all.region.has_in_use_more_than(0));
    assert!(resize(&all, moved, 120, LENGTH as usize).is_null());
    all.first.0.store(false, Ordering::Relaxed);
    let memory = resize(&all, moved, 120, 500);
    assert!(all.region.offset(memory).is_none() && holds(memory, 100, 9));
    assert!(!all.region.has_in_use_more_than(0));
    give(&all, memory, layout(500, 8));
}

#[test]
fn threads_get_memory_of_their_own() {
    let all = backed();
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let all = &all;
            scope.spawn(move || {
                let mut kept = Vec::new();
                for round in 0..2_000_usize {
                    let one = layout(1 + round * 31 % 500, 1 << (round % 5));
                    let memory = take(all, one, thread);
                    if !memory.is_null() {
                        kept.push((memory, one));
                    }
                    if round % 3 == 0 || kept.len() > 8 {
                        let at = round % kept.len().max(1);
                        if at < kept.len() {
                            let (memory, one) = kept.swap_remove(at);
                            assert!(holds(memory, one.size(), thread));
                            give(all, memory, one);
                        }
                    }
                }
                for (memory, one) in kept {
                    assert!(holds(memory, one.size(), thread));
                    give(all, memory, one);
                }
            });
        }
    });
    assert!(!all.region.has_in_use_more_than(0));
}
