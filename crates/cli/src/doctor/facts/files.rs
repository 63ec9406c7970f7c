//! Files that OpenVPN needs.

use std::path::PathBuf;

use udco_options::Setting;

/// A file that an option names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct NamedFile {
    /// The option with its place, `key (client.conf:3)`.
    pub(in crate::doctor) option: String,
    pub(in crate::doctor) path: PathBuf,
    /// Nobody but its owner should read it.
    pub(in crate::doctor) is_secret: bool,
    pub(in crate::doctor) state: FileState,
    /// There is a file of that name beside the configuration.
    pub(in crate::doctor) beside: Option<PathBuf>,
}

/// What became of looking at a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum FileState {
    Missing,
    /// This user may not read it.
    Denied,
    Unreadable(String),
    Empty,
    /// Its mode bits.
    Good(u32),
}

/// A file that OpenVPN needs, and may not use as its unit's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Denied {
    pub(in crate::doctor) user: String,
    /// systemd makes it up when the unit starts: it has no name yet.
    pub(in crate::doctor) is_dynamic: bool,
    /// The option with its place.
    pub(in crate::doctor) option: String,
    pub(in crate::doctor) path: PathBuf,
    /// The file, or the directory above it, that refuses.
    pub(in crate::doctor) at: PathBuf,
    pub(in crate::doctor) need: Need,
    /// OpenVPN does not run without it.
    pub(in crate::doctor) is_vital: bool,
}

/// What a file is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Need {
    Read,
    /// It may be missing.
    Write,
}

/// The files of `client-config-dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Clients {
    /// The option with its place.
    pub(in crate::doctor) option: String,
    /// The directory itself.
    pub(in crate::doctor) directory: PathBuf,
    /// The user as whom OpenVPN runs, and the file or directory that refuses it.
    pub(in crate::doctor) denied: Option<(String, PathBuf)>,
    /// The options of each file.
    pub(in crate::doctor) files: Vec<Vec<Setting>>,
}

/// The validity of a certificate, in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Certificate {
    /// The option with its place.
    pub(in crate::doctor) option: String,
    pub(in crate::doctor) not_before: i64,
    pub(in crate::doctor) not_after: i64,
}
