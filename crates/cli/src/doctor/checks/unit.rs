//! The unit of a service manager.

use udco_state::{Finding, Severity};

use crate::doctor::facts::{Facts, Loaded, PACKAGED, SETTINGS, Subject, Unit, Way};
use crate::doctor::finding::{More, Name, finding, word};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let (Subject::Unit(name), Some(unit)) = (&facts.subject, &facts.unit) else {
        return Vec::new();
    };
    match unit {
        Unit::NoSystemd(why) => vec![
            finding(
                Name::Unit,
                Severity::Error,
                name,
                format!("systemd cannot be asked: {why}"),
            )
            .cure("name OpenVPN's configuration instead: `udco doctor --config FILE`"),
        ],
        Unit::NotFound => vec![
            finding(
                Name::Unit,
                Severity::Error,
                name,
                "systemd knows no such unit",
            )
            .cure("`systemctl list-units --all 'openvpn*'` lists those that it knows"),
        ],
        Unit::NoOpenVpn { command } => vec![
            finding(
                Name::Unit,
                Severity::Error,
                name,
                format!("no OpenVPN can be seen in its command: {command}"),
            )
            .cure("name OpenVPN's configuration instead: `udco doctor --config FILE`"),
        ],
        Unit::Loaded(loaded) => of_loaded(facts, name, loaded),
    }
}

fn of_loaded(facts: &Facts, name: &str, loaded: &Loaded) -> Vec<Finding> {
    let mut found = Vec::new();
    if facts.launch.way == Way::Plain {
        found.push(plain(facts, name, loaded));
    }
    if loaded.denies_tun {
        found.push(
            finding(
                Name::Tun,
                Severity::Error,
                name,
                "the unit may not open /dev/net/tun",
            )
            .cure("add `DeviceAllow=/dev/net/tun rw` and `PrivateDevices=no` to its [Service]")
            .ends_offload(),
        );
    }
    if !loaded.denied_families.is_empty() {
        let families = loaded.denied_families.join(" ");
        let means =
            format!("the unit may open no socket of {families}, which OpenVPN or its engine needs");
        found.push(
            finding(Name::Unit, Severity::Error, name, means)
                .cure(format!(
                    "add `RestrictAddressFamilies={families}` to its [Service]"
                ))
                .ends_offload(),
        );
    }
    if found.is_empty() {
        let with = match (&facts.launch.engine, facts.launch.way) {
            (Some(engine), _) => format!(", with the shared engine at {}", engine.socket.display()),
            (None, Way::Run) => ", with an engine of its own".to_owned(),
            (None, _) => String::new(),
        };
        let means = format!("starts OpenVPN through udco{with}");
        found.push(finding(Name::Unit, Severity::Ok, name, means));
    }
    found
}

/// A unit that knows nothing of udco.
fn plain(facts: &Facts, name: &str, loaded: &Loaded) -> Finding {
    if facts.has_kernel_offload() {
        let means = "starts OpenVPN without udco: the kernel's own driver serves it";
        return finding(Name::Unit, Severity::Info, name, means);
    }
    let restart = format!(
        "then `systemctl restart {}`, which interrupts the tunnel",
        word(name)
    );
    if loaded.command.starts_with(PACKAGED) {
        let means = format!("UDCO_DISABLE in {SETTINGS} turns udco off for it");
        return finding(Name::Unit, Severity::Error, name, means)
            .cure(format!("take it out of UDCO_DISABLE in {SETTINGS}"))
            .cure(restart)
            .ends_offload();
    }
    let udco = facts.launch.udco.display();
    let quotes = match loaded.is_exact {
        true => "",
        false => ", and quotation marks where `systemctl cat` shows some",
    };
    let edit = format!("`systemctl edit {}`, with these lines{quotes}:", word(name));
    let means = "starts OpenVPN without udco";
    finding(Name::Unit, Severity::Error, name, means)
        .cure(edit)
        .cure("[Service]")
        .cure("ExecStart=")
        .cure(format!(
            "ExecStart={}{udco} run -- {}",
            loaded.prefixes, loaded.command
        ))
        .cure(restart)
        .ends_offload()
}
