//! Finds the definition of a function behind this library's own.
//!
//! `dlsym` does that, but before glibc 2.34 it lives in libdl, which a plain program like `sh` does not load, and a
//! system without libdl could not load a library that needs it. So the reference to `dlsym` is weak, and without it the symbol
//! tables are searched here: all that this library may count on is `dl_iterate_phdr`, which every libc has.

use core::arch::global_asm;
use core::ffi::{CStr, c_char, c_void};
use core::ptr::null_mut;
use libc::{c_int, dl_phdr_info, size_t};

#[cfg(target_pointer_width = "32")]
use libc::{Elf32_Phdr as Segment, Elf32_Sym as Symbol};
#[cfg(target_pointer_width = "64")]
use libc::{Elf64_Phdr as Segment, Elf64_Sym as Symbol};

/// Entries of the dynamic section: the end, the hash table, strings, symbols, and the versions of the symbols.
const END: usize = 0;
const HASH: usize = 0x6fff_fef5;
const STRINGS: usize = 5;
const SYMBOLS: usize = 6;
const VERSIONS: usize = 0x6fff_fff0;

/// The type of a function, and the bit of a version that only old programs use.
const FUNCTION: u8 = 2;
const OUTDATED: u16 = 0x8000;

type Dlsym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;

// Rust has no weak references.
#[cfg(target_pointer_width = "64")]
global_asm!(
    ".weak dlsym",
    ".pushsection .data.rel.ro.udco_preload_dlsym,\"aw\",%progbits",
    ".balign 8",
    ".globl udco_preload_dlsym",
    ".hidden udco_preload_dlsym",
    "udco_preload_dlsym: .quad dlsym",
    ".popsection",
);
#[cfg(target_pointer_width = "32")]
global_asm!(
    ".weak dlsym",
    ".pushsection .data.rel.ro.udco_preload_dlsym,\"aw\",%progbits",
    ".balign 4",
    ".globl udco_preload_dlsym",
    ".hidden udco_preload_dlsym",
    "udco_preload_dlsym: .long dlsym",
    ".popsection",
);

unsafe extern "C" {
    static udco_preload_dlsym: Option<Dlsym>;
}

/// The next definition of a function, or null.
pub(crate) fn next(name: &CStr) -> *mut c_void {
    // SAFETY: the linker has set it before anything runs here.
    match unsafe { udco_preload_dlsym } {
        // SAFETY: the name is a C string.
        Some(dlsym) => unsafe { dlsym(libc::RTLD_NEXT, name.as_ptr()) },
        None => search(name),
    }
}

/// What [`visit`] looks for.
struct Search<'a> {
    name: &'a CStr,
    /// The objects so far include this library.
    is_behind: bool,
    found: *mut c_void,
}

/// Searches all objects behind this library, in the order in which they were loaded: libc comes before any plugin.
fn search(name: &CStr) -> *mut c_void {
    let mut search = Search {
        name,
        is_behind: false,
        found: null_mut(),
    };
    // SAFETY: `visit` gets the search, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    search.found
}

