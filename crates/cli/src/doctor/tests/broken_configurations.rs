//! Configurations with one flaw each.

use udco_state::{Offload, Severity};

use super::{CLIENT, SERVER, diagnose, has_one_flaw, sound};
use crate::doctor::facts::Release;

/// Configurations with which OpenVPN switches offload off: what is added to a sound one, and the finding.
const OFF: [(&str, &str, &str); 29] = [
    (CLIENT, "disable-dco", "disable-dco"),
    (CLIENT, "fragment 1300", "fragment"),
    (CLIENT, "setenv opt fragment 1300", "fragment"),
    (
        CLIENT,
        "<connection>\nremote a\nfragment 1300\n</connection>",
        "fragment",
    ),
    (CLIENT, "http-proxy proxy 3128", "proxy"),
    (CLIENT, "socks-proxy proxy 1080", "proxy"),
    (
        CLIENT,
        "<connection>\nremote a\nsocks-proxy b 1\n</connection>",
        "proxy",
    ),
    (CLIENT, "management-query-proxy", "proxy"),
    (CLIENT, "comp-lzo", "compression"),
    (CLIENT, "comp-lzo no", "compression"),
    (CLIENT, "compress", "compression"),
    (CLIENT, "compress stub-v2", "compression"),
    (CLIENT, "compress lz4-v2", "compression"),
    (CLIENT, "allow-compression yes", "compression"),
    (CLIENT, "allow-compression asym", "compression"),
    (CLIENT, "dev tap", "device-type"),
    (CLIENT, "dev tap0", "device-type"),
    (CLIENT, "dev-type tap", "device-type"),
    (CLIENT, "dev vpn", "device-type"),
    (CLIENT, "dev null", "device-type"),
    (CLIENT, "data-ciphers AES-256-GCM:AES-256-CBC", "cipher"),
    (CLIENT, "data-ciphers AES-256-GCM:?AES-256-CBC", "cipher"),
    (CLIENT, "data-ciphers none", "cipher"),
    (CLIENT, "ncp-ciphers AES-128-GCM:BF-CBC", "cipher"),
    (CLIENT, "data-ciphers-fallback AES-256-CBC", "cipher"),
    (CLIENT, "compat-mode 2.4.0\ncipher AES-256-CBC", "cipher"),
    (SERVER, "topology net30", "topology"),
    (SERVER, "topology p2p", "topology"),
    (
        "",
        "dev tun\nifconfig 10.0.0.1 10.0.0.2\nsecret static.key",
        "no-tls",
    ),
];

#[test]
fn each_option_that_switches_offload_off_is_named() {
    for (base, line, name) in OFF {
        for release in [Release(2, 6), Release(2, 7)] {
            let mut facts = sound(&format!("{base}{line}\n"));
            facts.launch.release = Some(release);
            has_one_flaw(&facts, name, Severity::Error, Offload::WouldBeOff, line);
        }
    }
}

#[test]
fn what_is_missing_is_named_too() {
    for (config, release, name) in [
        (
            "server 10.8.0.0 255.255.255.0\ndev tun",
            Release(2, 6),
            "topology",
        ),
        (
            "dev tun\nremote a\nifconfig 10.0.0.1 10.0.0.2",
            Release(2, 7),
            "no-tls",
        ),
    ] {
        let mut facts = sound(config);
        facts.launch.release = Some(release);
        has_one_flaw(&facts, name, Severity::Error, Offload::WouldBeOff, config);
    }
}

#[test]
fn what_has_another_effect_than_expected_is_named() {
    for (base, line, name) in [
        (CLIENT, "shaper 100000", "no-effect"),
        (CLIENT, "block-ipv6", "no-effect"),
        (
            CLIENT,
            "client-nat snat 10.0.0.0 255.0.0.0 11.0.0.0",
            "no-effect",
        ),
        (SERVER, "ping 10", "no-effect"),
        (SERVER, "push \"comp-lzo no\"", "pushed-compression"),
        (SERVER, "push \"compress lz4-v2\"", "pushed-compression"),
        (SERVER, "server-ipv6 fd00::/64\ntun-mtu 1200", "mtu"),
    ] {
        let facts = sound(&format!("{base}{line}\n"));
        has_one_flaw(&facts, name, Severity::Warning, Offload::WouldBeOn, line);
    }
}

#[test]
fn an_option_that_openvpn_refuses_is_named() {
    for line in [
        "windows-driver wintun",
        "block-outside-dns",
        "ncp-disable",
        "key-method 2",
    ] {
        let facts = sound(&format!("{CLIENT}{line}\n"));
        has_one_flaw(
            &facts,
            "refused-option",
            Severity::Error,
            Offload::WouldBeOn,
            line,
        );
        let facts = sound(&format!("{CLIENT}setenv opt {line}\n"));
        assert_eq!(
            super::flaws(&diagnose(&facts)),
            Vec::<&str>::new(),
            "{line}"
        );
    }
}

#[test]
fn what_openvpn_cannot_read_is_named() {
    for (config, name) in [
        ("dev \"tun", "configuration"),
        ("<ca>\nabc", "configuration"),
        ("config /etc/openvpn/\\x", "configuration"),
    ] {
        let facts = sound(&format!("{CLIENT}{config}"));
        has_one_flaw(&facts, name, Severity::Error, Offload::Unknown, config);
    }
    let facts = sound(&format!("{CLIENT}config stdin"));
    has_one_flaw(
        &facts,
        "standard-input",
        Severity::Warning,
        Offload::Unknown,
        "stdin",
    );
}

/// OpenVPN finds no device in it.
#[test]
fn a_file_that_is_no_configuration_is_named() {
    for (config, means, cure) in [
        ("", "is empty", "restore the file"),
        ("# dev tun\n", "nothing but comments", "restore the file"),
        ("\0\0\0\0\0", "zero bytes", "restore the file"),
        (
            "d\0e\0v\0 \0t\0u\0n\0",
            "UTF-16",
            "`iconv -f UTF-16 -t UTF-8 c.conf >c.conf.new`",
        ),
    ] {
        let facts = sound(config);
        has_one_flaw(
            &facts,
            "configuration",
            Severity::Error,
            Offload::Unknown,
            config,
        );
        let first = &diagnose(&facts).findings[0];
        assert!(first.about.starts_with("c.conf"), "{first:?}");
        assert!(first.means.contains(means), "{first:?}");
        assert!(first.cure[0].contains(cure), "{first:?}");
    }
}

/// An included file may have nothing to say.
#[test]
fn an_empty_file_beside_others_is_no_flaw() {
    let files = |path: &std::path::Path| match path.ends_with("more") {
        true => Ok(Vec::new()),
        false => Ok(format!("{CLIENT}config more\n").into_bytes()),
    };
    let mut facts = sound(CLIENT);
    facts.reading = Some(udco_options::read(&["c".into()], "".as_ref(), files));
    assert_eq!(super::flaws(&diagnose(&facts)), Vec::<&str>::new());
}

/// OpenVPN's own data path gives every option its effect.
#[test]
fn where_offload_is_off_nothing_lacks_an_effect() {
    let facts = sound(&format!("{CLIENT}fragment 1300\nshaper 1000\n"));
    has_one_flaw(
        &facts,
        "fragment",
        Severity::Error,
        Offload::WouldBeOff,
        "both",
    );
}
