//! What `std` would provide: an allocator, which is libc's, and a panic handler.

use crate::lines;
use crate::text::Text;
use core::alloc::{GlobalAlloc, Layout};
use core::arch::global_asm;
use core::fmt::Write;
use core::panic::PanicInfo;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

/// The alignment of all memory from `malloc`.
const ALIGNED: usize = 2 * size_of::<usize>();

/// Whether memory has run out: the panic that follows is no bug.
static IS_OUT: AtomicBool = AtomicBool::new(false);

struct Libc;

/// Notes that there is no memory.
fn noted(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        IS_OUT.store(true, Ordering::Relaxed);
    }
    memory
}

#[global_allocator]
static MEMORY: Libc = Libc;

fn is_common(layout: &Layout) -> bool {
    layout.align() <= ALIGNED && layout.align() <= layout.size()
}

// SAFETY: libc's memory has the requested size and alignment, and is exclusive until it is freed.
unsafe impl GlobalAlloc for Libc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_common(&layout) {
            // SAFETY: any size will do.
            return noted(unsafe { libc::malloc(layout.size()) }.cast());
        }
        let mut memory = null_mut();
        let align = layout.align().max(size_of::<usize>());
        // SAFETY: there is room for the pointer, and the alignment is a power of two.
        let failed = unsafe { libc::posix_memalign(&raw mut memory, align, layout.size()) };
        if failed != 0 {
            return noted(null_mut());
        }
        memory.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_common(&layout) {
            // SAFETY: any size will do.
            return noted(unsafe { libc::calloc(layout.size(), 1) }.cast());
        }
        // SAFETY: the caller keeps to the contract.
        let memory = unsafe { self.alloc(layout) };
        if !memory.is_null() {
            // SAFETY: it has that size.
            unsafe { memory.write_bytes(0, layout.size()) };
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        // SAFETY: it is libc's.
        unsafe { libc::free(memory.cast()) };
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= ALIGNED && layout.align() <= size {
            // SAFETY: it is libc's.
            return noted(unsafe { libc::realloc(memory.cast(), size) }.cast());
        }
        // SAFETY: the caller promises a size that does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as above.
        let new = unsafe { self.alloc(wanted) };
        if !new.is_null() {
            let len = layout.size().min(size);
            // SAFETY: both are at least that long, and the new one is exclusive.
            unsafe { new.copy_from_nonoverlapping(memory, len) };
            // SAFETY: it is libc's.
            unsafe { self.dealloc(memory, layout) };
        }
        new
    }
}

// The compiled `core` and `alloc` name these for unwinding, which never begins here. They are hidden, so that no other
// library takes them for the unwinder's.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
macro_rules! trap {
    () => {
        ".byte 0x0f, 0x0b"
    };
}
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
macro_rules! trap {
    () => {
        ".long 0"
    };
}
global_asm!(
    ".pushsection .text.udco_preload_unwind,\"ax\",%progbits",
    ".balign 4",
    ".globl rust_eh_personality",
    ".hidden rust_eh_personality",
    ".globl _Unwind_Resume",
    ".hidden _Unwind_Resume",
    "rust_eh_personality:",
    "_Unwind_Resume:",
    trap!(),
    ".popsection",
);

/// Why the program ends if it is not for a bug.
const OUT_OF_MEMORY: &str =
    "this program has no memory left, so it ends: raise its LimitAS= or LimitDATA= (ulimit -v, -d)";

/// A bug: the program must not continue as if its channels were the kernel's sockets, and nothing here can unwind.
#[panic_handler]
fn panicked(panic: &PanicInfo<'_>) -> ! {
    static IS_REPORTED: AtomicBool = AtomicBool::new(false);
    // Only once, even if the report panics, too.
    if !IS_REPORTED.swap(true, Ordering::Relaxed) {
        // Memory may have run out.
        let mut text = Text::<512>::new();
        let _ = match IS_OUT.load(Ordering::Relaxed) {
            true => writeln!(text, "udco: {OUT_OF_MEMORY}"),
            false => writeln!(text, "udco: a bug in the preload library: {panic}"),
        };
        lines::report(lines::write);
        lines::write(text.written());
    }
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}
