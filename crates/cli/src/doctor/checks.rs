//! From facts to a diagnosis: all checks, in the order of their gravity.

mod clients;
mod configuration;
mod devices;
mod engine;
mod files;
mod launch;
mod limits;
mod machine;
mod options;
mod routing;
mod running;
mod settings;
mod unit;

use udco_state::{DIAGNOSIS_FORMAT, Diagnosis, Finding, Offload, Severity};

use super::facts::{DataPath, Facts, Serves, Subject, Unit};
use super::finding::Name;

/// What follows from the facts.
pub(super) fn diagnose(facts: &Facts) -> Diagnosis {
    let mut findings: Vec<Finding> = [
        unit::check,
        settings::check,
        launch::check,
        engine::check,
        options::check,
        machine::check,
        limits::check,
        files::check,
        clients::check,
        devices::check,
        routing::check,
        running::check,
    ]
    .iter()
    .flat_map(|check| check(facts))
    .collect();
    // Within a severity, what keeps offload off comes first, and else the order of the checks.
    findings.sort_by_key(|it| (it.severity, !it.rules_out_offload));
    let stops = findings.iter().filter(|it| it.rules_out_offload);
    let mut reasons: Vec<String> = stops.map(|it| it.about.clone()).collect();
    let unread = findings.iter().filter(|it| is_unread(it));
    let unread: Vec<String> = unread.map(|it| it.about.clone()).collect();
    let examined = facts.running.examined;
    let running = examined.and_then(|index| facts.running.openvpns.get(index));
    let offload = match running.map(|it| &it.path) {
        Some(DataPath::Engine) if has_device(facts) => Offload::On,
        None if is_machine_offloaded(facts) => Offload::On,
        Some(DataPath::NoDevice) if running::has_driver_device(facts) => Offload::On,
        Some(DataPath::Own { .. }) => Offload::Off,
        _ if !reasons.is_empty() => Offload::WouldBeOff,
        _ if !unread.is_empty() => Offload::Unknown,
        _ => Offload::WouldBeOn,
    };
    if offload == Offload::Unknown {
        reasons = unread;
    }
    if offload == Offload::On {
        reasons.clear();
    }
    Diagnosis {
        format: DIAGNOSIS_FORMAT,
        offload,
        reasons,
        findings,
    }
}

/// Whether an engine serves the device of the OpenVPN that is examined, as far as can be seen: else it has no tunnel yet.
fn has_device(facts: &Facts) -> bool {
    match devices::wanted(facts) {
        Some((_, name)) => {
            let mut links = facts.network.links.iter();
            links.any(|link| link.name == name && link.serves == Serves::Engine)
                || running::silent_devices(facts).any(|link| link.name == name)
        }
        None => running::has_all(facts),
    }
}

/// Whether the question is about the machine, and every OpenVPN on it that may be inspected has offload.
fn is_machine_offloaded(facts: &Facts) -> bool {
    let openvpns = &facts.running.openvpns;
    let mut known = openvpns.iter().filter(|it| it.path != DataPath::Unknown);
    matches!(facts.subject, Subject::Machine)
        && openvpns.iter().any(|it| it.path == DataPath::Engine)
        && known.all(|it| it.path == DataPath::Engine)
        && running::has_all(facts)
}

/// Whether a finding says that the unit or a part of the configuration is not known.
fn is_unread(finding: &Finding) -> bool {
    let names = [Name::Unit, Name::Configuration, Name::StandardInput].map(Name::as_str);
    finding.severity <= Severity::Warning && names.contains(&finding.name.as_ref())
}

/// Whether there is an OpenVPN to judge: not if the question was about the machine alone, or about a unit that starts
/// something else.
fn is_about_openvpn(facts: &Facts) -> bool {
    match (&facts.subject, &facts.unit) {
        (Subject::Machine, _) => false,
        (_, None | Some(Unit::Loaded(_))) => true,
        _ => false,
    }
}

/// The worst severity; `Ok` if there is no finding.
pub(super) fn worst(findings: &[Finding]) -> Severity {
    let worst = findings.iter().map(|it| it.severity).min();
    worst.unwrap_or(Severity::Ok)
}
