//! Builds the program and the preload library for an architecture.
//!
//! The program is static, against musl: one file runs on every release and in every container image. A static glibc would
//! load its libraries at run time all the same, to look up the user in `--user`, and only those of its own version. The
//! preload library is for both C libraries by itself, so it is built for the usual target.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::headers;
use crate::{check, step};

/// The profile in Cargo.toml for what others install.
const PROFILE: &str = "dist";

/// What stands between two flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\u{1f}";

/// An architecture.
pub(super) struct Architecture {
    /// Its name in Debian.
    pub(super) debian: &'static str,
    /// Its name in Rust's targets.
    pub(super) rust: &'static str,
    /// The C compiler for the program.
    pub(super) musl_cc: &'static str,
    /// Whether that compiler knows the headers of glibc only.
    lacks_headers: bool,
    /// The C compiler that links both files.
    cc: &'static str,
}

/// All that are packed where they can be built.
pub(super) const ARCHITECTURES: [Architecture; 2] = [
    Architecture {
        debian: "amd64",
        rust: "x86_64",
        musl_cc: "musl-gcc",
        lacks_headers: false,
        cc: "x86_64-linux-gnu-gcc",
    },
    Architecture {
        debian: "arm64",
        rust: "aarch64",
        musl_cc: "aarch64-linux-gnu-gcc",
        lacks_headers: true,
        cc: "aarch64-linux-gnu-gcc",
    },
];

/// What was built.
pub(super) struct Built {
    /// Rust's target of the program.
    pub(super) target: String,
    pub(super) udco: PathBuf,
    pub(super) library: PathBuf,
    /// Manual pages and completions.
    pub(super) documents: PathBuf,
}

impl Architecture {
    /// Why it cannot be built here.
    pub(super) fn obstacle(&self) -> Option<String> {
        for target in [self.musl(), self.gnu()] {
            let library =
                step::first_line("rustc", &["--print", "target-libdir", "--target", &target]);
            if library.is_empty() || !Path::new(&library).is_dir() {
                return Some(format!("needs `rustup target add {target}`"));
            }
        }
        for compiler in [self.musl_cc, self.cc] {
            if step::first_line(compiler, &["--version"]).is_empty() {
                return Some(format!("needs {compiler}"));
            }
        }
        None
    }

    fn musl(&self) -> String {
        format!("{}-unknown-linux-musl", self.rust)
    }

    fn gnu(&self) -> String {
        format!("{}-unknown-linux-gnu", self.rust)
    }
}

/// Builds both files and the documents.
///
/// # Errors
/// If one does not compile, or the program is not static.
pub(super) fn run(architecture: &Architecture, target: &Path) -> Result<Built> {
    let [musl, gnu] = [architecture.musl(), architecture.gnu()];
    let mut flags = maps("-ffile-prefix-map", target)?.join(" ");
    if architecture.lacks_headers {
        flags = format!("{flags} {}", headers::flags(architecture, target)?);
    }
    let mut program = cargo("udco", &musl, target)?;
    program
        .env(variable("CC_", &musl), architecture.musl_cc)
        .env(variable("CFLAGS_", &musl), flags)
        .env(linker(&musl), architecture.cc);
    step::run(&format!("build udco for {musl}"), &mut program)?;
    let mut library = cargo("udco-preload", &gnu, target)?;
    library.env(linker(&gnu), architecture.cc);
    step::run(
        &format!("build the preload library for {gnu}"),
        &mut library,
    )?;
    let built = |target_name: &str, file: &str| target.join(target_name).join(PROFILE).join(file);
    let udco = built(&musl, "udco");
    ensure!(is_static(&udco)?, "{} is not static", udco.display());
    Ok(Built {
        documents: documents(target)?,
        library: built(&gnu, "libudco_preload.so"),
        udco,
        target: musl,
    })
}

/// Manual pages and completions, which are the same for each architecture: written by a program for this machine.
fn documents(target: &Path) -> Result<PathBuf> {
    let directory = target.join("package/documents");
    crate::apt::remove(&directory)?;
    let mut write = step::cargo("run --quiet --package udco -- documents");
    step::run("manual pages and completions", write.arg(&directory))?;
    Ok(directory)
}

/// `cargo build` of one package, with nothing of this machine in what it makes.
fn cargo(package: &str, target: &str, directory: &Path) -> Result<Command> {
    let maps = maps("--remap-path-prefix", directory)?;
    let mut cargo = step::cargo("build --quiet --locked --profile");
    cargo
        .args([PROFILE, "--package", package, "--target", target])
        .arg("--target-dir")
        .arg(directory)
        // Not by the profile: the preload library's, which has settings of its own, would not inherit it.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("-Cstrip=symbols{SEPARATOR}{}", maps.join(SEPARATOR)),
        );
    Ok(cargo)
}

/// Options that replace the directories of this machine in names of source files; the last one that fits counts.
fn maps(option: &str, target: &Path) -> Result<[String; 3]> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let workspace = check::workspace()?;
    let places = [
        (home.as_path(), "/cargo"),
        (workspace.as_path(), "/udco"),
        (target, "/build"),
    ];
    Ok(places.map(|(from, to)| format!("{option}={}={to}", from.display())))
}

/// A variable of the crate `cc` for one target.
fn variable(prefix: &str, target: &str) -> String {
    format!("{prefix}{}", target.replace('-', "_"))
}

/// The variable with cargo's linker for a target.
fn linker(target: &str) -> String {
    let target = target.replace('-', "_").to_ascii_uppercase();
    format!("CARGO_TARGET_{target}_LINKER")
}

/// Whether it names no dynamic linker.
fn is_static(program: &Path) -> Result<bool> {
    let output = Command::new("readelf").arg("-lW").arg(program).output();
    let output = output.context("no readelf: install binutils")?;
    let segments = String::from_utf8_lossy(&output.stdout);
    Ok(segments.contains("LOAD") && !segments.contains("INTERP"))
}

/// The size of all files below a directory, in KiB.
///
/// # Errors
/// If one cannot be read.
pub(super) fn size(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() {
            size(&entry.path())? * 1024
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(bytes.div_ceil(1024))
}
