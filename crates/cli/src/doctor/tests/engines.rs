//! The shared engine that a unit names.

use udco_state::Offload::WouldBeOff;
use udco_state::Severity::{Error, Ok};

use super::broken_units::unit;
use super::{CLIENT, Facts, diagnose, has_one_flaw, path, sound};
use crate::doctor::facts::{EngineTrouble, Loaded, SharedEngine, Stranger, Way};

const SOCKET: &str = "/run/udco/engine.sock";

fn with_engine(way: Way, trouble: Option<EngineTrouble>) -> Facts {
    let mut facts = sound(CLIENT);
    unit(&mut facts, way, Loaded::default());
    let socket = path(SOCKET);
    facts.launch.engine = Some(SharedEngine { socket, trouble });
    facts
}

#[test]
fn one_that_does_not_answer_is_named() {
    let silent = EngineTrouble::Silent("no engine there".into());
    let facts = with_engine(Way::Run, Some(silent));
    has_one_flaw(&facts, "engine-silent", Error, WouldBeOff, "no engine");
    assert!(diagnose(&facts).findings[0].cure[0].contains("`udco daemon"));
    // One that is stopped needs no second one beside it.
    let stalled = EngineTrouble::Stalled("process 711 (udco) is stopped".into());
    let facts = with_engine(Way::Run, Some(stalled));
    has_one_flaw(&facts, "engine-silent", Error, WouldBeOff, "stopped");
    assert!(diagnose(&facts).findings[0].cure.is_empty());
}

/// What becomes of OpenVPN, and the line that mends it.
#[test]
fn one_that_the_units_user_may_not_use_is_named() {
    let named = |at: &str, daemon_options: Option<&str>| Stranger {
        user: "openvpn".into(),
        is_dynamic: false,
        admission: Some("--allow-uid 997".into()),
        at: path(at),
        daemon_options: daemon_options.map(Into::into),
    };
    let dynamic = |at: &str, admission: Option<&str>| Stranger {
        user: String::new(),
        is_dynamic: true,
        admission: admission.map(Into::into),
        ..named(at, Some(""))
    };
    for (way, stranger, means, cure) in [
        (
            Way::Run,
            named(SOCKET, Some("")),
            "by the unit's `User=`, openvpn: OpenVPN would use its own data path",
            "set `UDCO_DAEMON_OPTIONS=\"--allow-uid 997\"` in /etc/default/udco, then `systemctl restart udco`",
        ),
        (
            Way::Preload,
            named(SOCKET, Some("--workers 2")),
            "OpenVPN would use its own data path",
            "`UDCO_DAEMON_OPTIONS=\"--workers 2 --allow-uid 997\"`",
        ),
        (
            Way::Run,
            named(SOCKET, None),
            "OpenVPN would use its own data path",
            "start that daemon with `--allow-uid 997`",
        ),
        (
            Way::Run,
            named("/run/udco", Some("")),
            "openvpn, because of /run/udco: `udco run` would not start OpenVPN",
            "`setfacl -m u:openvpn:x /run/udco`",
        ),
        (
            Way::Preload,
            named("/run/udco", Some("")),
            "because of /run/udco: OpenVPN would use its own data path",
            "`setfacl -m u:openvpn:x /run/udco`",
        ),
        (
            Way::Run,
            dynamic(SOCKET, Some("--allow-gid 990")),
            "by the unit's dynamic user: OpenVPN would",
            "`UDCO_DAEMON_OPTIONS=\"--allow-gid 990\"`",
        ),
        (
            Way::Run,
            dynamic(SOCKET, None),
            "by the unit's dynamic user: OpenVPN would",
            "`SupplementaryGroups=GROUP`",
        ),
        (
            Way::Run,
            dynamic("/run/udco", Some("--allow-gid 990")),
            "by the unit's dynamic user, because of /run/udco",
            "`SupplementaryGroups=GROUP`",
        ),
    ] {
        let facts = with_engine(way, Some(EngineTrouble::Denied(stranger)));
        has_one_flaw(&facts, "engine-denied", Error, WouldBeOff, means);
        let first = &diagnose(&facts).findings[0];
        assert!(first.means.contains(means), "{first:?}");
        assert!(first.cure[0].contains(cure), "{first:?}");
        let own = first.cure.iter().any(|it| it.contains("leave out"));
        assert_eq!(own, way == Way::Run, "{first:?}");
    }
}

/// Whose engine it is decides what ends with it.
#[test]
fn a_unit_is_said_to_share_an_engine_or_to_have_its_own() {
    let said = |facts: &Facts| {
        let findings = diagnose(facts).findings.into_iter();
        let mut found = findings.filter(|it| it.name == "unit" && it.severity == Ok);
        found.next().map(|it| it.means)
    };
    let shared = said(&with_engine(Way::Run, None));
    assert_eq!(
        shared.as_deref(),
        Some("starts OpenVPN through udco, with the shared engine at /run/udco/engine.sock")
    );
    let mut own = with_engine(Way::Run, None);
    own.launch.engine = None;
    assert_eq!(
        said(&own).as_deref(),
        Some("starts OpenVPN through udco, with an engine of its own")
    );
}
