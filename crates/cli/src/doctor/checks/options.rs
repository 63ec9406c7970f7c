//! The options of OpenVPN.

use udco_options::{
    Cause, MssFix, Reading, Refused, RulesOut, Setting, refused, report, rules_out,
};
use udco_state::{Finding, Severity};

use super::configuration;
use crate::doctor::facts::{Facts, Rights};
use crate::doctor::finding::{More, Name, finding};

/// Options without an effect whose lack changes what passes the tunnel, or when it ends.
const MATTER: [&str; 6] = [
    "shaper",
    "block-ipv6",
    "client-nat",
    "ping",
    "ping-restart",
    "ping-exit",
];

/// The smallest MTU over which IPv6 works.
const IPV6_MTU: i64 = 1280;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(reading) = &facts.reading else {
        return Vec::new();
    };
    let series = facts.launch.release.and_then(|it| it.series());
    let mut found = configuration::unread(facts, reading);
    found.extend(refused(&reading.settings).map(|(setting, why)| refused_option(setting, why)));
    let ruled_out = rules_out(&reading.settings, series);
    found.extend(ruled_out.iter().map(switched_off));
    found.extend(user_rights(facts, reading));
    // OpenVPN's own data path gives all options their effect.
    if ruled_out.is_empty() {
        found.extend(without_effect(reading));
    }
    let of_clients = facts
        .clients
        .iter()
        .flat_map(|it| it.files.iter().flatten());
    found.extend(pushed(reading.settings.iter().chain(of_clients)));
    if reading.problems.is_empty() {
        found.extend(mtu(reading));
    }
    if found.iter().all(|it| it.severity > Severity::Warning) {
        let count = reading.settings.len();
        let means = format!("{count} options, none of which keeps offload off");
        found.push(finding(
            Name::Configuration,
            Severity::Ok,
            "configuration",
            means,
        ));
    }
    found
}

/// An option with which OpenVPN does not start.
fn refused_option(setting: &Setting, why: Refused) -> Finding {
    let means = match why {
        Refused::Windows => "is an option for Windows: OpenVPN does not start with it on Linux",
        Refused::Removed => "was removed before OpenVPN 2.6, which does not start with it",
    };
    let cure = format!("remove this line, or write `setenv opt {} …`", setting.name);
    finding(
        Name::RefusedOption,
        Severity::Error,
        setting.to_string(),
        means,
    )
    .cure(cure)
}

/// An option with which OpenVPN switches offload off.
fn switched_off(out: &RulesOut) -> Finding {
    let about = match &out.setting {
        Some(setting) => setting.to_string(),
        None => out.cause.absent().to_owned(),
    };
    let (name, means, cure) = words(out);
    let means = format!("{means}: OpenVPN switches offload off");
    finding(name, Severity::Error, about, means)
        .cure(cure)
        .ends_offload()
}

fn words(out: &RulesOut) -> (Name, String, String) {
    let (name, means, cure) = match &out.cause {
        Cause::Disabled => (
            Name::DisableDco,
            "asks for OpenVPN's own data path",
            "remove this line",
        ),
        Cause::DeviceType => (
            Name::DeviceType,
            "only TUN devices can be offloaded",
            "use `dev tun` at both ends, if nothing needs Ethernet frames (bridges, broadcasts)",
        ),
        Cause::NoTls => (
            Name::NoTls,
            "only keys negotiated over TLS can be offloaded",
            "use TLS at both ends: `tls-server` and `tls-client` with certificates, or with `peer-fingerprint`",
        ),
        Cause::Fragment => (
            Name::Fragment,
            "OpenVPN's own fragments cannot be offloaded",
            "remove it at both ends: the two must agree, and with offload TCP is fitted to the path anyway",
        ),
        Cause::Proxy => (
            Name::Proxy,
            "a connection through a proxy cannot be offloaded",
            "remove it, if the server can be reached without the proxy",
        ),
        Cause::QueryProxy => (
            Name::Proxy,
            "whoever manages this OpenVPN may choose a proxy",
            "remove this line, if the server can be reached without a proxy",
        ),
        Cause::Topology => (
            Name::Topology,
            "a server with offload needs the topology subnet",
            "give `topology subnet`; in client-config-dir, `ifconfig-push` then has a netmask as its second word",
        ),
        Cause::Compression => return compression(out),
        Cause::Cipher(cipher) => return cipher_in_list(cipher, out),
        Cause::Fallback(cipher) => {
            let means = format!("{} cannot be offloaded", short(cipher));
            let cure = "remove this line; clients that negotiate no cipher (2.3 and earlier) then need an update";
            return (Name::Cipher, means, cure.to_owned());
        }
        Cause::Compatible(cipher) => {
            let means = format!(
                "with `compat-mode` before 2.5.0 it counts as one of `data-ciphers`, and {} cannot be offloaded",
                short(cipher)
            );
            let cure = "give `compat-mode 2.5.0` or none; peers that negotiate no cipher (2.3 and earlier) then need an update";
            return (Name::Cipher, means, cure.to_owned());
        }
    };
    (name, means.to_owned(), cure.to_owned())
}

fn compression(out: &RulesOut) -> (Name, String, String) {
    let is_permission = out
        .setting
        .as_ref()
        .is_some_and(|it| it.name == "allow-compression");
    let (means, cure) = if is_permission {
        (
            "compression is allowed, which cannot be offloaded",
            "give `allow-compression no`, or remove this line and all compression at the other end",
        )
    } else {
        (
            "compression, or its framing, cannot be offloaded",
            "remove it at both ends; a server that still has clients with it gives `compress migrate` instead",
        )
    };
    (Name::Compression, means.to_owned(), cure.to_owned())
}

