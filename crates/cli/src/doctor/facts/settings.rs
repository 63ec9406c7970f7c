//! The package's settings, and options that udco refuses.

/// What OpenVPN's units start once the package is installed.
pub(in crate::doctor) const PACKAGED: &str = "/usr/lib/udco/run-openvpn";

/// The package's settings.
pub(in crate::doctor) const SETTINGS: &str = "/etc/default/udco";

/// Something in the package's settings that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Ignored {
    pub(in crate::doctor) line: Option<usize>,
    pub(in crate::doctor) why: Useless,
}

/// Why it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Useless {
    /// The whole file cannot be read.
    Unreadable(String),
    /// A line that sets something else.
    Name(String),
    /// The value of this setting is not plain.
    Value(&'static str),
    TooLong,
    /// A word in `UDCO_DISABLE` that is taken for `all`, but is not.
    Unit(String),
    /// This setting, in the unit's environment.
    Environment(&'static str),
}

/// Options with which udco does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct RefusedOptions {
    pub(in crate::doctor) place: Place,
    /// udco's own words.
    pub(in crate::doctor) why: String,
    /// The same without what is refused.
    pub(in crate::doctor) rest: String,
    /// An OpenVPN that is examined does not start because of them.
    pub(in crate::doctor) is_vital: bool,
}

/// Where options are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Place {
    /// In this setting of the package.
    Setting { name: &'static str, line: usize },
    /// In the unit's own command.
    Command,
}
