//! The shared engine that OpenVPN is told to use.

use std::path::PathBuf;

/// Where the package's daemon listens.
pub(in crate::doctor) const DAEMON_SOCKET: &str = "/run/udco/engine.sock";

/// An engine of `udco daemon`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct SharedEngine {
    pub(in crate::doctor) socket: PathBuf,
    pub(in crate::doctor) trouble: Option<EngineTrouble>,
}

/// Why it would not serve OpenVPN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum EngineTrouble {
    /// It does not answer, and why.
    Silent(String),
    /// It is there, and stopped, or hangs.
    Stalled(String),
    /// The unit's user may not use it.
    Denied(Stranger),
}

/// A unit's user whom an engine does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Stranger {
    pub(in crate::doctor) user: String,
    /// systemd makes it up when the unit starts: it has no name yet.
    pub(in crate::doctor) is_dynamic: bool,
    /// The option of `udco daemon` that lets it in; `None` if it has no number yet, nor a group.
    pub(in crate::doctor) admission: Option<String>,
    /// The socket, or the directory above it, that refuses.
    pub(in crate::doctor) at: PathBuf,
    /// `UDCO_DAEMON_OPTIONS`, if the engine is that of the package's unit.
    pub(in crate::doctor) daemon_options: Option<String>,
}
