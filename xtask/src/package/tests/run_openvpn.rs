//! What `run-openvpn` starts, whatever is in `/etc/default/udco`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use super::packaging;

const OFFLOADED: &str = "udco run -- openvpn --config a.conf";
const PLAIN: &str = "openvpn --config a.conf";

/// A directory with the settings, and with programs that print how they are started.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str) -> Self {
        let name = format!("udco-settings-{name}-{}", std::process::id());
        let machine = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&machine.0).unwrap();
        for name in ["udco", "openvpn"] {
            let program = machine.0.join(name);
            fs::write(&program, format!("#!/bin/sh\necho {name} \"$@\"\n")).unwrap();
            fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let script = fs::read_to_string(packaging("openvpn/run-openvpn")).unwrap();
        let script = script.replace(
            "=/etc/default/udco",
            &format!("={}", machine.path("settings")),
        );
        fs::write(
            machine.0.join("run-openvpn"),
            script.replace("/usr/bin/udco", &machine.path("udco")),
        )
        .unwrap();
        machine
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// What the unit's start prints on standard output, and on standard error.
    fn start(&self) -> (String, String) {
        let openvpn = self.path("openvpn");
        let output = Command::new("timeout")
            .args(["20", "sh", "run-openvpn", "openvpn-client@a.service"])
            .args([openvpn.as_str(), "--config", "a.conf"])
            .current_dir(&self.0)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.replace(&format!("{}/", self.0.display()), "")
        };
        assert!(output.status.success(), "{output:?}");
        (
            text(&output.stdout).trim_end().to_owned(),
            text(&output.stderr),
        )
    }

    fn start_with(&self, settings: &[u8]) -> (String, String) {
        fs::write(self.0.join("settings"), settings).unwrap();
        self.start()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn settings_are_read_however_they_were_saved() {
    let machine = Machine::new("saved");
    let workers = "udco run --workers 2 -- openvpn --config a.conf";
    for (settings, started) in [
        ("", OFFLOADED),
        ("UDCO_DISABLE=\"\"\nUDCO_RUN_OPTIONS=\"\"\n", OFFLOADED),
        ("UDCO_DISABLE=\"openvpn-client@b\"\n", OFFLOADED),
        (
            "UDCO_DISABLE=\"openvpn-client@b openvpn-client@a\"\n",
            PLAIN,
        ),
        ("UDCO_DISABLE=openvpn-client@a.service", PLAIN),
        ("UDCO_DISABLE=all\nUDCO_DISABLE=\n", OFFLOADED),
        ("\u{feff}UDCO_DISABLE='all'", PLAIN),
        (
            "\u{feff}# How udco runs.\r\n\r\nUDCO_DISABLE=\"all\"\r\n",
            PLAIN,
        ),
        ("UDCO_RUN_OPTIONS=\"\"\r\n", OFFLOADED),
        ("UDCO_RUN_OPTIONS=\"--workers 2\"\r\n", workers),
        ("UDCO_RUN_OPTIONS=--workers 2  # two\n", workers),
        ("  export UDCO_RUN_OPTIONS='--workers 2' # two\n", workers),
        ("UDCO_RUN_OPTIONS=\"--workers \\\n  2\"\n", workers),
        ("UDCO_DISABLE=all \\", PLAIN),
        ("UDCO_DISABLE=openvpn-\\\nclient@a", PLAIN),
        ("UDCO_DISABLE='my\\x2doffice openvpn-client@a'", PLAIN),
        ("UDCO_DISABLE=all\t# b # c", PLAIN),
        (
            "UDCO_DAEMON_OPTIONS=\"--allow-gid 7\"\nUDCO_METRICS_OPTIONS=\n",
            OFFLOADED,
        ),
    ] {
        let wanted = (started.to_owned(), String::new());
        assert_eq!(
            machine.start_with(settings.as_bytes()),
            wanted,
            "{settings:?}"
        );
    }
    let packed = fs::read(packaging("openvpn/default")).unwrap();
    assert_eq!(
        machine.start_with(&packed),
        (OFFLOADED.to_owned(), String::new())
    );
}

/// OpenVPN starts all the same, and nothing in the file is run.
#[test]
fn what_is_no_setting_is_named_and_ignored() {
    let machine = Machine::new("words");
    for (settings, number) in [
        ("touch harm\nUDCO_DISABLE=b\n", 1),
        ("\nUDCO_DISABEL=all\n", 2),
        ("UDCO_DISABLE=\"all\n", 1),
        ("UDCO_DISABLE=\"all\" too\n", 1),
        ("UDCO_DISABLE=\"$(touch harm)\"\n", 1),
        ("UDCO_RUN_OPTIONS=`touch harm`\n", 1),
        ("if\n", 1),
        (&format!("UDCO_DISABLE={}\n", "all ".repeat(1025)), 1),
    ] {
        let (started, said) = machine.start_with(settings.as_bytes());
        assert_eq!(started, OFFLOADED, "{settings}");
        assert_eq!(said.lines().count(), 1, "{settings}{said}");
        assert!(
            said.starts_with(&format!("udco: settings:{number}: ")),
            "{said}"
        );
        assert!(!machine.0.join("harm").exists(), "{settings}");
    }
    let (started, said) = machine.start_with(b"\xff\xfeU\0D\0C\0O\0\n\0");
    assert_eq!(started, OFFLOADED);
    assert!(said.contains("not a setting of udco"), "{said}");
    for word in ["yes", "1", "ALL"] {
        let (started, said) = machine.start_with(format!("UDCO_DISABLE={word}").as_bytes());
        assert_eq!(started, OFFLOADED);
        assert!(said.contains("\"all\" stands for all units"), "{said}");
    }
    // A pattern of files stays as it is.
    let (started, said) = machine.start_with(b"UDCO_DISABLE=*\n");
    assert_eq!((started.as_str(), said.as_str()), (OFFLOADED, ""));
}

#[test]
fn what_is_no_file_does_not_hold_up_the_start() {
    let machine = Machine::new("kinds");
    let settings = machine.0.join("settings");
    assert_eq!(machine.start(), (OFFLOADED.to_owned(), String::new()));
    for kind in ["pipe", "device", "directory"] {
        match kind {
            "pipe" => assert!(
                Command::new("mkfifo")
                    .arg(&settings)
                    .status()
                    .unwrap()
                    .success()
            ),
            "device" => symlink("/dev/zero", &settings).unwrap(),
            _ => fs::create_dir(&settings).unwrap(),
        }
        let (started, said) = machine.start();
        assert_eq!(started, OFFLOADED, "{kind}");
        assert_eq!(
            said, "udco: settings is not a regular file, ignored\n",
            "{kind}"
        );
        let _ = fs::remove_file(&settings);
    }
}
