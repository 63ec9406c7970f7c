//! Running engines and OpenVPNs.

use udco_state::{Finding, Severity};

use crate::doctor::facts::{Cause, DataPath, Engine, Facts, Link, OpenVpn, Serves, Silent};
use crate::doctor::finding::{More, Name, finding};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let running = &facts.running;
    let mut found: Vec<_> = running.engines.iter().map(engine).collect();
    found.extend(running.silent.iter().map(|it| silent(facts, it)));
    let examined = running.examined;
    let openvpns = running.openvpns.iter().enumerate();
    found.extend(openvpns.map(|(index, it)| openvpn(facts, it, examined == Some(index))));
    found
}

/// Whether each OpenVPN with the library has a device, as far as can be seen: the engines serve at least as many.
pub(super) fn has_all(facts: &Facts) -> bool {
    let running = &facts.running;
    let openvpns = running.openvpns.iter();
    let with_library = openvpns.filter(|it| it.path == DataPath::Engine).count();
    let answering: usize = running.engines.iter().map(|it| it.devices.len()).sum();
    let devices = answering + silent_devices(facts).count();
    devices > 0 && devices >= with_library
}

/// Devices of engines that are stopped or hang, or whose sockets are not seen here; none if they may be another user's.
pub(super) fn silent_devices(facts: &Facts) -> impl Iterator<Item = &Link> {
    let silent = &facts.running.silent;
    let are_known = !silent.is_empty() && silent.iter().all(|it| it.cause != Cause::Other);
    let links = facts.network.links.iter();
    links.filter(move |link| are_known && link.serves == Serves::Silent)
}

/// One that is stopped or hangs stops the tunnels that it has.
fn silent(facts: &Facts, engine: &Silent) -> Finding {
    let about = match engine.pid {
        Some(pid) => format!("engine {pid}"),
        None => "an engine".to_owned(),
    };
    let stops_any = engine.cause == Cause::Stalled && silent_devices(facts).next().is_some();
    let severity = match stops_any {
        true => Severity::Error,
        false => Severity::Warning,
    };
    finding(Name::EngineSilent, severity, about, &engine.why)
}

/// Whether the kernel's own driver serves a device.
pub(super) fn has_driver_device(facts: &Facts) -> bool {
    let mut links = facts.network.links.iter();
    links.any(|it| it.serves == Serves::Driver)
}

fn engine(engine: &Engine) -> Finding {
    let means = match engine.devices.as_slice() {
        [] => "runs, and no program has made a device".to_owned(),
        devices => format!("serves {}", devices.join(", ")),
    };
    finding(
        Name::Engine,
        Severity::Info,
        format!("engine {}", engine.pid),
        means,
    )
}

fn openvpn(facts: &Facts, openvpn: &OpenVpn, is_examined: bool) -> Finding {
    let about = format!("process {}", openvpn.pid);
    let command = &openvpn.command;
    let (means, is_off) = match &openvpn.path {
        DataPath::Unknown => ("belongs to another user".to_owned(), false),
        DataPath::Engine if has_all(facts) => ("has offload by udco".to_owned(), false),
        DataPath::Engine => ("has offload by udco, or no tunnel yet".to_owned(), false),
        DataPath::NoDevice if has_driver_device(facts) => (
            "runs without udco; offload by the kernel's own driver, or no tunnel yet".to_owned(),
            false,
        ),
        DataPath::NoDevice => ("runs without udco, and has no tunnel yet".to_owned(), true),
        DataPath::Own {
            device,
            is_preloaded: false,
        } => (
            format!("moves the packets of {device} itself, without udco"),
            true,
        ),
        DataPath::Own {
            device,
            is_preloaded: true,
        } => (
            format!(
                "moves the packets of {device} itself, although it has udco's library; its log says why offload is off"
            ),
            true,
        ),
    };
    let means = format!("{means} ({command})");
    // Others on this machine may run without udco on purpose.
    let severity = if is_off && is_examined {
        Severity::Error
    } else {
        Severity::Info
    };
    let found = finding(Name::Running, severity, about, means);
    if !(is_off && is_examined) {
        return found;
    }
    found
        .cure("once the rest is fixed, restart it with `udco run`, which interrupts the tunnel")
        .ends_offload()
}
