//! Within a crate, no file imports a file that imports it in turn; the rooms of the engine know each other in one
//! direction only; and `unsafe` stays in the crates that declare it.
//!
//! Imports are the `use` lines outside tests. A file and those in its own folder are one subject: imports between them do
//! not count.

mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use graph::Imports;

/// The rooms of the engine, each with those that it may import. Other files at the top are leaves, which import none.
const ROOMS: &[(&str, &[&str])] = &[
    ("engine", &["control", "datapath", "device"]),
    ("embed", &["datapath", "device"]),
    ("control", &["datapath", "device", "engine"]),
    ("datapath", &["device"]),
    ("device", &[]),
];

/// The crates that may contain `unsafe` code, and files elsewhere that may: allocators that count, or never allocate.
const UNSAFE_CRATES: &[&str] = &["crypto", "preload", "sys"];
const UNSAFE_FILES: &[&str] = &[
    "crates/engine/tests/allocation/counting.rs",
    "crates/engine/tests/memory/main.rs",
    "xtask/src/no_std.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn crates() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("crates"))? {
        let entry = entry?;
        let is_crate = entry.path().join("Cargo.toml").is_file();
        names.extend(is_crate.then(|| entry.file_name().to_string_lossy().into_owned()));
    }
    Ok(names)
}

/// The source files below a folder, with their paths from the root of the workspace.
fn sources(folder: &str) -> Result<BTreeMap<String, String>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder))? {
            let path = format!("{folder}/{}", entry?.file_name().to_string_lossy());
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.ends_with(".rs") {
                let text = fs::read_to_string(root().join(&path))?;
                files.insert(path, text);
            }
        }
    }
    Ok(files)
}

#[test]
fn no_files_import_each_other() -> Result<()> {
    let (mut circles, mut count) = (BTreeSet::new(), 0);
    for name in crates()? {
        let imports = Imports::of(&name)?;
        count += imports.arrows().values().map(BTreeSet::len).sum::<usize>();
        let found = imports.circles().into_iter();
        circles.extend(found.map(|circle| (name.clone(), circle)));
    }
    ensure!(
        circles.is_empty(),
        "files that import each other: {circles:#?}"
    );
    ensure!(count > 400, "only {count} imports were found");
    Ok(())
}

#[test]
fn the_rooms_of_the_engine_know_each_other_in_one_direction() -> Result<()> {
    let imports = Imports::of("engine")?;
    let room = |module: &str| module.split("::").next().unwrap_or_default().to_owned();
    for (from, modules) in imports.arrows() {
        let (_, may) = ROOMS
            .iter()
            .find(|(name, _)| *name == room(from))
            .unwrap_or(&("", &[]));
        for to in modules {
            let is_room = room(to) != room(from) && ROOMS.iter().any(|(name, _)| *name == room(to));
            ensure!(
                !is_room || may.contains(&room(to).as_str()),
                "{from} must not import {to}"
            );
        }
    }
    Ok(())
}

#[test]
fn unsafe_code_stays_where_it_is_declared() -> Result<()> {
    let mut folders: Vec<_> = crates()?
        .iter()
        .map(|name| format!("crates/{name}"))
        .collect();
    folders.retain(|folder| !UNSAFE_CRATES.iter().any(|name| folder.ends_with(name)));
    folders.push("xtask".to_owned());
    let mut listed = 0;
    for folder in folders {
        for (path, text) in sources(&folder)? {
            let kinds = ["{", "fn ", "impl ", "extern ", "trait "];
            let mut blocks = text.split("unsafe ").skip(1);
            let is_unsafe = blocks.any(|rest| kinds.iter().any(|kind| rest.starts_with(kind)));
            let is_listed = UNSAFE_FILES.contains(&path.as_str());
            ensure!(
                is_unsafe == is_listed,
                "{path}: unsafe code, or on the list without it"
            );
            listed += usize::from(is_listed);
            let is_root = ["/src/lib.rs", "/src/main.rs"]
                .iter()
                .any(|end| path.ends_with(end));
            if is_root || path.contains("/src/bin/") {
                let forbids = text.contains("#![forbid(unsafe_code)]");
                ensure!(forbids, "{path} does not forbid unsafe code");
            }
        }
    }
    ensure!(listed == UNSAFE_FILES.len(), "a file on the list is gone");
    Ok(())
}
