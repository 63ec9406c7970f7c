//! What runs decides over what would be.

use udco_state::{Offload, Severity};

use super::{CLIENT, Facts, diagnose, exit_code, flaws, link, sound};
use crate::doctor::facts::{DataPath, Engine, OpenVpn, Serves};

fn runs(path: DataPath, is_examined: bool) -> Facts {
    let mut facts = sound(&format!("{CLIENT}dev tun0"));
    facts.running.openvpns.push(OpenVpn {
        pid: 712,
        command: "openvpn --config c.conf".into(),
        path,
    });
    facts.running.examined = is_examined.then_some(0);
    facts
}

#[test]
fn a_running_openvpn_with_offload_is_on() {
    let mut facts = runs(DataPath::Engine, true);
    facts.network.links.push(link("tun0", Serves::Engine));
    facts.running.engines.push(Engine {
        pid: 711,
        devices: vec!["tun0 (p2p, 1 peers)".into()],
    });
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.offload, Offload::On);
    assert_eq!(flaws(&diagnosis), Vec::<&str>::new());
    let serves = |it: &udco_state::Finding| it.about == "engine 711" && it.means.contains("tun0");
    assert!(diagnosis.findings.iter().any(serves), "{diagnosis:#?}");
}

/// It has the library, and no device: a client that has not reached its server.
#[test]
fn without_a_tunnel_nothing_is_on_yet() {
    let diagnosis = diagnose(&runs(DataPath::Engine, true));
    assert_eq!(diagnosis.offload, Offload::WouldBeOn);
    assert_eq!(flaws(&diagnosis), Vec::<&str>::new());
}

#[test]
fn the_kernels_driver_counts_as_offload() {
    let mut facts = runs(DataPath::NoDevice, true);
    facts.network.links.push(link("tun0", Serves::Driver));
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.offload, Offload::On);
    assert_eq!(flaws(&diagnosis), Vec::<&str>::new());
}

#[test]
fn a_running_openvpn_without_offload_is_off() {
    for (path, offload) in [
        (own(false), Offload::Off),
        (own(true), Offload::Off),
        (DataPath::NoDevice, Offload::WouldBeOff),
    ] {
        let mut facts = runs(path, true);
        facts.network.links.push(link("tun0", Serves::Other));
        let diagnosis = diagnose(&facts);
        assert_eq!(diagnosis.offload, offload);
        assert_eq!(flaws(&diagnosis), ["running"]);
        assert_eq!(diagnosis.reasons, ["process 712"]);
        assert_eq!(exit_code(&diagnosis), 9);
    }
}

/// Others may have their reasons.
#[test]
fn other_openvpns_are_listed_only() {
    for path in [
        own(false),
        DataPath::NoDevice,
        DataPath::Engine,
        DataPath::Unknown,
    ] {
        let diagnosis = diagnose(&runs(path, false));
        assert_eq!(flaws(&diagnosis), Vec::<&str>::new());
        let listed = |it: &&udco_state::Finding| it.name == "running";
        let listed = diagnosis.findings.iter().find(listed).unwrap();
        assert_eq!(listed.severity, Severity::Info);
        assert_eq!(diagnosis.offload, Offload::WouldBeOn);
    }
}

fn own(is_preloaded: bool) -> DataPath {
    DataPath::Own {
        device: "tun0".into(),
        is_preloaded,
    }
}