/// # Safety
/// `data` is a [`Search`].
unsafe extern "C" fn visit(info: *mut dl_phdr_info, _: size_t, data: *mut c_void) -> c_int {
    // SAFETY: the linker passes a description of an object.
    let info = unsafe { &*info };
    // SAFETY: as the caller promised.
    let search = unsafe { &mut *data.cast::<Search<'_>>() };
    let base = info.dlpi_addr as usize;
    // SAFETY: pointer and length describe the object's program headers.
    let segments = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    if search.is_behind {
        // SAFETY: the segments are those of the object at `base`, which is loaded.
        search.found = unsafe { define(base, segments, search.name) };
        return (!search.found.is_null()).into();
    }
    let here = visit as *const () as usize;
    search.is_behind = segments.iter().any(|segment| {
        let start = base.wrapping_add(segment.p_vaddr as usize);
        segment.p_type == libc::PT_LOAD && (start..start + segment.p_memsz as usize).contains(&here)
    });
    0
}

/// Where an object defines this function; null if it does not.
///
/// # Safety
/// `segments` are those of an object that is loaded at `base`.
unsafe fn define(base: usize, segments: &[Segment], name: &CStr) -> *mut c_void {
    let mut dynamic = segments.iter().filter(|it| it.p_type == libc::PT_DYNAMIC);
    let Some(dynamic) = dynamic.next() else {
        return null_mut();
    };
    let mut entry = base.wrapping_add(dynamic.p_vaddr as usize) as *const [usize; 2];
    let (mut hash, mut strings, mut symbols, mut versions) = (0, 0, 0, 0);
    loop {
        // SAFETY: the section ends with an entry of its own.
        let [tag, value] = unsafe { *entry };
        match tag {
            END => break,
            HASH => hash = value,
            STRINGS => strings = value,
            SYMBOLS => symbols = value,
            VERSIONS => versions = value,
            _ => {}
        }
        // SAFETY: this was not the last one.
        entry = unsafe { entry.add(1) };
    }
    if hash == 0 || strings == 0 || symbols == 0 {
        return null_mut();
    }
    // glibc has added the base to these, musl has not.
    let place = |at: usize| if at < base { at + base } else { at };
    // SAFETY: it is the object's hash table.
    let count = unsafe { count(place(hash)) };
    let versions = if versions == 0 {
        &[]
    } else {
        // SAFETY: there is a version for each symbol.
        unsafe { core::slice::from_raw_parts(place(versions) as *const u16, count) }
    };
    // SAFETY: the table has that many symbols.
    let symbols = unsafe { core::slice::from_raw_parts(place(symbols) as *const Symbol, count) };
    let is_wanted = |at: usize, symbol: &Symbol| {
        if symbol.st_shndx == 0 || symbol.st_info & 0xf != FUNCTION {
            return false;
        }
        let at_name = (place(strings) + symbol.st_name as usize) as *const c_char;
        // SAFETY: names are C strings in the table of strings.
        let is_named = unsafe { CStr::from_ptr(at_name) } == name;
        is_named
            && versions
                .get(at)
                .is_none_or(|version| version & OUTDATED == 0)
    };
    let mut all = symbols.iter().enumerate();
    all.find(|(at, symbol)| is_wanted(*at, symbol))
        .map_or(null_mut(), |(_, symbol)| {
            base.wrapping_add(symbol.st_value as usize) as *mut c_void
        })
}

/// The number of symbols in the hash table at an address: only the end of the last chain tells.
///
/// # Safety
/// It is a hash table of GNU's form.
unsafe fn count(table: usize) -> usize {
    // SAFETY: it begins with the number of buckets, the first symbol in it, and the words of a filter behind this.
    let [buckets, first, words, _] = unsafe { *(table as *const [u32; 4]) }.map(|it| it as usize);
    let start = table + size_of::<[u32; 4]>() + words * size_of::<usize>();
    // SAFETY: the buckets are behind the filter.
    let all = unsafe { core::slice::from_raw_parts(start as *const u32, buckets) };
    let mut last = all.iter().max().map_or(0, |last| *last as usize);
    if last < first {
        return first;
    }
    let chains = start + size_of_val(all);
    loop {
        let at = chains + (last - first) * size_of::<u32>();
        last += 1;
        // SAFETY: there is a word for each symbol in it, and the last of a chain is odd.
        if unsafe { *(at as *const u32) } & 1 == 1 {
            return last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_what_dlsym_finds() {
        for name in [
            c"socket",
            c"bind",
            c"sendmsg",
            c"recvfrom",
            c"close",
            c"open64",
            c"epoll_ctl",
            c"getaddrinfo",
            c"vsnprintf",
            c"daemon",
            c"closelog",
        ] {
            let found = search(name);
            assert!(!found.is_null(), "{name:?}");
            assert_eq!(found, next(name), "{name:?}");
        }
        assert!(search(c"no_such_function").is_null());
        assert!(next(c"no_such_function").is_null());
    }
}
