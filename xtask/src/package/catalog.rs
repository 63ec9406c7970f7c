//! The journal's catalog and the code have the same ids, and each entry uses only fields that its lines have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::check;

/// Where the ids are.
const IDS: &str = "crates/ipc/src/message_id.rs";

/// The ids by their names in the code.
fn ids(root: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(root.join(IDS)).unwrap();
    let constants = text.split("pub const ").skip(1);
    let read = |constant: &str| {
        let (name, rest) = constant.split_once(':')?;
        Some((name.to_owned(), rest.split('"').nth(1)?.to_owned()))
    };
    constants.map(|constant| read(constant).unwrap()).collect()
}

/// The entries of the catalog: ids and texts.
fn entries(root: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(root.join("packaging/systemd/udco.catalog")).unwrap();
    let entries = text.split("\n-- ").skip(1);
    let split = entries.map(|entry| entry.split_once('\n').unwrap());
    split
        .map(|(id, text)| (id.to_owned(), text.to_owned()))
        .collect()
}

/// The fields that an entry inserts, as the code names them.
fn inserted(text: &str) -> Vec<String> {
    let names = text.split('@').skip(1).step_by(2);
    let fields = names.map(|name| name.strip_prefix("UDCO_").unwrap_or(name));
    fields.map(str::to_lowercase).collect()
}

/// The sources of the crates.
fn sources(folder: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, texts);
        } else if path.extension().is_some_and(|end| end == "rs") {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_id_has_an_entry_and_every_entry_an_id() {
    let root = check::workspace().unwrap();
    let ids = ids(&root);
    let unique: BTreeSet<&String> = ids.values().collect();
    assert!(ids.len() > 10 && unique.len() == ids.len(), "{ids:?}");
    let entries = entries(&root);
    let explained: BTreeSet<&String> = entries.iter().map(|(id, _)| id).collect();
    assert_eq!(explained.len(), entries.len(), "an id has two entries");
    assert_eq!(unique, explained);
    for (id, text) in &entries {
        let is_hexadecimal = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        assert!(id.len() == 32 && id.chars().all(is_hexadecimal), "{id}");
        let (head, body) = text.split_once("\n\n").unwrap();
        assert!(
            head.starts_with("Subject: ") && head.contains("\nDefined-By: udco"),
            "{id}"
        );
        assert!(body.trim().len() > 60, "{id} explains nothing");
    }
}

/// journalctl shows the name of a field that a line lacks.
#[test]
fn every_id_is_used_by_lines_with_the_fields_of_its_entry() {
    let root = check::workspace().unwrap();
    let mut texts = Vec::new();
    for folder in ["engine", "cli", "preload"] {
        sources(&root.join("crates").join(folder).join("src"), &mut texts);
    }
    let entries: BTreeMap<String, String> = entries(&root).into_iter().collect();
    for (name, id) in ids(&root) {
        let used = format!("message_id::{name}");
        let lines = texts.iter().flat_map(|text| text.split(&used).skip(1));
        // Up to the end of the macro.
        let lines: Vec<&str> = lines.filter_map(|rest| rest.split(");").next()).collect();
        assert!(!lines.is_empty(), "{name} is not used");
        for (line, field) in lines.iter().flat_map(|line| {
            let fields = inserted(&entries[&id]);
            fields.into_iter().map(move |field| (line, field))
        }) {
            let is_given = [" = ", ","].map(|after| format!(" {field}{after}"));
            assert!(
                is_given.iter().any(|given| line.contains(given)),
                "{name}: no {field}"
            );
        }
    }
}
