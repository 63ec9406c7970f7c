//! The names of findings, and their making.

use std::fmt;

use udco_state::{Finding, Severity};

macro_rules! names {
    ($($variant:ident = $name:literal,)*) => {
        /// A finding's name, as docs/doctor.md and `--json` have it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Name {
            $($variant,)*
        }

        impl Name {
            pub(super) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$variant,)*];
        }
    };
}

names! {
    Certificate = "certificate",
    Cipher = "cipher",
    Clock = "clock",
    Compression = "compression",
    Configuration = "configuration",
    DefaultRoutes = "default-routes",
    DeviceTaken = "device-taken",
    DeviceType = "device-type",
    DisableDco = "disable-dco",
    Engine = "engine",
    EngineDenied = "engine-denied",
    EngineSilent = "engine-silent",
    File = "file",
    Forwarding = "forwarding",
    Fragment = "fragment",
    Kernel = "kernel",
    KernelDriver = "kernel-driver",
    KeyExposed = "key-exposed",
    LeftDevice = "left-device",
    Memory = "memory",
    Mtu = "mtu",
    NetAdmin = "net-admin",
    NoEffect = "no-effect",
    NoTls = "no-tls",
    OpenFiles = "open-files",
    OpenVpn = "openvpn",
    Preload = "preload",
    Processes = "processes",
    Proxy = "proxy",
    PushedCompression = "pushed-compression",
    RefusedOption = "refused-option",
    ReversePath = "reverse-path",
    Running = "running",
    Settings = "settings",
    StandardInput = "standard-input",
    Topology = "topology",
    Tun = "tun",
    Unit = "unit",
    UserRights = "user-rights",
}

/// A finding that needs no cure, unless one is added.
pub(super) fn finding(
    name: Name,
    severity: Severity,
    about: impl Into<String>,
    means: impl Into<String>,
) -> Finding {
    Finding {
        name: name.as_str().into(),
        severity,
        about: about.into(),
        means: means.into(),
        cure: Vec::new(),
        rules_out_offload: false,
    }
}

/// A name as a word of a shell's command, so that nothing in it is run when the line is copied.
pub(super) fn word(name: impl fmt::Display) -> String {
    let name = name.to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-@:+%,".contains(c);
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(is_plain) {
        return name;
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

/// What to add to a finding.
pub(super) trait More {
    /// A further line of its cure.
    fn cure(self, line: impl Into<String>) -> Self;

    /// It keeps offload off.
    fn ends_offload(self) -> Self;
}

impl More for Finding {
    fn cure(mut self, line: impl Into<String>) -> Self {
        self.cure.push(line.into());
        self
    }

    fn ends_offload(mut self) -> Self {
        self.rules_out_offload = true;
        self
    }
}
