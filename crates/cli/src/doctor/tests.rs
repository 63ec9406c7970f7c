//! Made-up machines: what is broken is named, and nothing else.

mod broken_configurations;
mod broken_machines;
mod broken_together;
mod broken_units;
mod clients;
mod cures;
mod engines;
mod page;
mod running;
mod sound;
mod units;

use std::path::{Path, PathBuf};

use udco_netlink::route::Preference;
use udco_options::read;
use udco_state::{Diagnosis, Offload, Severity};

use super::checks::diagnose;
use super::exit_code;
use super::facts::{
    Cause, DefaultRoute, Facts, Kernel, KernelDriver, Launch, Limits, Link, Machine, Network,
    Release, Rights, Running, Serves, Silent, Starter, Subject, Tun, Way,
};

/// What is changed in sound facts.
type Change = fn(&mut Facts);

/// What is broken, how, the finding, its severity, and what that means for offload.
type Case = (&'static str, Change, &'static str, Severity, Offload);

const CLIENT: &str = "client\ndev tun\nremote vpn.example.org\nca ca.crt\ncert c.crt\nkey c.key\n";
const SERVER: &str = "server 10.8.0.0 255.255.255.0\ntopology subnet\ndev tun\nca ca.crt\ncert s.crt\nkey s.key\ndh none\n";

/// An engine that does not answer.
fn silent(cause: Cause) -> Silent {
    Silent {
        pid: None,
        why: "it does not answer".into(),
        cause,
    }
}

/// A machine without a flaw, on which root starts an OpenVPN 2.6 with this configuration.
fn sound(config: &str) -> Facts {
    let files = |_: &Path| Ok(config.as_bytes().to_vec());
    let arguments = ["--config".into(), "c.conf".into()];
    Facts {
        subject: Subject::Config("c.conf".into()),
        reading: Some(read(&arguments, Path::new("/etc/openvpn"), files)),
        launch: Launch {
            way: Way::Run,
            udco: "/usr/bin/udco".into(),
            openvpn: Some("/usr/sbin/openvpn".into()),
            release: Some(Release(2, 6)),
            library: Ok("/usr/lib/udco/libudco_preload.so".into()),
            obstacle: None,
            engine: None,
        },
        unit: None,
        ignored: Vec::new(),
        refused: Vec::new(),
        machine: Machine {
            tun: Tun::Usable,
            kernel: Kernel {
                release: (6, 12),
                has_landlock: true,
                has_seccomp: true,
                driver: KernelDriver::Absent,
            },
            now: 1_795_941_918,
            is_seen_by_root: true,
        },
        starter: Starter {
            is_root: true,
            rights: Some(Rights {
                net_admin: true,
                setpcap: true,
            }),
        },
        limits: Limits {
            open_files: Some(1024),
            processes: Some(4096),
            tasks: None,
            memory: None,
            cores: 4,
        },
        files: Vec::new(),
        denied: Vec::new(),
        clients: None,
        certificates: Vec::new(),
        network: Network {
            links: vec![link("lo", Serves::Other), link("eth0", Serves::Other)],
            defaults: vec![route("eth0", 100)],
            defaults6: vec![route6("eth0", 1024, Preference::Medium)],
            forwards4: Some(true),
            forwards6: Some(true),
            strict: Vec::new(),
        },
        running: Running::default(),
    }
}

fn link(name: &str, serves: Serves) -> Link {
    let name = name.to_owned();
    Link { name, serves }
}

fn route(device: &str, metric: u32) -> DefaultRoute {
    DefaultRoute {
        device: device.to_owned(),
        metric,
        preference: None,
    }
}

/// A default route of IPv6.
fn route6(device: &str, metric: u32, preference: Preference) -> DefaultRoute {
    DefaultRoute {
        preference: Some(preference),
        ..route(device, metric)
    }
}

fn path(path: &str) -> PathBuf {
    path.into()
}

/// The names of errors and warnings.
fn flaws(diagnosis: &Diagnosis) -> Vec<&str> {
    let findings = diagnosis.findings.iter();
    let grave = findings.filter(|it| it.severity <= Severity::Warning);
    grave.map(|it| it.name.as_ref()).collect()
}

/// Checks that a broken set-up has exactly this flaw, and what that means for offload.
fn has_one_flaw(facts: &Facts, name: &str, severity: Severity, offload: Offload, case: &str) {
    let diagnosis = diagnose(facts);
    assert_eq!(flaws(&diagnosis), [name], "{case}: {diagnosis:#?}");
    let first = &diagnosis.findings[0];
    assert_eq!(first.severity, severity, "{case}: {first:?}");
    assert_eq!(diagnosis.offload, offload, "{case}: {first:?}");
    let is_off = matches!(offload, Offload::Off | Offload::WouldBeOff);
    assert_eq!(first.rules_out_offload, is_off, "{case}: {first:?}");
    assert_eq!(
        diagnosis.reasons.is_empty(),
        !is_off && offload != Offload::Unknown,
        "{case}"
    );
    let code = match severity {
        Severity::Warning => 8,
        _ if is_off => 9,
        _ => 10,
    };
    assert_eq!(exit_code(&diagnosis), code, "{case}");
    // What `udco show` says of an engine, and what has no effect, ends with its own remedy.
    if !matches!(name, "engine-silent" | "no-effect") {
        assert!(!first.cure.is_empty(), "{case}: {first:?}");
    }
}
