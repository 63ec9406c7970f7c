//! What stands before a unit's command: `-`, `@`, `:`, `+`, `!` and `!!`.

use super::Properties;

/// What systemd calls them. `@` shows in the command's words.
const PREFIXES: [(&str, &str); 5] = [
    ("ignore-failure", "-"),
    ("no-env-expand", ":"),
    ("privileged", "+"),
    ("no-setuid", "!"),
    ("ambient", "!!"),
];

impl Properties {
    /// The prefixes of its command, for a command that takes its place.
    pub(super) fn prefixes(&self) -> String {
        let given = PREFIXES.iter().filter(|(flag, _)| self.has_flag(flag));
        given.map(|(_, prefix)| *prefix).collect()
    }

    /// `+`: neither user nor capabilities nor sandbox.
    pub(super) fn is_privileged(&self) -> bool {
        self.has_flag("privileged")
    }

    /// The command stays root's, with `+` and `!`. `!!` does so only on kernels without ambient capabilities.
    pub(super) fn stays_root(&self) -> bool {
        self.is_privileged() || self.has_flag("no-setuid")
    }

    /// Without `:`.
    pub(super) fn replaces_variables(&self) -> bool {
        !self.has_flag("no-env-expand")
    }

    fn has_flag(&self, flag: &str) -> bool {
        self.of_command("flags=")
            .split_whitespace()
            .any(|it| it == flag)
    }
}
