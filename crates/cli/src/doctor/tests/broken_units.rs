//! Units and settings of the package with one flaw each.

use udco_state::Offload::{Unknown, WouldBeOff, WouldBeOn};
use udco_state::Severity::{Error, Warning};

use super::{CLIENT, Case, has_one_flaw, sound};
use crate::doctor::facts::{Facts, Ignored, Loaded, Subject, Unit, Useless, Way};

const CASES: [Case; 7] = [
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
