//! `cargo xtask package`: a Debian package and a tarball for each architecture that can be built here.
//!
//! The same commit, toolchain and C compiler give the same bytes: every date is the commit's, and no path of this machine
//! is in a file.

mod build;
#[cfg(test)]
mod catalog;
mod deb;
mod headers;
mod image;
mod install;
mod layout;
mod licences;
mod lint;
mod release;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use self::build::{ARCHITECTURES, Architecture};
use self::layout::Layout;
use self::release::Release;
use crate::{apt, check, packages, step};

/// What is wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Version of the package [default: the workspace's, with the commit's date and hash].
    #[arg(long)]
    version: Option<String>,
    /// Pack for this architecture only, by Debian's name.
    #[arg(long, value_name = "ARCHITECTURE", value_parser = ["amd64", "arm64"])]
    only: Option<String>,
    /// Build everything a second time, in another directory, and compare the bytes.
    #[arg(long)]
    twice: bool,
    /// Test the package: install it in a container with a booted systemd, offload tunnels, upgrade, remove and purge.
    ///
    /// Needs root, and takes a minute after the download of a Debian.
    #[arg(long)]
    test: bool,
    /// Test the container recipes: build the image with podman and docker, and run the commands of docs/containers.md.
    ///
    /// Needs root. Both engines come from a Debian below the target directory, and nothing is installed. Takes three minutes
    /// after the download of 200 MB.
    #[arg(long)]
    test_image: bool,
    /// Release of Debian for the test.
    #[arg(long, value_name = "SUITE", default_value = "bookworm")]
    suite: Vec<String>,
}

/// The files that were made for an architecture.
struct Made {
    tree: PathBuf,
    deb: PathBuf,
    tarball: PathBuf,
}

/// Builds, packs and lints; prints the files.
pub(crate) fn run(options: &Options) -> Result<()> {
    packages::ensure_to_package()?;
    let release = Release::of_this_commit(options.version.as_deref())?;
    let mut skipped = 0;
    let only = options.only.as_deref();
    let wanted = |it: &&Architecture| only.is_none_or(|only| only == it.debian);
    for architecture in ARCHITECTURES.iter().filter(wanted) {
        if let Some(why) = architecture.obstacle() {
            eprintln!("SKIPPED: {}: {why}", architecture.debian);
            skipped += 1;
            continue;
        }
        let target = check::target()?;
        let made = make(architecture, &release, &target)?;
        if options.twice {
            let again = target.join("package-again");
            apt::remove(&again)?;
            compare(&made, &make(architecture, &release, &again)?)?;
            apt::remove(&again)?;
        }
        lint::check(&made.deb)?;
        if options.test {
            skipped += test(&made, architecture, &release, &options.suite)?;
        }
        if options.test_image {
            skipped += test_image(&made, architecture)?;
        }
        println!("{}\n{}", made.deb.display(), made.tarball.display());
    }
    println!("{skipped} skipped");
    Ok(())
}

/// Fails unless both builds gave the same bytes.
fn compare(one: &Made, other: &Made) -> Result<()> {
    for (one, other) in [(&one.deb, &other.deb), (&one.tarball, &other.tarball)] {
        let is_same = fs::read(one)? == fs::read(other)?;
        ensure!(
            is_same,
            "{} and {} differ: diffoscope shows where",
            one.display(),
            other.display()
        );
        println!("{}: the same twice", one.display());
    }
    Ok(())
}

/// Why what is made for an architecture cannot be tested here.
fn obstacle_to_tests(architecture: &Architecture) -> Option<&'static str> {
    if architecture.debian != step::first_line("dpkg", &["--print-architecture"]) {
        return Some("packed for another machine");
    }
    (!rustix::process::geteuid().is_root()).then_some("needs root")
}

/// Installs, upgrades and removes; returns how many releases were skipped.
fn test(
    made: &Made,
    architecture: &Architecture,
    release: &Release,
    suites: &[String],
) -> Result<u32> {
    if let Some(why) = obstacle_to_tests(architecture) {
        eprintln!("SKIPPED: test of {}: {why}", architecture.debian);
        return Ok(suites.len() as u32);
    }
    let target = check::target()?;
    let newer = made.deb.with_extension("newer.deb");
    let tree = Layout {
        root: made.tree.clone(),
    };
    deb::build(&tree, architecture, &release.newer(), &newer)?;
    for suite in suites {
        install::test(suite, &made.deb, &newer, &target)?;
    }
    Ok(0)
}

/// Builds and runs the image; returns how much was skipped.
fn test_image(made: &Made, architecture: &Architecture) -> Result<u32> {
    if let Some(why) = obstacle_to_tests(architecture) {
        eprintln!("SKIPPED: image of {}: {why}", architecture.debian);
        return Ok(1);
    }
    image::test(&made.tarball, architecture.debian, &check::target()?)
}

/// Builds and packs for one architecture.
fn make(architecture: &Architecture, release: &Release, target: &Path) -> Result<Made> {
    let built = build::run(architecture, target)?;
    let directory = target.join("package").join(architecture.debian);
    apt::remove(&directory)?;
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let layout = Layout::make(&directory.join("tree"), &built, release)?;
    let name = format!("{}_{}", release.version, architecture.debian);
    let tarball = directory.join(format!("udco_{name}.tar.gz"));
    step::run("tarball", &mut layout.tar(&tarball, release))?;
    let deb = directory.join(format!("udco_{name}.deb"));
    deb::build(&layout, architecture, release, &deb)?;
    Ok(Made {
        tree: layout.root,
        deb,
        tarball,
    })
}
