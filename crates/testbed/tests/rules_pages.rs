//! docs/rules states the rules that code and documents cite. Every cited rule must exist, every rule must be cited, and
//! the files, functions and tests that the pages name must exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// The prefix of a citation, and the page that states the rules.
const PAGES: &[(&str, &str)] = &[
    ("dco-behaviour", "docs/rules/driver.md"),
    ("openvpn-integration", "docs/rules/openvpn.md"),
    ("promises", "docs/rules/promises.md"),
    ("design decision", "docs/rules/design.md"),
    ("performance", "docs/rules/performance.md"),
    ("users", "docs/rules/users.md"),
    ("faults", FAULTS),
];

/// A table; `faults_page.rs` looks up its tests.
const FAULTS: &str = "docs/faults.md";

/// Families whose rules start with a letter, so that "promises 3 things" does not count as a citation.
const LETTERED: &[&str] = &["promises", "users", "faults"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A rule: its page, and the paragraphs about it.
struct Rule {
    page: &'static str,
    paragraphs: Vec<String>,
}

/// The rules by their citation, e.g. `promises A4`.
fn rules() -> Result<BTreeMap<String, Rule>> {
    let mut rules = BTreeMap::new();
    for (family, page) in PAGES.iter().filter(|(_, page)| *page != FAULTS) {
        let text = fs::read_to_string(root().join(page))?;
        for section in text.split("\n### ").skip(1) {
            let section = section.split("\n## ").next().unwrap_or_default();
            let mut paragraphs = section.split("\n\n").map(|text| text.replace('\n', " "));
            let heading = paragraphs.next().unwrap_or_default();
            let (citation, _) = heading.split_once(':').unwrap_or_default();
            let id = citation.strip_prefix(family).unwrap_or_default().trim();
            ensure!(is_id(family, id), "{page}: no rule in {heading:?}");
            let paragraphs = paragraphs.collect();
            let before = rules.insert(citation.to_owned(), Rule { page, paragraphs });
            ensure!(before.is_none(), "{page}: {citation} is there twice");
        }
    }
    Ok(rules)
}

fn is_id(family: &str, word: &str) -> bool {
    let number = match LETTERED.contains(&family) {
        true => word.strip_prefix(|c: char| c.is_ascii_uppercase()),
        false => Some(word),
    };
    number.is_some_and(|number| number.split('.').all(|part| part.parse::<u32>().is_ok()))
}

/// A file's citations: `promises A9, J3`, `dco-behaviour 2.2 to 2.4`, `design decisions 1 and 6`.
fn citations(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim_start);
    let lines = lines.map(|line| line.trim_start_matches(['/', '!']));
    let text = lines.collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for (family, _) in PAGES {
        for after in text.split(family).skip(1) {
            let (mut last, mut is_range) = (None, false);
            for word in after.trim_start_matches('s').split_whitespace() {
                let id = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                if is_id(family, id) {
                    let ids = range(last.filter(|_| is_range), id);
                    found.extend(ids.iter().map(|id| format!("{family} {id}")));
                    (last, is_range) = (Some(id), false);
                    if !matches!(&word[id.len()..], "" | ",") {
                        break;
                    }
                } else if last.is_some() && (word == "and" || word == "to") {
                    is_range = word == "to";
                } else {
                    break;
                }
            }
        }
    }
    found
}

/// The rest of a range: `2.3` and `2.4` for `2.2 to 2.4`; only `2.4` if it is not a range.
fn range(first: Option<&str>, last: &str) -> Vec<String> {
    let parts = |id: &str| {
        let (section, number) = id.rsplit_once('.')?;
        Some((section.to_owned(), number.parse::<u32>().ok()?))
    };
    match (first.and_then(parts), parts(last)) {
        (Some((section, from)), Some((_, to))) => {
            let numbers = from + 1..=to;
            numbers.map(|n| format!("{section}.{n}")).collect()
        }
        _ => vec![last.to_owned()],
    }
}

/// Every source file and document but this one, whose examples are not rules.
fn files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                let is_ours = !name.starts_with('.') && name != "target";
                folders.extend(is_ours.then_some(path));
            } else if (name.ends_with(".rs") || name.ends_with(".md")) && name != "rules_pages.rs" {
                files.push(path);
            }
        }
    }
    Ok(files)
}

#[test]
fn every_cited_rule_is_stated_and_every_rule_is_cited() -> Result<()> {
    let mut uncited = rules()?;
    let all: Vec<String> = uncited.keys().cloned().collect();
    let faults = fs::read_to_string(root().join(FAULTS))?;
    for file in files()? {
        let text = fs::read_to_string(&file)?;
        let file = file.strip_prefix(root())?;
        for citation in citations(&text) {
            let is_stated = match citation.strip_prefix("faults ") {
                Some(id) => faults.contains(&format!("\n| {id} | ")),
                None => all.contains(&citation),
            };
            let place = file.display();
            ensure!(is_stated, "{place} cites {citation}, which no page states");
            if !file.starts_with("docs/rules") {
                uncited.remove(&citation);
            }
        }
    }
    if let Some((citation, rule)) = uncited.first_key_value() {
        bail!("{}: nothing cites {citation}", rule.page);
    }
    Ok(())
}

/// Looks up the names in a paragraph's backticks: files, and after a file its contents.
fn look_up(paragraph: &str, are_tests: bool) -> Result<()> {
    let mut text = String::new();
    for word in paragraph.split('`').skip(1).step_by(2) {
        if let Some(command) = word.strip_prefix("cargo xtask ") {
            let commands = fs::read_to_string(root().join("xtask/src/main.rs"))?;
            let is_there = commands.to_lowercase().contains(&format!("    {command}"));
            ensure!(is_there, "no command {word}");
        } else if word.contains('/') {
            let places = [root().join("crates").join(word), root().join(word)];
            let found = places.iter().find(|place| place.is_file());
            text = fs::read_to_string(found.with_context(|| format!("no file {word}"))?)?;
        } else if are_tests {
            let is_there = text.contains(&format!("fn {word}("))
                || text.contains(&format!("\"name\": \"{word}\""));
            ensure!(is_there, "no test {word} in the file before it");
        } else {
            ensure!(text.contains(word), "no {word} in the file before it");
        }
    }
    Ok(())
}

#[test]
fn every_rule_names_code_and_tests_that_are_there() -> Result<()> {
    for (citation, Rule { page, paragraphs }) in rules()? {
        for kind in ["Code: ", "Tests: "] {
            let mut these = paragraphs.iter().filter(|text| text.starts_with(kind));
            let (first, second) = (these.next(), these.next());
            ensure!(second.is_none(), "{page}, {citation}: {kind}is there twice");
            let text = first.with_context(|| format!("{page}, {citation}: no {kind}"))?;
            look_up(text, kind == "Tests: ").with_context(|| format!("{page}, {citation}"))?;
        }
    }
    Ok(())
}
