//! Options for which OpenVPN disables offload before it asks the driver.
//!
//! Each rule was found by starting OpenVPN 2.6.14 and 2.7.8 with such a configuration and reading what they log; the
//! scenario `doctor_openvpn` repeats that.

use std::collections::BTreeMap;
use std::fmt;

use crate::setting::Setting;

/// A release series whose rules differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// OpenVPN 2.6.
    V26,
    /// OpenVPN 2.7 and later.
    V27,
}

/// Why OpenVPN disables offload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `disable-dco`
    Disabled,
    /// The device is not a TUN device.
    DeviceType,
    /// A static key, or no encryption at all.
    NoTls,
    /// `fragment`
    Fragment,
    /// An HTTP or SOCKS proxy.
    Proxy,
    /// `management-query-proxy`
    QueryProxy,
    /// A server that has another topology than `subnet`.
    Topology,
    /// Compression, or the frame format of a compression that compresses nothing.
    Compression,
    /// This cipher in `data-ciphers`.
    Cipher(String),
    /// This cipher in `data-ciphers-fallback`.
    Fallback(String),
    /// This cipher in `cipher`, which `compat-mode` adds to `data-ciphers`.
    Compatible(String),
}

/// A cause, and the option from which it comes; without one if it comes from what is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesOut {
    /// The option.
    pub setting: Option<Setting>,
    /// The cause.
    pub cause: Cause,
}

impl fmt::Display for RulesOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.setting {
            Some(setting) => write!(f, "{setting} rules offload out"),
            None => write!(f, "{} rules offload out", self.cause.absent()),
        }
    }
}

impl Cause {
    /// What is missing, for a cause without an option.
    #[must_use]
    pub const fn absent(&self) -> &'static str {
        match self {
            Self::Topology => "a server without `topology subnet`",
            Self::NoTls => "a configuration without TLS",
            _ => "the default",
        }
    }
}

/// Why this series disables offload with these settings. Without a series: what holds for all.
#[must_use]
pub fn rules_out(settings: &[Setting], series: Option<Series>) -> Vec<RulesOut> {
    let given = Given { settings, series };
    let mut found = Vec::new();
    found.extend(given.disabled());
    found.extend(given.device_type());
    found.extend(given.no_tls());
    found.extend(given.of_connections());
    found.extend(given.topology());
    found.extend(given.compression());
    found.extend(given.ciphers());
    found
}

/// Whether these settings make a server of many clients.
#[must_use]
pub fn is_server(settings: &[Setting]) -> bool {
    settings.iter().any(|setting| {
        let is_mode = setting.name == "mode" && setting.argument(0) == Some("server");
        is_mode
            || matches!(
                setting.name.as_str(),
                "server" | "server-ipv6" | "server-bridge"
            )
    })
}

#[derive(Clone, Copy)]
struct Given<'a> {
    settings: &'a [Setting],
    series: Option<Series>,
}

