//! Which release is packed: its version, and the date that all its files bear.

use anyhow::{Context, Result, ensure};

use crate::step;

/// A release.
pub(super) struct Release {
    /// The Debian package's version.
    pub(super) version: String,
    /// The commit, in short.
    pub(super) commit: String,
    /// Its date, in seconds since 1970: `SOURCE_DATE_EPOCH` (reproducible-builds.org).
    pub(super) epoch: u64,
}

impl Release {
    /// The release of the commit that is checked out.
    ///
    /// # Errors
    /// Without git, or outside a repository.
    pub(super) fn of_this_commit(version: Option<&str>) -> Result<Self> {
        let fact = |format: &str| {
            let line = step::first_line("git", &["log", "-1", &format!("--format={format}")]);
            ensure!(!line.is_empty(), "no commit: packages are made of one");
            Ok(line)
        };
        let commit = fact("%h")?;
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(epoch) => epoch,
            Err(_) => fact("%ct")?,
        };
        let epoch = epoch.parse().context("SOURCE_DATE_EPOCH is no number")?;
        let mut release = Self {
            version: String::new(),
            commit,
            epoch,
        };
        release.version = match version {
            Some(version) => version.to_owned(),
            // Below the release that it leads to, and above every commit before.
            None => format!(
                "{}~git{}.{}-1",
                env!("CARGO_PKG_VERSION"),
                release.date("+%Y%m%d%H%M%S"),
                release.commit
            ),
        };
        Ok(release)
    }

    /// The same, with the next version.
    pub(super) fn newer(&self) -> Self {
        Self {
            version: format!("{}.1", self.version),
            commit: self.commit.clone(),
            epoch: self.epoch,
        }
    }

    /// The date in a format of date(1).
    pub(super) fn date(&self, format: &str) -> String {
        let date = format!("--date=@{}", self.epoch);
        step::first_line("env", &["LC_ALL=C", "date", "-u", &date, format])
    }
}
