//! Machines, units and files with one flaw each.

use udco_state::Offload::{Unknown, WouldBeOff, WouldBeOn};
use udco_state::Severity::{Error, Warning};
use udco_state::{Offload, Severity};

use super::{CLIENT, Change, has_one_flaw, link, path, route, sound};
use crate::doctor::facts::{
    Certificate, Facts, FileState, Ignored, Loaded, NamedFile, Release, Rights, Serves, Subject,
    Tun, Unit, Useless, Way,
};
use crate::preloading::Obstacle;

type Case = (&'static str, Change, &'static str, Severity, Offload);

const CASES: [Case; 34] = [
    (
        "no openvpn",
        |it| it.launch.openvpn = None,
        "openvpn",
        Error,
        WouldBeOff,
    ),
    (
        "2.5",
        |it| it.launch.release = Some(Release(2, 5)),
        "openvpn",
        Error,
        WouldBeOff,
    ),
    (
        "2.4",
        |it| it.launch.release = Some(Release(2, 4)),
        "openvpn",
        Error,
        WouldBeOff,
    ),
    (
        "no release",
        |it| it.launch.release = None,
        "openvpn",
        Warning,
        WouldBeOn,
    ),
    (
        "no library",
        |it| it.launch.library = Err("is missing".into()),
        "preload",
        Error,
        WouldBeOff,
    ),
    (
        "sudo, setuid, static, musl",
        obstacle,
        "preload",
        Error,
        WouldBeOff,
    ),
    (
        "no tun",
        |it| it.machine.tun = Tun::Missing,
        "tun",
        Error,
        WouldBeOff,
    ),
    (
        "no driver",
        |it| it.machine.tun = Tun::NoDriver,
        "tun",
        Error,
        WouldBeOff,
    ),
    (
        "tun denied",
        |it| it.machine.tun = Tun::Denied,
        "tun",
        Error,
        WouldBeOff,
    ),
    (
        "tun broken",
        |it| it.machine.tun = Tun::Broken("I/O error".into()),
        "tun",
        Error,
        WouldBeOff,
    ),
    (
        "no net_admin",
        |it| rights(it, false, true),
        "net-admin",
        Warning,
        WouldBeOn,
    ),
    (
        "files",
        |it| it.limits.open_files = Some(32),
        "open-files",
        Error,
        WouldBeOff,
    ),
    (
        "tasks",
        |it| it.limits.tasks = Some(8),
        "processes",
        Error,
        WouldBeOff,
    ),
    ("processes", few_processes, "processes", Error, WouldBeOff),
    (
        "clock",
        |it| it.machine.now = 100,
        "clock",
        Error,
        WouldBeOn,
    ),
    (
        "expired",
        |it| it.certificates = vec![valid(0, 10)],
        "certificate",
        Error,
        WouldBeOn,
    ),
    (
        "early",
        |it| it.certificates = vec![valid(2_000_000_000, 2_100_000_000)],
        "certificate",
        Error,
        WouldBeOn,
    ),
    (
        "expires soon",
        |it| it.certificates = vec![valid(0, 1_796_000_000)],
        "certificate",
        Warning,
        WouldBeOn,
    ),
    (
        "no key",
        |it| it.files = vec![file(FileState::Missing)],
        "file",
        Error,
        WouldBeOn,
    ),
    (
        "empty key",
        |it| it.files = vec![file(FileState::Empty)],
        "file",
        Error,
        WouldBeOn,
    ),
    (
        "unreadable",
        |it| it.files = vec![file(FileState::Unreadable("it is a directory".into()))],
        "file",
        Error,
        WouldBeOn,
    ),
    (
        "denied to root",
        |it| it.files = vec![file(FileState::Denied)],
        "file",
        Error,
        WouldBeOn,
    ),
    (
        "world-readable",
        |it| it.files = vec![file(FileState::Good(0o644))],
        "key-exposed",
        Warning,
        WouldBeOn,
    ),
    (
        "left",
        |it| it.network.links.push(link("tun3", Serves::Nothing)),
        "left-device",
        Warning,
        WouldBeOn,
    ),
    (
        "two uplinks",
        |it| it.network.defaults.push(route("wlan0", 100)),
        "default-routes",
        Warning,
        WouldBeOn,
    ),
    (
        "two uplinks of IPv6",
        |it| it.network.defaults6.push(route("wlan0", 1024)),
        "default-routes",
        Warning,
        WouldBeOn,
    ),
    (
        "silent engine",
        |it| it.running.silent.push("it does not answer".into()),
        "engine-silent",
        Warning,
        WouldBeOn,
    ),
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
        |it| it.subject = Subject::Unit("x".into()),
        "unit",
        Error,
        Unknown,
    ),
];

fn ignored(facts: &mut Facts, line: Option<usize>, why: Useless) {
    unit(facts, Way::Run, Loaded::default());
    facts.ignored.push(Ignored { line, why });
}

fn obstacle(facts: &mut Facts) {
    facts.launch.obstacle = Some(Obstacle {
        cause: "`sudo` drops the preload library".into(),
        cure: "put `udco run --` right before `openvpn`".into(),
    });
}

pub(super) fn rights(facts: &mut Facts, net_admin: bool, setpcap: bool) {
    facts.starter.rights = Some(Rights { net_admin, setpcap });
}

fn few_processes(facts: &mut Facts) {
    facts.limits.processes = Some(10);
}

fn valid(not_before: i64, not_after: i64) -> Certificate {
    Certificate {
        option: "cert (c.conf:5)".into(),
        not_before,
        not_after,
    }
}

pub(super) fn file(state: FileState) -> NamedFile {
    NamedFile {
        option: "key (c.conf:6)".into(),
        path: path("/etc/openvpn/c.key"),
        is_secret: true,
        state,
        beside: None,
    }
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
        if case == "unknown unit" {
            facts.unit = Some(Unit::NotFound);
            facts.reading = None;
        }
        has_one_flaw(&facts, name, severity, offload, case);
    }
}

#[test]
fn a_shared_engine_that_does_not_answer_is_named() {
    let mut facts = sound(CLIENT);
    facts.launch.engine_trouble = Some((path("/run/udco/engine.sock"), "no engine there".into()));
    has_one_flaw(&facts, "engine-silent", Error, WouldBeOff, "no engine");
}

/// An authority that was replaced is left in its file.
#[test]
fn an_expired_authority_beside_a_valid_one_is_no_flaw() {
    let mut facts = sound(CLIENT);
    let authority = |end| Certificate {
        option: "ca (c.conf:4)".into(),
        not_before: 0,
        not_after: end,
    };
    facts.certificates = vec![authority(1000), authority(4_000_000_000)];
    assert_eq!(super::flaws(&super::diagnose(&facts)), Vec::<&str>::new());
    facts.certificates.truncate(1);
    has_one_flaw(&facts, "certificate", Error, WouldBeOn, "the only one");
}