impl<'a> Given<'a> {
    fn last_of(self, names: &[&str]) -> Option<&'a Setting> {
        let mut all = self.settings.iter();
        all.rfind(|it| it.connection.is_none() && names.contains(&it.name.as_str()))
    }

    fn last(self, name: &str) -> Option<&'a Setting> {
        self.last_of(&[name])
    }

    fn disabled(self) -> Option<RulesOut> {
        self.last("disable-dco")
            .map(|it| because(it, Cause::Disabled))
    }

    fn device_type(self) -> Option<RulesOut> {
        let is_tun = |setting: &&Setting| setting.argument(0).is_some_and(is_tun);
        if let Some(program) = self.last("dev-node").filter(|it| self.is_program(it)) {
            return Some(because(program, Cause::DeviceType));
        }
        let decides = self.last("dev-type").or_else(|| self.last("dev"))?;
        let is_null = self.last("dev").filter(|it| it.argument(0) == Some("null"));
        let other = is_null.or_else(|| Some(decides).filter(|it| !is_tun(it)))?;
        Some(because(other, Cause::DeviceType))
    }

    /// Since 2.7, a program may take the place of the device.
    fn is_program(self, node: &Setting) -> bool {
        let path = node.argument(0).unwrap_or_default();
        self.series == Some(Series::V27) && path.starts_with("unix:")
    }

    fn no_tls(self) -> Option<RulesOut> {
        const TLS: [&str; 6] = [
            "client",
            "tls-client",
            "tls-server",
            "server",
            "server-ipv6",
            "server-bridge",
        ];
        if self.last_of(&TLS).is_some() {
            return None;
        }
        let setting = self.last("secret").cloned();
        // A part of a configuration, as of a `daemon` line in a test, says nothing about TLS.
        let is_whole = setting.is_some() || self.last("dev").is_some() && self.series.is_some();
        let cause = Cause::NoTls;
        is_whole.then_some(RulesOut { setting, cause })
    }

    /// Options that may differ between connections: offload is off as soon as one of them rules it out.
    fn of_connections(self) -> Vec<RulesOut> {
        let mut outside: BTreeMap<&str, &Setting> = BTreeMap::new();
        let mut inside: BTreeMap<u32, BTreeMap<&str, &Setting>> = BTreeMap::new();
        for setting in self.settings {
            let options = match setting.connection {
                // A block starts from the options given before it.
                Some(number) => inside.entry(number).or_insert_with(|| outside.clone()),
                None => &mut outside,
            };
            if cause_in_connection(setting).is_some() {
                options.insert(&setting.name, setting);
            }
        }
        let mut found: Vec<RulesOut> = Vec::new();
        let blocks = inside.into_values().collect::<Vec<_>>();
        let all = if blocks.is_empty() {
            vec![outside]
        } else {
            blocks
        };
        for setting in all.iter().flat_map(BTreeMap::values) {
            let Some(cause) = cause_in_connection(setting) else {
                continue;
            };
            let one = because(setting, cause);
            if !found.contains(&one) {
                found.push(one);
            }
        }
        let query = self.last("management-query-proxy");
        found.extend(query.map(|it| because(it, Cause::QueryProxy)));
        found
    }

    fn topology(self) -> Option<RulesOut> {
        if !is_server(self.settings) || self.last("server-bridge").is_some() {
            return None;
        }
        match self.last("topology") {
            Some(setting) if setting.argument(0) == Some("subnet") => None,
            Some(setting) => Some(because(setting, Cause::Topology)),
            // The default is net30 until 2.6.
            None => (self.series == Some(Series::V26)).then_some(RulesOut {
                setting: None,
                cause: Cause::Topology,
            }),
        }
    }

    fn compression(self) -> Option<RulesOut> {
        let is_on = |it: &&Setting| it.name == "comp-lzo" || it.argument(0) != Some("migrate");
        let allows = |it: &&Setting| it.argument(0) != Some("no");
        let setting = self
            .last_of(&["comp-lzo", "compress"])
            .filter(is_on)
            .or_else(|| self.last("allow-compression").filter(allows))?;
        Some(because(setting, Cause::Compression))
    }

    fn ciphers(self) -> Vec<RulesOut> {
        let mut found = Vec::new();
        if let Some(setting) = self.last_of(&["data-ciphers", "ncp-ciphers"]) {
            let list = setting.argument(0).unwrap_or_default();
            let providers = self.last("providers");
            let has_legacy =
                providers.is_some_and(|it| it.arguments.iter().any(|it| it == "legacy"));
            let others = list.split(':').filter(|cipher| is_kept(cipher, has_legacy));
            found.extend(others.map(|it| because(setting, Cause::Cipher(it.to_owned()))));
        }
        if let Some(setting) = self.last("data-ciphers-fallback") {
            let cipher = setting.argument(0).unwrap_or_default();
            if !is_aead(cipher) {
                found.push(because(setting, Cause::Fallback(cipher.to_owned())));
            }
        }
        let is_old = self.last("compat-mode").and_then(|it| it.argument(0));
        if let Some(setting) = self
            .last("cipher")
            .filter(|_| is_old.is_some_and(before_2_5))
        {
            let cipher = setting.argument(0).unwrap_or_default();
            if !is_aead(cipher) {
                found.push(because(setting, Cause::Compatible(cipher.to_owned())));
            }
        }
        found
    }
}

fn because(setting: &Setting, cause: Cause) -> RulesOut {
    RulesOut {
        setting: Some(setting.clone()),
        cause,
    }
}

fn cause_in_connection(setting: &Setting) -> Option<Cause> {
    match setting.name.as_str() {
        "fragment" => Some(Cause::Fragment),
        "http-proxy" | "socks-proxy" => Some(Cause::Proxy),
        _ => None,
    }
}

fn is_tun(device: &str) -> bool {
    device.starts_with("tun")
}

/// Ciphers that OpenSSL 3 has.
const KNOWN: [&str; 5] = ["AES-", "CAMELLIA-", "ARIA-", "SM4-", "NONE"];

/// Ciphers that it has with `providers legacy`.
const LEGACY: [&str; 6] = ["BF-", "CAST5-", "DES-", "IDEA-", "RC2-", "SEED-"];

/// Whether OpenVPN keeps this cipher in its list, and the driver has none like it.
fn is_kept(cipher: &str, has_legacy: bool) -> bool {
    if cipher.is_empty() || is_aead(cipher) {
        return false;
    }
    let Some(optional) = cipher.strip_prefix('?') else {
        return true;
    };
    // What the TLS library lacks is dropped from the list.
    let optional = optional.to_ascii_uppercase();
    let is_of = |families: &[&str]| families.iter().any(|family| optional.starts_with(family));
    is_of(&KNOWN) || has_legacy && is_of(&LEGACY)
}

/// Whether the data channel supports the cipher. A question mark means that OpenVPN may drop it.
fn is_aead(cipher: &str) -> bool {
    let cipher = cipher.trim_start_matches('?').to_ascii_uppercase();
    matches!(
        cipher.as_str(),
        "AES-128-GCM" | "AES-192-GCM" | "AES-256-GCM" | "CHACHA20-POLY1305" | "DEFAULT"
    )
}

fn before_2_5(version: &str) -> bool {
    let mut numbers = version.split('.').map(|it| it.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (2, 5)
}

#[cfg(test)]
mod tests;
