//! The units that are packed.

mod run_openvpn;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::check;

const SERVER: &str = "openvpn-server@.service";

/// A directory of units, and what the generator makes of them.
struct Units(PathBuf);

impl Units {
    fn new(name: &str) -> Self {
        let name = format!("udco-units-{name}-{}", std::process::id());
        let units = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(units.0.join("etc")).unwrap();
        fs::create_dir_all(units.0.join("lib")).unwrap();
        units
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The drop-in for this unit; `None` if it gets none.
    fn drop_in(&self, unit: &str) -> Option<String> {
        let made = self.0.join("made");
        let directories = format!("{0}/etc {0}/lib", self.0.display());
        let status = Command::new(packaging("systemd/udco-generator"))
            .arg(&made)
            .env("UDCO_TEST_UNITS", directories)
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
        fs::read_to_string(made.join(format!("{unit}.d/10-udco.conf"))).ok()
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn packaging(file: &str) -> PathBuf {
    check::workspace().unwrap().join("packaging").join(file)
}

fn unit(command: &str) -> String {
    format!("[Service]\nType=notify\nLimitNPROC=10\nExecStart={command}\n")
}

#[test]
fn the_units_own_command_is_kept() {
    let units = Units::new("own");
    let command = "/usr/sbin/openvpn --status %t/%i --config %i.conf";
    units.write(&format!("lib/{SERVER}"), &unit(command));
    units.write("lib/openvpn@.service", &(unit(command) + "TasksMax=10\n"));
    let drop_in = units.drop_in(SERVER).unwrap();
    let line = format!("\nExecStart=\nExecStart=/usr/lib/udco/run-openvpn %n {command}\n");
    assert!(drop_in.contains(&line), "{drop_in}");
    assert!(drop_in.contains("LimitNPROC=infinity") && !drop_in.contains("TasksMax"));
    let drop_in = units.drop_in("openvpn@.service").unwrap();
    assert!(drop_in.contains("TasksMax=1024"), "{drop_in}");
    assert_eq!(units.drop_in("openvpn-client@.service"), None);

    // The administrator's copy, and one for a single tunnel.
    let own = "/opt/openvpn/sbin/openvpn \\\n  --cd /srv \\\n  --config %i.conf";
    units.write(&format!("etc/{SERVER}"), &unit(own));
    units.write(
        "etc/openvpn-server@a.service",
        &unit("/sbin/openvpn --daemon"),
    );
    let drop_in = units.drop_in(SERVER).unwrap();
    assert!(
        drop_in.contains("%n /opt/openvpn/sbin/openvpn"),
        "{drop_in}"
    );
    assert!(drop_in.contains("--config %i.conf\n"), "{drop_in}");
    assert!(units.drop_in("openvpn-server@a.service").is_some());
}

#[test]
fn what_stands_before_a_command_stays_before_it() {
    let units = Units::new("prefix");
    for prefix in ["-", "+", "!!", ":", "-+", "-:!"] {
        let command = "/usr/sbin/openvpn --config %i.conf";
        units.write(
            &format!("lib/{SERVER}"),
            &unit(&format!("{prefix}{command}")),
        );
        let drop_in = units.drop_in(SERVER).unwrap();
        let line = format!("\nExecStart={prefix}/usr/lib/udco/run-openvpn %n {command}\n");
        assert!(drop_in.contains(&line), "{drop_in}");
    }
}

#[test]
fn what_the_administrator_has_changed_is_left_alone() {
    let units = Units::new("changed");
    let plain = unit("/usr/sbin/openvpn --config %i.conf");
    units.write(&format!("lib/{SERVER}"), &plain);
    units.write(
        &format!("etc/{SERVER}.d/override.conf"),
        "[Service]\nExecStart=\nExecStart=/usr/bin/env openvpn\n",
    );
    assert_eq!(units.drop_in(SERVER), None);
    for (name, command) in [
        ("script", "/usr/local/bin/start-vpn %i"),
        ("renamed", "@/usr/sbin/openvpn vpn --config %i.conf"),
        (
            "twice",
            "/usr/sbin/openvpn a\nExecStart=/usr/sbin/openvpn b",
        ),
    ] {
        let units = Units::new(name);
        units.write(&format!("lib/{SERVER}"), &unit(command));
        assert_eq!(units.drop_in(SERVER), None, "{command}");
    }
    let units = Units::new("masked");
    units.write(&format!("lib/{SERVER}"), &plain);
    symlink("/dev/null", units.0.join(format!("etc/{SERVER}"))).unwrap();
    assert_eq!(units.drop_in(SERVER), None);
}

#[test]
fn systemd_understands_the_units() {
    let units = Units::new("verify");
    let program = |text: &str| text.replace("/usr/bin/udco ", "/bin/true ");
    for name in ["udco.service", "udco-metrics.service"] {
        let text = fs::read_to_string(packaging(&format!("systemd/{name}"))).unwrap();
        units.write(&format!("lib/{name}"), &program(&text));
    }
    units.write(
        &format!("lib/{SERVER}"),
        &unit("/usr/sbin/openvpn --config %i.conf"),
    );
    let drop_in = units.drop_in(SERVER).unwrap();
    let drop_in = drop_in.replace("/usr/lib/udco/run-openvpn ", "/bin/true ");
    units.write(&format!("lib/{SERVER}.d/10-udco.conf"), &drop_in);
    units.write("lib/basic.target", "");
    let library = units.0.join("lib");
    let verified = Command::new("systemd-analyze")
        .args([
            "verify",
            "--man=no",
            "udco.service",
            "udco-metrics.service",
            "openvpn-server@a.service",
        ])
        .env("SYSTEMD_UNIT_PATH", format!("{}:", library.display()))
        .output();
    match verified {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let ours = said.lines().filter(|line| is_about(line, &library));
            let ours: Vec<&str> = ours.collect();
            assert!(output.status.success() && ours.is_empty(), "{said}");
        }
        Err(_) => println!("SKIPPED: no systemd-analyze"),
    }
}

/// Whether it is about a unit of ours.
fn is_about(line: &str, library: &Path) -> bool {
    let names = ["udco.service", "udco-metrics.service", "openvpn-server@"];
    line.contains(&*library.to_string_lossy()) || names.iter().any(|name| line.contains(name))
}
