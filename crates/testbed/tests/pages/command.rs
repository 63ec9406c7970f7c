//! A command of a page, and what is done about it.

/// A command of a page.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) page: &'static str,
    pub(super) words: &'static str,
    pub(super) how: How,
}

/// Where a command is typed. The first two are at the ends of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum On {
    Server,
    Client,
    /// A host without a network.
    Shared,
}

/// What is done about it.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// Runs to its end, with one of these codes, and prints this.
    Runs(On, &'static [i32], &'static str),
    /// Runs as long as the play; has begun when it has printed this.
    Stays(On, &'static str),
    /// The same, for one that writes this file.
    Writes(On, &'static str),
    /// Starts a unit of OpenVPN: played is the command of the unit, in its directory, with this configuration.
    Unit(On, &'static str, &'static str),
    /// Another test runs it: this file has these words.
    Elsewhere(&'static str, &'static str),
    /// No test runs it, for this reason.
    Not(&'static str),
}
