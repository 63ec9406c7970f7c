//! What `udco doctor --json` says.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Version of the format, as [`crate::FORMAT`] is that of `udco show --json`.
pub const DIAGNOSIS_FORMAT: u32 = 1;

/// The output of `udco doctor --json`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Diagnosis {
    /// [`DIAGNOSIS_FORMAT`].
    pub format: u32,
    /// Whether the data channel is offloaded, or would be.
    pub offload: Offload,
    /// Why not, or why nobody knows, most important first; empty if it is.
    pub reasons: Vec<String>,
    /// All findings, the gravest first.
    pub findings: Vec<Finding>,
}

/// Whether the data channel is offloaded.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Offload {
    /// A running OpenVPN has offload.
    On,
    /// A running OpenVPN has none.
    Off,
    /// An OpenVPN started now would have offload.
    WouldBeOn,
    /// An OpenVPN started now would have none.
    WouldBeOff,
    /// There is too little to go on.
    Unknown,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Offload is off, or the tunnel does not work.
    Error,
    /// The tunnel works, but not as its configuration or its user expects.
    Warning,
    /// Worth knowing.
    Info,
    /// Looked at, and in order.
    Ok,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Finding {
    /// The name by which docs/doctor.md has it.
    pub name: Cow<'static, str>,
    /// How grave it is.
    pub severity: Severity,
    /// The thing: an option with its place, a file, a device.
    pub about: String,
    /// What it means.
    pub means: String,
    /// How to fix it, one step a line; empty if nothing needs fixing.
    pub cure: Vec<String>,
    /// It keeps offload off.
    pub rules_out_offload: bool,
}

impl Offload {
    /// As in the first line of `udco doctor`.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::On => "offload is on",
            Self::Off => "offload is off",
            Self::WouldBeOn => "offload would be on",
            Self::WouldBeOff => "offload would be off",
            Self::Unknown => "offload cannot be judged",
        }
    }
}

impl Severity {
    /// As in the JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Ok => "ok",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_json() {
        for severity in [
            Severity::Error,
            Severity::Warning,
            Severity::Info,
            Severity::Ok,
        ] {
            assert_eq!(serde_json::to_value(severity).unwrap(), severity.name());
        }
        assert!(
            Severity::Error < Severity::Warning,
            "the gravest comes first"
        );
        let would_be = serde_json::to_value(Offload::WouldBeOn).unwrap();
        assert_eq!(would_be, "would-be-on");
    }
}
