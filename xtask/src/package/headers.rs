//! The headers of musl for another architecture, which Debian's cross compilers lack.

use std::path::Path;

use anyhow::{Result, ensure};

use super::build::Architecture;
use crate::apt::{self, Apt};
use crate::step;

/// The release that they are taken from, the oldest with a Rust that has this musl.
const RELEASE: &str = "bookworm";

/// Options by which the architecture's C compiler finds them, and glibc's no longer; fetches them once.
///
/// # Errors
/// If Debian's archive is out of reach.
pub(super) fn flags(architecture: &Architecture, target: &Path) -> Result<String> {
    let root = target
        .join("package")
        .join(format!("musl-{}", architecture.debian));
    let headers = root.join(format!("usr/include/{}-linux-musl", architecture.rust));
    if !headers.is_dir() {
        fetch(architecture, &root)?;
    }
    ensure!(headers.is_dir(), "no {}", headers.display());
    let own = step::first_line(architecture.musl_cc, &["-print-file-name=include"]);
    Ok(format!(
        "-nostdinc -isystem {} -isystem {own} -U_FORTIFY_SOURCE",
        headers.display()
    ))
}

fn fetch(architecture: &Architecture, root: &Path) -> Result<()> {
    apt::remove(root)?;
    std::fs::create_dir_all(root)?;
    let apt = Apt::new(&root.join("apt"), "musl's headers", &[RELEASE])?;
    let of = [
        format!("-oAPT::Architecture={}", architecture.debian),
        format!("-oAPT::Architectures={}", architecture.debian),
    ];
    let run = |step: &str, words: &[&str]| {
        let of = of.each_ref().map(String::as_str);
        apt.run(step, &[&of, words].concat())
    };
    run("update", &["update", "-q", "--error-on=any"])?;
    run(
        "download musl-dev",
        &["install", "-q", "-y", "--download-only", "musl-dev"],
    )?;
    apt::unpack(&apt.archives(), root)?;
    apt::remove(apt.root())
}
