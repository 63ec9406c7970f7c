//! What runs decides over what would be.

use udco_state::{Offload, Severity};

use super::{CLIENT, Facts, diagnose, exit_code, flaws, link, silent, sound};
use crate::doctor::facts::{Cause, DataPath, Engine, OpenVpn, Serves, Subject};

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

/// Its engine is stopped, or cannot be asked: the tunnel has offload all the same.
#[test]
fn a_tunnel_of_an_engine_that_does_not_answer_is_on() {
    for (cause, code) in [(Cause::Stalled, 10), (Cause::Unseen, 8)] {
        for subject in [Subject::Config("c.conf".into()), Subject::Machine] {
            let mut facts = runs(DataPath::Engine, subject != Subject::Machine);
            facts.subject = subject;
            facts.network.links.push(link("tun0", Serves::Silent));
            let mut engine = silent(cause);
            engine.pid = Some(711);
            facts.running.silent.push(engine);
            let diagnosis = diagnose(&facts);
            assert_eq!(diagnosis.offload, Offload::On, "{diagnosis:#?}");
            assert_eq!(flaws(&diagnosis), ["engine-silent"]);
            assert_eq!(exit_code(&diagnosis), code);
            assert_eq!(diagnosis.findings[0].about, "engine 711");
        }
    }
    // Another user's engine: which device is whose is not known.
    let mut facts = runs(DataPath::Engine, true);
    facts.network.links.push(link("tun0", Serves::Silent));
    facts.running.silent.push(silent(Cause::Other));
    assert_eq!(diagnose(&facts).offload, Offload::WouldBeOn);
}

/// Its engine was killed, and that of another tunnel is stopped.
#[test]
fn a_stopped_engine_does_not_account_for_every_link() {
    for subject in [Subject::Config("c.conf".into()), Subject::Machine] {
        let is_machine = subject == Subject::Machine;
        let mut facts = runs(DataPath::Engine, !is_machine);
        facts.subject = subject;
        if is_machine {
            facts.running.openvpns.push(OpenVpn {
                pid: 713,
                command: "openvpn other.conf".into(),
                path: DataPath::Engine,
            });
        }
        facts.network.links.push(link("tun0", Serves::Unsure));
        facts.running.silent.push(silent(Cause::Stalled));
        let severity = |facts: &Facts| {
            let diagnosis = diagnose(facts);
            assert_eq!(diagnosis.offload, Offload::WouldBeOn, "{diagnosis:#?}");
            assert_eq!(flaws(&diagnosis), ["engine-silent"]);
            diagnosis.findings[0].severity
        };
        assert_eq!(severity(&facts), Severity::Warning, "it stops none");
        facts.network.links.push(link("tun1", Serves::Silent));
        assert_eq!(severity(&facts), Severity::Error, "it stops tun1");
    }
    // One of the two has it.
    let mut facts = runs(DataPath::Engine, true);
    facts.network.links.push(link("tun0", Serves::Silent));
    facts.running.silent.push(silent(Cause::Stalled));
    facts.running.silent.push(silent(Cause::Other));
    assert_eq!(diagnose(&facts).offload, Offload::WouldBeOn);
}

/// Another tunnel has one.
#[test]
fn the_device_of_another_is_not_its_own() {
    let mut facts = runs(DataPath::Engine, true);
    facts.network.links.push(link("tun7", Serves::Engine));
    facts.running.engines.push(Engine {
        pid: 711,
        devices: vec!["tun7 (p2p, 1 peers)".into()],
    });
    assert_eq!(diagnose(&facts).offload, Offload::WouldBeOn);
}

#[test]
fn a_machine_whose_openvpns_all_have_offload_is_on() {
    let engine = |name: &str| Engine {
        pid: 711,
        devices: vec![format!("{name} (p2p, 1 peers)")],
    };
    let mut facts = runs(DataPath::Engine, false);
    facts.subject = Subject::Machine;
    assert_eq!(diagnose(&facts).offload, Offload::WouldBeOn);
    facts.running.engines.push(engine("tun0"));
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.offload, Offload::On);
    let means = |diagnosis: &udco_state::Diagnosis| {
        let mut findings = diagnosis.findings.iter();
        let found = findings.find(|it| it.name == "running");
        found.map(|it| it.means.to_string()).unwrap_or_default()
    };
    let means_of_one = means(&diagnosis);
    assert!(
        means_of_one.starts_with("has offload by udco ("),
        "{means_of_one}"
    );
    // Another user's is not known, and nobody's business.
    let other = |path| OpenVpn {
        pid: 713,
        command: "openvpn".into(),
        path,
    };
    facts.running.openvpns.push(other(DataPath::Unknown));
    assert_eq!(diagnose(&facts).offload, Offload::On);
    // A second one has no device yet, or none of udco's.
    facts.running.openvpns.push(other(DataPath::Engine));
    assert_eq!(diagnose(&facts).offload, Offload::WouldBeOn);
    facts.running.openvpns.pop();
    facts.running.openvpns.push(other(own(true)));
    assert_eq!(diagnose(&facts).offload, Offload::WouldBeOn);
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
