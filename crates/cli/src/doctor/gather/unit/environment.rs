//! The variables of a unit, and the files that set some.

use std::io::Read;
use std::path::PathBuf;

use super::{Properties, variables};
use crate::doctor::facts::NamedFile;
use crate::doctor::gather::files::state_of;
use crate::regular;

/// How much of a file to read.
const MAX_FILE: u64 = 1 << 20;

/// Where systemd makes the directories of a unit, and the variables that name them.
pub(super) const DIRECTORIES: [(&str, &str, &str); 4] = [
    ("RuntimeDirectory", "/run", "RUNTIME_DIRECTORY"),
    ("StateDirectory", "/var/lib", "STATE_DIRECTORY"),
    ("CacheDirectory", "/var/cache", "CACHE_DIRECTORY"),
    ("LogsDirectory", "/var/log", "LOGS_DIRECTORY"),
];

impl Properties {
    /// What `Environment=` sets, and systemd itself.
    pub(super) fn set_variables(&mut self) {
        for (property, base, name) in DIRECTORIES {
            let names = self.one(property).split_whitespace();
            let paths: Vec<_> = names.map(|it| format!("{base}/{it}")).collect();
            if !paths.is_empty() {
                self.variables.insert(name.to_owned(), paths.join(":"));
            }
        }
        for word in variables::split(self.one("Environment")) {
            if let Some((name, value)) = word.split_once('=') {
                self.variables.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// What each `EnvironmentFile=` sets, which counts more. systemd does not start a unit without one that has no `-`.
    pub(super) fn read_environment_files(&mut self) {
        let files = self.one("EnvironmentFiles").to_owned();
        for (path, may_be_ignored) in files.lines().filter_map(file) {
            // A pattern stands for many.
            if path.contains(['*', '?', '[']) {
                continue;
            }
            let path = PathBuf::from(path);
            let text = regular::open(&path).and_then(|file| {
                let mut bytes = Vec::new();
                file.take(MAX_FILE).read_to_end(&mut bytes)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            });
            match text.map_err(|error| state_of(&error)) {
                Ok(text) => variables::read(&text, &mut self.variables),
                // systemd ignores whatever is wrong with it.
                Err(_) if may_be_ignored => (),
                Err(state) => self.unusable.push(NamedFile {
                    option: "EnvironmentFile=".to_owned(),
                    path,
                    is_secret: false,
                    state,
                    beside: None,
                }),
            }
        }
    }
}

/// `/etc/default/openvpn (ignore_errors=yes)`
fn file(line: &str) -> Option<(&str, bool)> {
    let (path, rest) = line.rsplit_once(" (ignore_errors=")?;
    Some((path, rest.starts_with("yes")))
}
