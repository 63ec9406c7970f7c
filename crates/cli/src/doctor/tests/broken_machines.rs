//! Machines and files with one flaw each.

use udco_netlink::route::Preference::{Low, Medium};
use udco_state::Offload::{WouldBeOff, WouldBeOn};
use udco_state::Severity::{Error, Warning};

use super::{CLIENT, Case, has_one_flaw, link, path, route, route6, silent, sound};
use crate::doctor::facts::{
    Cause, Certificate, Facts, FileState, NamedFile, Release, Rights, Serves, Tun,
};
use crate::preloading::Obstacle;

const CASES: [Case; 29] = [
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
    (
        "memory",
        |it| it.limits.memory = Some((32 << 20) - 1),
        "memory",
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
        |it| it.network.defaults6.push(route6("wlan0", 1024, Medium)),
        "default-routes",
        Warning,
        WouldBeOn,
    ),
    (
        "two uplinks of IPv6 with the same preference, beside a better one",
        |it| {
            let defaults = &mut it.network.defaults6;
            defaults.extend(["wlan0", "wlan1"].map(|name| route6(name, 1024, Low)));
        },
        "default-routes",
        Warning,
        WouldBeOn,
    ),
    (
        "silent engine",
        |it| it.running.silent.push(silent(Cause::Stalled)),
        "engine-silent",
        Warning,
        WouldBeOn,
    ),
];

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

#[test]
fn each_flaw_is_named() {
    for (case, break_it, name, severity, offload) in CASES {
        let mut facts = sound(CLIENT);
        break_it(&mut facts);
        has_one_flaw(&facts, name, severity, offload, case);
    }
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
