//! Units. systemd is played by a script.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Result, ensure};
use udco_testbed::{Host, Launch, Pair, Process, Proto, Signal, skip, udco};

use crate::{SOON, Said, pair};

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
        ("LimitASSoft=33554432", "memory"),
        ("LimitASSoft=infinity\nLimitDATASoft=31457280", "memory"),
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

/// The engine decides, asked as the unit's user.
#[test]
fn a_shared_engine_that_the_units_user_may_not_use_is_named() -> Result<()> {
    let Some(pair) = pair()? else { return Ok(()) };
    let unit = Unit::new(&pair)?;
    if !unit.host.is_privileged() {
        skip("no second user in an unprivileged lab");
        return Ok(());
    }
    let run = "udco run --engine /run/udco/engine.sock -- /usr/sbin/openvpn --config office.conf";
    let said = |user: &str| unit.said(run, user);
    let is_denied = |said: &Said, means: &str| {
        ensure!(said.json["offload"] == "would-be-off", "{:#}", said.json);
        ensure!(said.has("engine-denied", means), "{:#}", said.json);
        Ok(())
    };
    let is_let_in = |said: &Said| {
        let flaws = said.flaws();
        let is_flaw = flaws.contains("engine-denied") || flaws.contains("engine-silent");
        ensure!(!is_flaw, "{:#}", said.json);
        Ok(())
    };
    let as_nobody = |words: &str| -> Result<Option<i32>> {
        let nobody = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        let words = udco::words(words)?;
        Ok(unit
            .host
            .output(&[&nobody[..], &words].concat())?
            .status
            .code())
    };
    let show = "show --engine /run/udco/engine.sock";
    let own_data_path = "OpenVPN would use its own data path";
    let start = |options: &[&str]| udco::daemon(unit.host, "daemon", options);
    let chmod = |mode, path| unit.host.run(&["chmod", mode, path]);
    let end = |mut daemon: Process| -> Result<()> {
        daemon.signal(Signal::TERM)?;
        daemon.wait(SOON)?;
        Ok(())
    };

    let daemon = start(&[])?;
    said("")?.is("would-be-on", &[])?;
    is_denied(&said("User=nobody")?, own_data_path)?;
    is_denied(&said("DynamicUser=yes")?, own_data_path)?;
    ensure!(as_nobody(show)? == Some(4), "nobody may use it");
    // Whoever opens the file has not opened the engine.
    chmod("666", "/run/udco/engine.sock")?;
    is_denied(&said("User=nobody")?, own_data_path)?;
    ensure!(as_nobody(show)? == Some(4), "the engine serves nobody");
    end(daemon)?;

    let daemon = start(&["--allow-uid", "65534"])?;
    is_let_in(&said("User=nobody")?)?;
    ensure!(as_nobody(show)? == Some(0), "nobody may not use it");
    is_denied(&said("DynamicUser=yes")?, own_data_path)?;
    // `udco run` does not get as far as that.
    chmod("700", "/run/udco")?;
    is_denied(&said("User=nobody")?, "`udco run` would not start OpenVPN")?;
    let run = "run --engine /run/udco/engine.sock -- true";
    ensure!(as_nobody(run)? == Some(125), "it starts");
    chmod("755", "/run/udco")?;
    end(daemon)?;

    let _daemon = start(&["--allow-gid", "65534"])?;
    is_let_in(&said("DynamicUser=yes\nSupplementaryGroups=nogroup")?)?;
    is_let_in(&said("User=daemon\nGroup=nogroup")?)?;
    is_denied(&said("User=daemon")?, own_data_path)?;
    Ok(())
}

/// `udco show` looks for sockets in the usual directories only.
#[test]
fn an_engine_that_a_unit_names_is_known_wherever_it_listens() -> Result<()> {
    let Some(pair) = pair()? else { return Ok(()) };
    let unit = Unit::new(&pair)?;
    let socket = format!("{}/engine.sock", unit.directory);
    let _daemon = udco::daemon(unit.host, "daemon", &["--socket", &socket])?;
    let words = ["link", "add", "tun7", "--engine", &socket].join(" ");
    udco::run(unit.host, &words)?;
    let run = format!("udco run --engine {socket} -- /usr/sbin/openvpn --config office.conf");
    let said = unit.said(&run, "")?;
    said.is("would-be-on", &[])?;
    ensure!(said.has("engine", "serves tun7"), "{:#}", said.json);
    Ok(())
}

/// `udco run` reads them with the same parser.
#[test]
fn options_that_udco_run_refuses_are_named() -> Result<()> {
    let Some(pair) = pair()? else { return Ok(()) };
    let unit = Unit::new(&pair)?;
    for (options, code) in [
        ("--workers 2", 0),
        ("--cpu 0 --without segment", 0),
        ("nice -n 1", 0),
        ("--wrkers 2", 2),
        ("--workers many", 2),
        ("--workers", 2),
        ("--engine /run/udco/engine.sock --workers 2", 2),
        ("no-such-program 2", 127),
    ] {
        let command = format!("udco run {options} -- /usr/sbin/openvpn --config office.conf");
        let flaws: &[&str] = if code == 0 { &[] } else { &["unit"] };
        let said = unit.said(&command, "")?;
        let mut found = said.flaws();
        // No such engine runs.
        found.retain(|it| *it != "certificate" && *it != "engine-silent");
        ensure!(
            found.into_iter().eq(flaws.iter().copied()),
            "{options}: {:#}",
            said.json
        );
        let run = format!("run {options} -- true");
        let ended = udco::output(unit.host, &run)?.status.code();
        ensure!(ended == Some(code), "{options}: {ended:?}");
    }
    Ok(())
}
