//! Options with which OpenVPN does not start on Linux, although other releases or systems take them: configurations are
//! copied from there.
//!
//! OpenVPN 2.6.14 and 2.7.8 were started with each.

use crate::setting::Setting;

/// For Windows.
const WINDOWS: [&str; 11] = [
    "block-outside-dns",
    "cryptoapicert",
    "dhcp-renew",
    "ip-win32",
    "pause-exit",
    "register-dns",
    "service",
    "show-net-up",
    "tap-sleep",
    "win-sys",
    "windows-driver",
];

/// Of earlier releases.
const REMOVED: [&str; 5] = [
    "key-method",
    "keysize",
    "ncp-disable",
    "no-iv",
    "tls-remote",
];

/// Why an option is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is one for Windows.
    Windows,
    /// It was removed before 2.6.
    Removed,
}

/// The options that OpenVPN refuses.
pub fn refused(settings: &[Setting]) -> impl Iterator<Item = (&Setting, Refused)> {
    let mut ignored: Vec<&str> = Vec::new();
    settings.iter().filter_map(move |setting| {
        let name = setting.name.as_str();
        if name == "ignore-unknown-option" {
            ignored.extend(setting.arguments.iter().filter_map(|it| it.to_str()));
        }
        let why = match name {
            name if WINDOWS.contains(&name) => Refused::Windows,
            name if REMOVED.contains(&name) => Refused::Removed,
            _ => return None,
        };
        let is_refused = !setting.is_optional && !ignored.contains(&name);
        is_refused.then_some((setting, why))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::read;

    #[test]
    fn an_option_is_refused_unless_it_may_be_ignored() {
        let file = "windows-driver wintun\nsetenv opt block-outside-dns\nno-iv\nignore-unknown-option tls-remote keysize\n\
            keysize 256\ntls-remote x\ndev tun\n";
        let open = |_: &Path| Ok(file.as_bytes().to_vec());
        let settings = read(&["c".into()], Path::new(""), open).settings;
        let found: Vec<_> = refused(&settings)
            .map(|(it, why)| (it.name.as_str(), why))
            .collect();
        let wanted = [
            ("windows-driver", Refused::Windows),
            ("no-iv", Refused::Removed),
        ];
        assert_eq!(found, wanted);
    }
}
