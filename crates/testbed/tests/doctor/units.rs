//! Units. systemd is played by a script.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Result, ensure};
use udco_testbed::{Host, Launch, Pair, Proto};

use crate::{Said, pair};

/// A unit that starts OpenVPN with `office.conf`.
struct Unit<'a> {
    host: &'a Host,
    directory: String,
}

impl<'a> Unit<'a> {
    fn new(pair: &'a Pair) -> Result<Self> {
        let host = &pair.client;
        let office = pair.client(Proto::Udp4).named("office");
        office.launch(Launch::Udco).write()?;
        let directory = host.directory().to_string_lossy().into_owned();
        fs::create_dir_all(format!("{directory}/bin"))?;
        Ok(Self { host, directory })
    }

    /// A program in the place of systemd's.
    fn program(&self, name: &str, text: &str) -> Result<()> {
        let path = Path::new(&self.directory).join("bin").join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
        Ok(())
    }

    fn diagnosis(&self) -> Result<Said> {
        let bin = format!("{}/bin:", self.directory);
        Said::with(self.host, &bin, &["openvpn-client@office"])
    }

    /// What is said of the unit with this command and further properties.
    fn said(&self, command: &str, more: &str) -> Result<Said> {
        let path = match command.split(' ').next() {
            Some("udco") => "/usr/bin/udco",
            first => first.unwrap_or_default(),
        };
        let properties = format!(
            "LoadState=loaded\nMainPID=0\nExecStart={{ path={path} ; argv[]={command} ; ignore_errors=no }}\n\
             WorkingDirectory={}\nCapabilityBoundingSet=cap_net_admin cap_setpcap\n{more}",
            self.directory
        );
        let script = format!("#!/bin/sh\ncat <<'END'\n{properties}\nEND\n");
        self.program("systemctl", &script)?;
        self.diagnosis()
    }
}

#[test]
fn a_unit_is_examined_as_systemd_describes_it() -> Result<()> {
    let Some(pair) = pair()? else { return Ok(()) };
    let unit = Unit::new(&pair)?;
    let said = |command: &str, more: &str| unit.said(command, more);
    let plain = said("/usr/sbin/openvpn --config office.conf", "")?;
    plain.is("would-be-off", &["unit"])?;
    ensure!(plain.has("unit", "without udco"), "{:#}", plain.json);
    let run = "udco run -- /usr/sbin/openvpn --config office.conf";
    said(run, "")?.is("would-be-on", &[])?;
    for (more, name) in [
        ("LimitNOFILESoft=16", "open-files"),
        ("TasksMax=4", "processes"),
        ("PrivateDevices=yes", "tun"),
        ("RestrictAddressFamilies=AF_INET AF_INET6", "unit"),
    ] {
        let said = said(run, more)?;
        said.is("would-be-off", &[name])?;
    }
    // Variables are replaced, and a file of them must be there.
    let options = "Environment=\"OPTIONS=--config office.conf\"";
    let variable = "udco run -- /usr/sbin/openvpn $OPTIONS";
    said(variable, options)?.is("would-be-on", &[])?;
    let missing = "EnvironmentFiles=/no/such/file (ignore_errors=no)";
    let lost = said(variable, &format!("{options}\n{missing}"))?;
    lost.is("would-be-on", &["file"])?;
    ensure!(lost.has("file", "does not exist"), "{:#}", lost.json);
    let wrapped = said("/usr/bin/vpn-wrapper start", "")?;
    wrapped.is("unknown", &["unit"])?;
    // Root may read what its directory hides from others.
    fs::set_permissions(&unit.directory, PermissionsExt::from_mode(0o700))?;
    let other = said(run, "User=nobody")?;
    ensure!(
        other.has("file", "by the unit's `User=`, nobody"),
        "{:#}",
        other.json
    );
    // The bus has the words one by one.
    let named = Path::new(&unit.directory);
    fs::rename(named.join("office.conf"), named.join("my office.conf"))?;
    let words =
        r#"{"data":[["/usr/sbin/openvpn",["/usr/sbin/openvpn","--config","my office.conf"]]]}"#;
    unit.program("busctl", &format!("#!/bin/sh\necho '{words}'\n"))?;
    let spaced = said("/usr/sbin/openvpn --config my office.conf", "")?;
    spaced.is("would-be-off", &["unit"])?;
    let cure = "run -- /usr/sbin/openvpn --config \\\"my office.conf\\\"";
    ensure!(spaced.json.to_string().contains(cure), "{:#}", spaced.json);
    unit.program("systemctl", "#!/bin/sh\necho LoadState=not-found\n")?;
    unit.diagnosis()?.is("unknown", &["unit"])?;
    unit.program("systemctl", "#!/bin/sh\necho 'no systemd' >&2; exit 1\n")?;
    let said = unit.diagnosis()?;
    said.is("unknown", &["unit"])?;
    ensure!(said.has("unit", "no systemd"), "{:#}", said.json);
    Ok(())
}
