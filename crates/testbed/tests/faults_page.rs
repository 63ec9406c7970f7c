//! docs/faults.md names a test for each fault: the files and the tests must exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Faults without a remedy so far.
const OPEN: &[&str] = &[];

/// A row of a table: its number, and the names in backticks in its tests column.
struct Row {
    number: String,
    words: Vec<String>,
}

fn rows(page: &str) -> Vec<Row> {
    let lines = page.lines().filter(|line| line.starts_with("| "));
    let rows = lines.filter_map(|line| {
        let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
        let number = cells.next()?.to_owned();
        let is_row = number.len() < 4 && number.ends_with(|c: char| c.is_ascii_digit());
        let tests = cells.nth(1)?;
        let words = tests.split('`').skip(1).step_by(2);
        is_row.then(|| Row {
            number,
            words: words.map(str::to_owned).collect(),
        })
    });
    rows.collect()
}

/// The text of a file that a row names, relative to `crates` or to the root.
fn read(root: &Path, path: &str) -> Result<String> {
    let places = [root.join("crates").join(path), root.join(path)];
    let found: Option<&PathBuf> = places.iter().find(|place| place.is_file());
    Ok(fs::read_to_string(
        found.with_context(|| format!("no file {path}"))?,
    )?)
}

/// Whether a file has a test of this name; a name with a leading ellipsis is a suffix.
fn has_test(text: &str, name: &str) -> bool {
    match name.strip_prefix('…') {
        Some(end) => text.contains(&format!("{end}(")),
        None => {
            text.contains(&format!("fn {name}(")) || text.contains(&format!("\"name\": \"{name}\""))
        }
    }
}

#[test]
fn every_fault_names_tests_that_are_there() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/faults.md"))?;
    let commands = fs::read_to_string(root.join("xtask/src/main.rs"))?;
    let mut seen = BTreeSet::new();
    for Row { number, words } in rows(&page) {
        ensure!(seen.insert(number.clone()), "{number} stands twice");
        let is_open = OPEN.contains(&number.as_str());
        ensure!(words.is_empty() == is_open, "{number}: open or not?");
        let mut texts = String::new();
        for word in &words {
            if let Some(command) = word.strip_prefix("cargo xtask ") {
                let command = command.split(' ').next().unwrap_or_default();
                let is_there = commands.to_lowercase().contains(&format!("    {command}"));
                ensure!(is_there, "{number}: no command {command}");
                continue;
            }
            let (path, name) = match word.split_once(": ") {
                Some((path, name)) => (path, Some(name)),
                None => (word.as_str(), None),
            };
            if path.contains('/') {
                let text = read(&root, path).with_context(|| number.clone())?;
                texts.push_str(&text);
            }
            let name = name.or_else(|| (!path.contains('/')).then_some(path));
            if let Some(name) = name.filter(|name| name.contains('_')) {
                ensure!(has_test(&texts, name), "{number}: no test {name}");
            }
        }
    }
    ensure!(seen.len() > 40, "only {} rows", seen.len());
    Ok(())
}
