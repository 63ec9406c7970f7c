//! Units and settings of the package with one flaw each.

use udco_state::Offload::{Unknown, WouldBeOff, WouldBeOn};
use udco_state::Severity::{Error, Warning};

use super::{CLIENT, Case, diagnose, has_one_flaw, sound};
use crate::doctor::facts::{
    Facts, Ignored, Loaded, Place, RefusedOptions, Subject, Unit, Useless, Way,
};

const CASES: [Case; 12] = [
    (
        "plain unit",
        |it| unit(it, Way::Plain, Loaded::default()),
        "unit",
        Error,
        WouldBeOff,
    ),
    (
        "unit turned off in the package's settings",
        |it| {
            unit(
                it,
                Way::Plain,
                Loaded {
                    command: "/usr/lib/udco/run-openvpn a.service openvpn a".into(),
                    ..Loaded::default()
                },
            )
        },
        "unit",
        Error,
        WouldBeOff,
    ),
    (
        "a misspelt setting of the package",
        |it| ignored(it, Some(3), Useless::Name("UDCO_DISABEL".into())),
        "settings",
        Warning,
        WouldBeOn,
    ),
    (
        "a setting of the package that is not plain",
        |it| ignored(it, Some(3), Useless::Value("UDCO_DISABLE")),
        "settings",
        Warning,
        WouldBeOn,
    ),
    (
        "a setting of the package in the unit's environment",
        |it| ignored(it, None, Useless::Environment("UDCO_RUN_OPTIONS")),
        "settings",
        Warning,
        WouldBeOn,
    ),
    (
        "options of udco that are refused, in the package's settings",
        |it| refused(it, setting("UDCO_RUN_OPTIONS"), true),
        "settings",
        Error,
        WouldBeOff,
    ),
    (
        "the same, where tunnels start without udco",
        |it| refused(it, setting("UDCO_RUN_OPTIONS"), false),
        "settings",
        Warning,
        WouldBeOn,
    ),
    (
        "options of the daemon that are refused",
        |it| refused(it, setting("UDCO_DAEMON_OPTIONS"), false),
        "settings",
        Warning,
        WouldBeOn,
    ),
    (
        "options of udco that are refused, in the unit's command",
        |it| refused(it, Place::Command, true),
        "unit",
        Error,
        WouldBeOff,
    ),
    (
        "unit without tun",
        |it| {
            unit(
                it,
                Way::Run,
                Loaded {
                    denies_tun: true,
                    ..Loaded::default()
                },
            )
        },
        "tun",
        Error,
        WouldBeOff,
    ),
    (
        "unit without sockets",
        |it| {
            unit(
                it,
                Way::Preload,
                Loaded {
                    denied_families: vec!["AF_UNIX"],
                    ..Loaded::default()
                },
            )
        },
        "unit",
        Error,
        WouldBeOff,
    ),
    (
        "unknown unit",
        |it| {
            it.subject = Subject::Unit("x".into());
            it.unit = Some(Unit::NotFound);
            it.reading = None;
        },
        "unit",
        Error,
        Unknown,
    ),
];

fn ignored(facts: &mut Facts, line: Option<usize>, why: Useless) {
    unit(facts, Way::Run, Loaded::default());
    facts.ignored.push(Ignored { line, why });
}

fn refused(facts: &mut Facts, place: Place, is_vital: bool) {
    unit(facts, Way::Run, Loaded::default());
    facts.refused.push(RefusedOptions {
        place,
        why: "--wrkers is not an option of `udco run`".into(),
        rest: "--cpu 0".into(),
        is_vital,
    });
}

const fn setting(name: &'static str) -> Place {
    Place::Setting { name, line: 8 }
}

pub(super) fn unit(facts: &mut Facts, way: Way, loaded: Loaded) {
    facts.subject = Subject::Unit("openvpn-client@c".into());
    facts.launch.way = way;
    facts.unit = Some(Unit::Loaded(loaded));
}

#[test]
fn each_flaw_is_named() {
    for (case, break_it, name, severity, offload) in CASES {
        let mut facts = sound(CLIENT);
        break_it(&mut facts);
        has_one_flaw(&facts, name, severity, offload, case);
    }
}

/// The line that is copied.
#[test]
fn the_cure_of_refused_options_keeps_the_others() {
    for (place, cure) in [
        (setting("UDCO_RUN_OPTIONS"), "UDCO_RUN_OPTIONS=\"--cpu 0\""),
        (Place::Command, "`udco run --cpu 0 -- …`"),
    ] {
        let mut facts = sound(CLIENT);
        refused(&mut facts, place, true);
        let first = &diagnose(&facts).findings[0];
        assert!(first.means.contains("--wrkers"), "{first:?}");
        assert!(first.cure[0].contains(cure), "{first:?}");
    }
}