fn cipher_in_list(cipher: &str, out: &RulesOut) -> (Name, String, String) {
    let means = format!("{} cannot be offloaded", short(cipher));
    let list = out.setting.as_ref().and_then(|it| it.argument(0));
    let others = list.unwrap_or_default().split(':').filter(|it| {
        let upper = it.trim_start_matches('?').to_ascii_uppercase();
        upper.ends_with("-GCM") && upper.starts_with("AES-") || upper == "CHACHA20-POLY1305"
    });
    let mut rest = others.collect::<Vec<_>>().join(":");
    if rest.is_empty() {
        rest = "AES-256-GCM:AES-128-GCM".to_owned();
    }
    let cure = format!(
        "give `data-ciphers {}`, if every peer supports one of these (OpenVPN 2.4 and later do)",
        short(&rest)
    );
    (Name::Cipher, means, cure)
}

/// A word of a configuration, bounded: it may be long.
fn short(word: &str) -> String {
    word.chars().take(100).collect()
}

/// `user` makes OpenVPN keep a capability, for which it needs another.
fn user_rights(facts: &Facts, reading: &Reading) -> Option<Finding> {
    let setting = reading.settings.iter().rfind(|it| it.name == "user")?;
    let Rights { net_admin, setpcap } = facts.starter.rights?;
    let lacking = match (setpcap, net_admin) {
        (false, _) => "CAP_SETPCAP",
        (true, false) => "CAP_NET_ADMIN",
        (true, true) => return None,
    };
    let means = format!(
        "OpenVPN starts without {lacking}, so it cannot keep CAP_NET_ADMIN when it becomes another user, and switches offload \
         off"
    );
    Some(
        finding(Name::UserRights, Severity::Error, setting.to_string(), means)
            .cure(format!("add {lacking} to `CapabilityBoundingSet=` of the unit, or to the container's capabilities"))
            .ends_offload(),
    )
}

fn without_effect(reading: &Reading) -> Vec<Finding> {
    let report = report(&reading.settings);
    let named = report.without_effect.iter().map(|it| {
        let severity = if MATTER.contains(&it.setting.name.as_str()) {
            Severity::Warning
        } else {
            Severity::Info
        };
        let means = format!("has no effect with offload: {}", it.instead);
        finding(Name::NoEffect, severity, it.setting.to_string(), means)
    });
    named.collect()
}

/// What a server pushes, and clients with offload do not bear.
fn pushed<'a>(settings: impl Iterator<Item = &'a Setting>) -> Vec<Finding> {
    let found = settings.filter(|it| it.name == "push").filter_map(|setting| {
        // In quotation marks, or as words of their own.
        let words: Vec<_> = setting
            .arguments
            .iter()
            .filter_map(|it| it.to_str())
            .flat_map(str::split_whitespace)
            .collect();
        let (name, means, cure) = match words.as_slice() {
            ["compress", "migrate", ..] => return None,
            ["comp-lzo" | "compress", ..] => (
                Name::PushedCompression,
                "clients with offload refuse pushed compression, even `comp-lzo no`, and reconnect for ever",
                "remove this line; if old clients still have `comp-lzo`, give `compress migrate` in the server's own \
                 configuration",
            ),
            ["disable-dco", ..] => (
                Name::DisableDco,
                "a client with offload ends when it gets this",
                "remove this line; `disable-dco` in the client's own configuration switches its offload off",
            ),
            _ => return None,
        };
        Some(finding(name, Severity::Warning, setting.to_string(), means).cure(cure))
    });
    found.collect()
}

/// The sizes in effect.
fn mtu(reading: &Reading) -> Vec<Finding> {
    let settings = &reading.settings;
    let given = settings.iter().rfind(|it| it.name == "tun-mtu");
    let mtu = given.and_then(|it| it.number(0)).unwrap_or(1500);
    let clamp = match report(settings).honoured.mssfix {
        MssFix::Path => "TCP inside is fitted to the MTU of the path".to_owned(),
        MssFix::Off => "TCP inside is fitted to tun-mtu alone (mssfix 0)".to_owned(),
        MssFix::Inner(size) => format!("TCP inside has packets of at most {size} bytes (mssfix)"),
        MssFix::Outer(size) => format!("TCP inside is fitted to {size} bytes outside (mssfix)"),
        MssFix::Datagram(size) => {
            format!("TCP inside is fitted to UDP payloads of {size} bytes (mssfix)")
        }
    };
    let about = given.map_or_else(|| "tun-mtu".to_owned(), ToString::to_string);
    let mut found = vec![finding(
        Name::Mtu,
        Severity::Info,
        about.clone(),
        format!("the device's MTU is {mtu}; {clamp}"),
    )];
    let has_ipv6 = |it: &Setting| {
        matches!(
            it.name.as_str(),
            "server-ipv6" | "ifconfig-ipv6" | "route-ipv6"
        )
    };
    if mtu < IPV6_MTU && settings.iter().any(has_ipv6) {
        let means = format!(
            "IPv6 needs an MTU of {IPV6_MTU}: the kernel refuses its addresses on this device"
        );
        found.push(
            finding(Name::Mtu, Severity::Warning, about, means)
                .cure(format!("give `tun-mtu {IPV6_MTU}` or more at both ends")),
        );
    }
    found
}
