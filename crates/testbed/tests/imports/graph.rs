//! Which module of a crate imports which.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::sources;

/// The modules of a crate by their path, each with the paths that it imports, and the paths behind the names that it
/// re-exports.
#[derive(Default)]
pub(crate) struct Imports {
    modules: BTreeMap<String, BTreeSet<String>>,
    exports: BTreeMap<String, String>,
}

impl Imports {
    /// Reads the crate in the folder of this name.
    pub(crate) fn of(name: &str) -> Result<Self> {
        let folder = format!("crates/{name}/src");
        let mut imports = Self::default();
        for (path, text) in sources(&folder)? {
            let file = path.trim_start_matches(&folder).trim_start_matches('/');
            let file = file.trim_end_matches(".rs").trim_end_matches("/mod");
            if file.starts_with("bin/") || file.split('/').any(|part| part == "tests") {
                continue;
            }
            let module = match file {
                "lib" | "main" => String::new(),
                _ => file.replace('/', "::"),
            };
            let mut uses = BTreeSet::new();
            for (is_export, path) in use_lines(&without_tests(&text)) {
                let (path, name) = path.split_once(" as ").unwrap_or((&path, ""));
                let last = path.rsplit("::").next().unwrap_or_default();
                let path = absolute(&module, path);
                let name = join(&module, if name.is_empty() { last } else { name });
                // A macro is exported under its own name.
                if is_export && path != name {
                    imports.exports.insert(name, path.clone());
                }
                uses.insert(path);
            }
            imports.modules.insert(module, uses);
        }
        Ok(imports)
    }

    /// The module in which a path ends, behind re-exports; `None` in the root or in another crate.
    fn module(&self, path: &str) -> Option<&str> {
        if let Some((module, _)) = self.modules.get_key_value(path) {
            return Some(module.as_str()).filter(|module| !module.is_empty());
        }
        if let Some(path) = self.exports.get(path) {
            return self.module(path);
        }
        self.module(path.rsplit_once("::")?.0)
    }

    /// The modules that each module imports.
    pub(crate) fn arrows(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let arrows = self.modules.iter().map(|(from, paths)| {
            let is_within = |a: &str, b: &str| a == b || a.starts_with(&join(b, ""));
            let to = paths.iter().filter_map(|path| self.module(path));
            let to = to.filter(|to| !is_within(to, from) && !is_within(from, to));
            (from.as_str(), to.collect())
        });
        arrows.filter(|(from, _)| !from.is_empty()).collect()
    }

    /// The sets of modules that all import each other, directly or not.
    pub(crate) fn circles(&self) -> BTreeSet<String> {
        let arrows = self.arrows();
        let mut reached = BTreeMap::new();
        for from in arrows.keys() {
            let (mut found, mut next) = (BTreeSet::new(), vec![*from]);
            while let Some(module) = next.pop() {
                let to = arrows.get(module).into_iter().flatten().copied();
                next.extend(to.filter(|to| found.insert(*to)));
            }
            reached.insert(*from, found);
        }
        let tied = reached.iter().filter(|(from, to)| to.contains(*from));
        let circles = tied.map(|(from, to)| {
            let circle = to.iter().filter(|to| reached[**to].contains(from));
            circle.copied().collect::<Vec<_>>().join(" ")
        });
        circles.collect()
    }
}

fn join(module: &str, name: &str) -> String {
    format!("{module}::{name}")
        .trim_start_matches("::")
        .to_owned()
}

/// The path from the root of the crate for one that stands in `module`.
fn absolute(module: &str, path: &str) -> String {
    match path.split_once("::") {
        Some(("crate", rest)) => rest.to_owned(),
        Some(("self", rest)) => absolute(module, rest),
        Some(("super", rest)) => {
            let (parent, _) = module.rsplit_once("::").unwrap_or_default();
            join(parent, rest.trim_start_matches("super::"))
        }
        _ => join(module, path),
    }
}

/// The lines of a file without comments and without what is compiled for tests only.
fn without_tests(text: &str) -> String {
    let (mut kept, mut lines) = (String::new(), text.lines());
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        if code.starts_with("#[cfg(test)]") {
            let mut item = lines.by_ref().skip_while(|line| line.contains("#["));
            // Formatted code closes a block where it began.
            let end = format!("{}}}", &line[..line.len() - code.len()]);
            let is_block = item.next().is_some_and(|line| line.ends_with('{'));
            let _ = is_block && item.any(|line| line.starts_with(&end));
        } else if !code.starts_with("//") {
            kept.extend([line, "\n"]);
        }
    }
    kept
}

/// The paths of the `use` lines, each with one name, and whether it is a re-export.
fn use_lines(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("use ") {
        let before = text[..at].rsplit('\n').next().unwrap_or_default().trim();
        let is_export = before.starts_with("pub") && !before.contains(' ');
        if !before.is_empty() && !is_export {
            continue;
        }
        let tree = text[at + 4..].split(';').next().unwrap_or_default();
        let (mut outer, mut path) = (Vec::new(), String::new());
        for c in tree.chars().chain([',']) {
            let prefix = outer.last().map_or("", String::as_str);
            match c {
                '{' => {
                    outer.push(format!("{prefix}{}", path.trim()));
                    path.clear();
                }
                ',' | '}' => {
                    if !path.trim().is_empty() {
                        found.push((is_export, format!("{prefix}{}", path.trim())));
                    }
                    path.clear();
                    if c == '}' {
                        outer.pop();
                    }
                }
                c => path.push(c),
            }
        }
    }
    found
}
