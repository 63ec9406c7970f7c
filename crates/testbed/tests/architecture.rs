//! ARCHITECTURE.md shows the actual folders: crates, and the files in each folder of the engine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The tree below the heading "The rooms", as indentation and text of each line.
fn picture(page: &str) -> Result<Vec<(usize, &str)>> {
    let (_, section) = page.split_once("## The rooms").context("no such heading")?;
    let tree = section.split("```").nth(1).context("no tree below it")?;
    let lines = tree.lines().filter(|line| !line.trim().is_empty());
    let lines = lines.map(|line| (line.len() - line.trim_start().len(), line.trim()));
    Ok(lines.collect())
}

/// Names in a folder: of its subfolders, or of its files with this suffix, without the suffix.
fn names(folder: &Path, end: Option<&str>) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let found = match end {
            Some(end) => name.strip_suffix(end).map(str::to_owned),
            None => entry.file_type()?.is_dir().then_some(name),
        };
        names.extend(found);
    }
    Ok(names)
}

fn first(line: &str) -> String {
    line.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn the_picture_is_that_of_the_folders() -> Result<()> {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let lines = picture(&page)?;
    let crates = lines.iter().filter(|(indent, _)| *indent == 2);
    let shown: BTreeSet<String> = crates.map(|(_, line)| first(line)).collect();
    let there = names(&root().join("crates"), None)?;
    ensure!(shown == there, "shown: {shown:?}\nthere: {there:?}");

    let engine = root().join("crates/engine/src");
    let mut rooms = BTreeSet::new();
    for (at, (_, line)) in lines.iter().enumerate() {
        let Some((room, files)) = line.split_once("/ ") else {
            continue;
        };
        rooms.insert(room.to_owned());
        let further = lines[at + 1..].iter().take_while(|(indent, _)| *indent > 4);
        let files = further.fold(files.to_owned(), |all, (_, line)| all + " " + line);
        let shown: BTreeSet<String> = files.split_whitespace().map(str::to_owned).collect();
        let there = names(&engine.join(room), Some(".rs"))?;
        ensure!(shown == there, "{room}, shown: {shown:?}\nthere: {there:?}");
    }
    let there = names(&engine, None)?;
    ensure!(rooms == there, "shown: {rooms:?}\nthere: {there:?}");

    for (_, line) in lines.iter().filter(|(indent, _)| *indent == 0) {
        let folder = root().join(first(line));
        ensure!(folder.is_dir(), "no folder {}", folder.display());
    }
    Ok(())
}

#[test]
fn the_page_is_read_in_one_sitting() -> Result<()> {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let lines = page.lines().count();
    ensure!(lines <= 250, "{lines} lines");
    Ok(())
}
