//! Units of systemd.

use udco_state::Offload::{Unknown, WouldBeOff, WouldBeOn};
use udco_state::Severity::{Error, Warning};

use super::broken_units::unit;
use super::{CLIENT, diagnose, has_one_flaw, path, sound};
use crate::doctor::facts::{Denied, Loaded, Need, Subject, Unit, Way};

#[test]
fn a_unit_that_cannot_be_looked_at_is_named() {
    for unit in [
        Unit::NoSystemd("systemctl does not start".into()),
        Unit::NoOpenVpn {
            command: "/usr/bin/vpn-wrapper".into(),
        },
    ] {
        let mut facts = sound(CLIENT);
        facts.reading = None;
        facts.subject = Subject::Unit("vpn".into());
        facts.unit = Some(unit.clone());
        has_one_flaw(&facts, "unit", Error, Unknown, &format!("{unit:?}"));
    }
}

/// A unit's `User=` reads and writes less than root, who looks.
#[test]
fn what_a_units_user_may_not_use_is_named() {
    let denied = |at: &str, need, is_vital| Denied {
        user: "openvpn".into(),
        is_dynamic: false,
        option: "key (c.conf:6)".into(),
        path: path("/etc/openvpn/c.key"),
        at: path(at),
        need,
        is_vital,
    };
    for (denied, severity, means, cure) in [
        (
            denied("/etc/openvpn/c.key", Need::Read, true),
            Error,
            "may not be read by the unit's `User=`, openvpn: OpenVPN does not start",
            "setfacl -m u:openvpn:r /etc/openvpn/c.key",
        ),
        (
            denied("/etc/openvpn", Need::Read, true),
            Error,
            "openvpn, because of /etc/openvpn: OpenVPN",
            "setfacl -m u:openvpn:x /etc/openvpn`",
        ),
        (
            denied("/etc/openvpn", Need::Write, false),
            Warning,
            "may not be written by the unit's `User=`, openvpn, because of",
            "RuntimeDirectory=",
        ),
    ] {
        let mut facts = sound(CLIENT);
        unit(&mut facts, Way::Run, Loaded::default());
        // Once for each place, as what is gravest.
        let mut lighter = denied.clone();
        lighter.is_vital = false;
        facts.denied = vec![lighter, denied.clone(), denied];
        has_one_flaw(&facts, "file", severity, WouldBeOn, means);
        let first = &diagnose(&facts).findings[0];
        assert!(first.means.contains(means), "{first:?}");
        assert!(first.cure[0].contains(cure), "{first:?}");
    }
}

/// A command that takes another's place runs as that one did.
#[test]
fn the_cure_keeps_what_stands_before_a_command() {
    let mut facts = sound(CLIENT);
    let loaded = Loaded {
        command: "/usr/sbin/openvpn --config c.conf".into(),
        prefixes: "-+".into(),
        ..Loaded::default()
    };
    unit(&mut facts, Way::Plain, loaded);
    has_one_flaw(&facts, "unit", Error, WouldBeOff, "prefixes");
    let first = &diagnose(&facts).findings[0];
    let line = "ExecStart=-+/usr/bin/udco run -- /usr/sbin/openvpn --config c.conf";
    assert!(first.cure.iter().any(|it| it == line), "{first:?}");
}

#[test]
fn a_dynamic_user_is_given_files_by_a_group() {
    let mut facts = sound(CLIENT);
    unit(&mut facts, Way::Run, Loaded::default());
    facts.denied = vec![Denied {
        user: String::new(),
        is_dynamic: true,
        option: "key (c.conf:6)".into(),
        path: path("/etc/openvpn/c.key"),
        at: path("/etc/openvpn/c.key"),
        need: Need::Read,
        is_vital: true,
    }];
    has_one_flaw(&facts, "file", Error, WouldBeOn, "dynamic");
    let first = &diagnose(&facts).findings[0];
    assert!(
        first.means.contains("by the unit's dynamic user: OpenVPN"),
        "{first:?}"
    );
    assert!(
        first.cure[0].contains("SupplementaryGroups=GROUP"),
        "{first:?}"
    );
    assert!(
        first.cure[0].contains("g:GROUP:r /etc/openvpn/c.key"),
        "{first:?}"
    );
}

/// As from a script whose variable is not set.
#[test]
fn an_empty_name_is_no_unit() {
    use clap::Parser;

    let parsed = crate::Arguments::try_parse_from(["udco", "doctor", ""]);
    assert_eq!(parsed.unwrap_err().exit_code(), 2);
}
