//! Configurations that are sound by themselves, on a machine that does not suit them.

use udco_state::Offload::{WouldBeOff, WouldBeOn};
use udco_state::Severity::{Error, Warning};
use udco_state::{Offload, Severity};

use super::broken_machines::{file, rights};
use super::{CLIENT, Change, SERVER, has_one_flaw, link, route, sound};
use crate::doctor::facts::{FileState, Serves};

type Case = (String, Change, &'static str, Severity, Offload);

#[test]
fn what_only_some_configurations_suffer_from_is_named() {
    let cases: [Case; 10] = [
        (
            format!("{CLIENT}user nobody"),
            |it| rights(it, true, false),
            "user-rights",
            Error,
            WouldBeOff,
        ),
        (
            format!("{CLIENT}dev eth0\ndev-type tun"),
            |_| (),
            "device-taken",
            Error,
            WouldBeOff,
        ),
        (
            format!("{CLIENT}dev tun0"),
            |it| it.network.links.push(link("tun0", Serves::Other)),
            "device-taken",
            Error,
            WouldBeOff,
        ),
        (
            format!("{CLIENT}dev tun0"),
            |it| it.network.links.push(link("tun0", Serves::Driver)),
            "device-taken",
            Warning,
            WouldBeOn,
        ),
        (
            format!("{CLIENT}redirect-gateway"),
            |it| it.network.defaults.push(route("wlan0", 600)),
            "default-routes",
            Warning,
            WouldBeOn,
        ),
        (
            format!("{SERVER}push \"route 10.0.0.0 255.0.0.0\""),
            |it| it.network.forwards4 = Some(false),
            "forwarding",
            Warning,
            WouldBeOn,
        ),
        (
            format!("{SERVER}push \"redirect-gateway def1\""),
            |it| it.network.forwards4 = Some(false),
            "forwarding",
            Warning,
            WouldBeOn,
        ),
        (
            format!("{SERVER}client-to-client"),
            |it| it.network.forwards4 = Some(false),
            "forwarding",
            Warning,
            WouldBeOn,
        ),
        (
            format!("{SERVER}push \"route-ipv6 fd01::/64\""),
            |it| it.network.forwards6 = Some(false),
            "forwarding",
            Warning,
            WouldBeOn,
        ),
        (
            CLIENT.into(),
            |it| {
                it.machine.is_seen_by_root = false;
                it.files = vec![file(FileState::Denied)];
            },
            "file",
            Warning,
            WouldBeOn,
        ),
    ];
    for (config, break_it, name, severity, offload) in cases {
        let mut facts = sound(&config);
        break_it(&mut facts);
        has_one_flaw(&facts, name, severity, offload, &config);
    }
}

/// Not every user may read what root may.
#[test]
fn a_configuration_of_root_is_no_flaw_of_its_own() {
    let denied = |_: &std::path::Path| Err("Permission denied".to_owned());
    let mut facts = sound(CLIENT);
    let words = ["--config".into(), "c.conf".into()];
    facts.reading = Some(udco_options::read(&words, "".as_ref(), denied));
    has_one_flaw(&facts, "configuration", Error, Offload::Unknown, "root");
    facts.machine.is_seen_by_root = false;
    has_one_flaw(&facts, "configuration", Warning, Offload::Unknown, "a user");
}
