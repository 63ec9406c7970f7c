//! The licences of the libraries that are linked into what is packed: they all ask to be passed on with a binary.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::step;

/// How files with a licence or with attributions begin.
const BEGINNINGS: [&str; 4] = ["LICENSE", "LICENCE", "COPYING", "NOTICE"];

/// All licence texts, each once, below the names of the libraries that are under it.
///
/// # Errors
/// If cargo does not list the libraries, or one of them comes without its licence.
pub(super) fn text(target: &str) -> Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, directory) in libraries(target)? {
        let found = licence_files(&directory)?;
        for file in found {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let names = texts.entry(text.replace('\r', "")).or_default();
            if !names.contains(&name) {
                names.push(name.clone());
            }
        }
    }
    let mut by_name: Vec<(String, String)> = texts
        .into_iter()
        .map(|(text, names)| (names.join(", "), text))
        .collect();
    by_name.sort();
    let mut all = String::from(
        "The licences of the libraries in udco and its preload library. Where a library offers several, they are at choice.\n\
         Rust's standard library is under MIT or Apache-2.0, and musl, the C library of the program, under MIT.\n",
    );
    for (names, text) in by_name {
        write!(all, "\n\n==> {names}\n\n{}\n", text.trim())?;
    }
    Ok(all)
}

/// Name and version of each library of others, with the directory of its sources.
fn libraries(target: &str) -> Result<Vec<(String, PathBuf)>> {
    let mut metadata = step::cargo("metadata --format-version=1 --locked --filter-platform");
    let output = metadata.arg(target).output();
    let output = output.context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo metadata: {}", output.status);
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let linked = linked(target)?;
    let mut libraries = Vec::new();
    for package in packages {
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        let name = format!("{} {}", field("name"), field("version"));
        let is_ours = package["source"].is_null();
        if is_ours || !linked.contains(&name) {
            continue;
        }
        let manifest = Path::new(field("manifest_path"));
        libraries.push((name, manifest.parent().context("no directory")?.to_owned()));
    }
    Ok(libraries)
}

/// Name and version of what is linked into the two files.
fn linked(target: &str) -> Result<Vec<String>> {
    let mut tree = step::cargo("tree --locked --edges normal");
    tree.args(["--prefix", "none", "--target", target]).args([
        "--package",
        "udco",
        "--package",
        "udco-preload",
    ]);
    let output = tree.output().context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo tree: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (name, version) = (words.next()?, words.next()?);
        Some(format!("{name} {}", version.trim_start_matches('v')))
    });
    Ok(names.collect())
}

/// The files with its licences.
fn licence_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_ascii_uppercase();
        let is_licence = BEGINNINGS.iter().any(|begin| name.starts_with(begin));
        if is_licence && entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
