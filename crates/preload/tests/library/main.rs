//! The library as a file: what it requires of the programs that load it, and that those of another libc can.
#![allow(unsafe_code)]

#[path = "../engine/mod.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod engine;
#[path = "../skipped/mod.rs"]
mod skipped;

use engine::{Engine, acknowledgement, datagram, put};
use skipped::{has_tun, skip};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest glibc in whose programs the library loads.
const OLDEST: (u32, u32) = (2, 17);

/// The limit of its size without debug information.
const MOST_BYTES: u64 = 200 << 10;

/// A folder that is removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("udco-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The library as it is shipped.
fn library() -> PathBuf {
    let executable = std::env::current_exe().expect("a path");
    let target = executable.ancestors().nth(3).expect("target/profile/deps");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--release", "--lib", "--manifest-path"]);
    build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    build.arg("--target-dir").arg(target);
    assert!(build.status().expect("cargo").success());
    target.join("release/libudco_preload.so")
}

fn said(program: &str, words: &[&str], file: &Path) -> String {
    let output = Command::new(program).args(words).arg(file).output();
    let output = output.expect("binutils");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The symbols that the library imports: the letter of `nm`, and the name with its version.
fn taken(library: &Path) -> Vec<(String, String)> {
    let said = said("nm", &["--dynamic", "--undefined-only"], library);
    let symbol = |line: &str| {
        let (kind, name) = line.trim().split_once(' ')?;
        Some((kind.to_owned(), name.to_owned()))
    };
    said.lines().filter_map(symbol).collect()
}

/// The symbols that a library defines, with their versions.
fn defined(library: &Path) -> Vec<String> {
    let said = said("nm", &["--dynamic", "--defined-only"], library);
    let name = |line: &str| Some(line.rsplit_once(' ')?.1.to_owned());
    said.lines().filter_map(name).collect()
}

fn is_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    let version = (numbers.next().flatten(), numbers.next().flatten());
    matches!(version, (Some(major), Some(minor)) if (major, minor) <= OLDEST)
}

#[test]
fn it_needs_no_other_library_no_unwinder_and_little_room() {
    let library = library();
    let section = said("readelf", &["--dynamic", "--wide"], &library);
    assert!(!section.contains("(NEEDED)"), "{section}");
    let taken = taken(&library);
    assert!(taken.len() > 20, "{taken:?}");
    for (_, name) in &taken {
        assert!(!name.contains('@'), "{name}: bound to a version");
    }
    let own = defined(&library);
    for name in taken.iter().map(|(_, name)| name).chain(&own) {
        let is_unwinder = ["_Unwind", "personality"]
            .iter()
            .any(|it| name.contains(it));
        assert!(!is_unwinder, "{name}");
    }
    let folder = Folder::new("stripped");
    let stripped = folder.0.join("stripped.so");
    said("strip", &["-o", stripped.to_str().unwrap()], &library);
    let len = stripped.metadata().expect("a file").len();
    assert!(len < MOST_BYTES, "{len} bytes");
}

#[test]
fn glibc_has_had_all_that_it_takes_since_2_17() {
    let libc = said("cc", &[], Path::new("-print-file-name=libc.so.6"));
    let has: Vec<_> = defined(Path::new(libc.trim()));
    for (kind, name) in taken(&library()) {
        let old = has.iter().filter_map(|symbol| {
            let (found, version) = symbol.split_once("@")?;
            let version = version.trim_start_matches('@').strip_prefix("GLIBC_")?;
            (found == name && is_old(version)).then_some(())
        });
        // It also loads without a weak one.
        assert!(kind == "w" || old.count() > 0, "{name}");
    }
}

#[test]
fn musl_has_all_that_it_takes() {
    let linker = format!("/lib/ld-musl-{}.so.1", std::env::consts::ARCH);
    if !Path::new(&linker).exists() {
        return skip(&format!("no {linker}, of Debian's package musl"));
    }
    let has = defined(Path::new(&linker));
    for (kind, name) in taken(&library()) {
        assert!(kind == "w" || has.contains(&name), "{name}");
    }
}

#[test]
fn a_program_of_musl_talks_to_the_engine() {
    if !has_tun() {
        return;
    }
    let folder = Folder::new("musl");
    let program = folder.0.join("ask");
    let mut compiler = Command::new("musl-gcc");
    // Debian's musl-tools have no kernel headers: search the system's after musl's.
    compiler.args(["-idirafter", "/usr/include", "-idirafter"]);
    compiler.arg(format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH));
    compiler.arg("-o").arg(&program);
    compiler.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/library/ask.c"));
    match compiler.status() {
        Ok(status) => assert!(status.success()),
        Err(error) => {
            return skip(&format!(
                "musl-gcc, of Debian's package musl-tools: {error}"
            ));
        }
    }
    let (engine, program) = Engine::start_with("ask", Command::new(program));
    let engine = engine.welcome();
    let channel = engine.channel();
    let request = engine.begin_request(&channel);
    let asked = datagram(&request);
    assert!(asked.windows(5).any(|part| part == b"ovpn\0"), "{asked:?}");
    put(&channel, &acknowledgement(&asked));
    engine.done(&request);
    program.finish();
}
