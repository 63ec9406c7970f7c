//! `udco doctor` on what runs, on units, files and devices (users C6).

mod clients;
mod units;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use udco_state::{DIAGNOSIS_FORMAT, Diagnosis};
use udco_testbed::{
    CONNECT, Endpoint, Host, Launch, Pair, Proto, Signal, Version, connect, eventually, skip, udco,
};

/// Long enough for any immediate reaction.
const SOON: Duration = Duration::from_secs(10);

/// What a diagnosis says.
struct Said {
    json: Value,
    code: Option<i32>,
}

impl Said {
    fn of(host: &Host, words: &[&str]) -> Result<Self> {
        Self::with(host, "", words)
    }

    fn with(host: &Host, bin: &str, words: &[&str]) -> Result<Self> {
        let output = doctor_with(host, bin, &[&["--json"], words].concat())?;
        let json = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let typed: Diagnosis = serde_json::from_slice(&output.stdout)?;
        ensure!(typed.format == DIAGNOSIS_FORMAT, "format {}", typed.format);
        Ok(Self {
            json,
            code: output.status.code(),
        })
    }

    /// The names of errors and warnings, each once.
    fn flaws(&self) -> BTreeSet<&str> {
        let findings = self.json["findings"].as_array().into_iter().flatten();
        let grave = findings.filter(|it| it["severity"] == "error" || it["severity"] == "warning");
        grave.filter_map(|it| it["name"].as_str()).collect()
    }

    fn has(&self, name: &str, means: &str) -> bool {
        let findings = self.json["findings"].as_array().into_iter().flatten();
        let mut texts = findings.filter(|it| it["name"] == name);
        texts.any(|it| it["means"].as_str().is_some_and(|it| it.contains(means)))
    }

    /// Checks the verdict and the flaws besides the testbed's certificates, which are valid for three days only.
    fn is(&self, offload: &str, flaws: &[&str]) -> Result<()> {
        ensure!(self.json["offload"] == offload, "{:#}", self.json);
        let mut found = self.flaws();
        found.remove("certificate");
        ensure!(
            found == flaws.iter().copied().collect(),
            "{found:?}: {:#}",
            self.json
        );
        let is_off = offload == "off" || offload == "would-be-off";
        let codes = if is_off { vec![9] } else { vec![0, 8, 10] };
        ensure!(
            self.code.is_some_and(|it| codes.contains(&it)),
            "{:?}",
            self.code
        );
        Ok(())
    }
}

/// The system's programs, with those of `bin` before them.
fn doctor_with(host: &Host, bin: &str, words: &[&str]) -> Result<Output> {
    let binary = udco::binary()?;
    let path = format!("PATH={bin}/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin");
    let mut all = vec![
        "env".to_owned(),
        path,
        binary.to_string_lossy().into_owned(),
    ];
    all.push("doctor".to_owned());
    all.extend(words.iter().map(ToString::to_string));
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    host.output(&all)
}

#[test]
fn a_running_openvpn_is_told_by_its_data_path() -> Result<()> {
    for version in [Version::V26, Version::V27] {
        if version.is_here_or_skip() {
            running(version)?;
        }
    }
    Ok(())
}

fn running(version: Version) -> Result<()> {
    let Some(pair) = pair()? else { return Ok(()) };
    let server = pair.server(Proto::Udp4).version(version).named("s");
    let client = pair.client(Proto::Udp4).version(version).named("c");
    let (mut server, _client) = connect(server.launch(Launch::Udco), client)?;
    let said = Said::of(&pair.server, &["--config", &file(&pair.server, "s.conf")])?;
    said.is("on", &[])?;
    ensure!(
        said.has("engine", "serves tun0 (mp, 1 peer)"),
        "{:#}",
        said.json
    );
    // Without an answer, a server of 2.7 restarts, and has no tunnel by the time that it is looked at.
    if version == Version::V26 {
        stopped_engine(&pair.server, &server)?;
    }
    unseen_engine(&pair.server)?;
    let said = Said::of(&pair.client, &["--config", &file(&pair.client, "c.conf")])?;
    said.is("off", &["disable-dco", "running"])?;
    let own = "moves the packets of tun0 itself, without udco";
    ensure!(said.has("running", own), "{:#}", said.json);
    // The device stays behind, dead.
    server.kill9()?;
    server.wait_end(SOON)?;
    let left = eventually("a left device, and the end of its engine", SOON, || {
        let said = Said::of(&pair.server, &[])?;
        let has_left = said.has("left-device", "no packet leaves");
        Ok((has_left && !said.flaws().contains("engine-silent")).then_some(said))
    })?;
    left.is("would-be-on", &["left-device"])
}

/// A running tunnel has offload, also if its engine is stopped.
fn stopped_engine(host: &Host, server: &Endpoint) -> Result<()> {
    let config = file(host, "s.conf");
    let engine = server.engine()?;
    engine.signal(Signal::STOP)?;
    for words in [&["--config", &config][..], &[]] {
        let said = Said::of(host, words)?;
        said.is("on", &["engine-silent"])?;
        let stopped = "(udco) is stopped (state T); `kill -CONT ";
        ensure!(said.has("engine-silent", stopped), "{:#}", said.json);
        ensure!(said.code == Some(10), "{:?}", said.code);
    }
    engine.signal(Signal::CONT)?;
    Ok(())
}

/// The same if it has another `/run`.
fn unseen_engine(host: &Host) -> Result<()> {
    let config = file(host, "s.conf");
    let program = udco::program()?;
    let line = format!("mount -t tmpfs none /run && {program} doctor --json --config {config}");
    let output = host.output(&["unshare", "-m", "sh", "-c", &line])?;
    let said = Said {
        json: serde_json::from_slice(&output.stdout)?,
        code: output.status.code(),
    };
    said.is("on", &["engine-silent"])?;
    let elsewhere = "its mount namespace has another /run";
    ensure!(said.has("engine-silent", elsewhere), "{:#}", said.json);
    Ok(())
}

/// An OpenVPN with the library that has switched offload off.
#[test]
fn an_openvpn_with_the_library_and_without_offload_is_off() -> Result<()> {
    let Some(pair) = pair()? else { return Ok(()) };
    let server = pair.server(Proto::Udp4).named("s").line("topology net30");
    let mut server = server.launch(Launch::Udco).spawn()?;
    server.wait_for_log("Initialization Sequence Completed", CONNECT)?;
    let said = Said::of(&pair.server, &["--config", &file(&pair.server, "s.conf")])?;
    said.is("off", &["running", "topology"])?;
    ensure!(
        said.has("running", "although it has udco's library"),
        "{:#}",
        said.json
    );
    Ok(())
}

#[test]
fn default_routes_of_ipv6_that_compete_are_named() -> Result<()> {
    let Some(pair) = pair()? else { return Ok(()) };
    let host = &pair.client;
    let ip = |words: &str| {
        let words: Vec<_> = ["ip"].into_iter().chain(words.split(' ')).collect();
        host.run(&words)
    };
    ip("link add up0 type veth peer name up1")?;
    ip("link set up0 up")?;
    ip("link set up1 up")?;
    ip("-6 route add default dev up0 metric 50")?;
    // Of no concern: another table, and a route that leads nowhere.
    ip("-6 route add default dev up1 metric 50 table 100")?;
    ip("-6 route add unreachable default metric 60")?;
    Said::of(host, &[])?.is("would-be-on", &[])?;
    // Of the same metric, the preferred router wins (RFC 4191).
    for preference in ["high", "low"] {
        let words = ["-6 route append default dev up1 metric 50 pref", preference].join(" ");
        ip(&words)?;
        let used = match preference {
            "high" => "dev up1",
            _ => "dev up0",
        };
        let route = ip("-6 route get 2001:db9::1")?;
        ensure!(route.contains(used), "{preference}: {route}");
        Said::of(host, &[])?.is("would-be-on", &[])?;
        ip("-6 route del default dev up1 metric 50")?;
    }
    ip("-6 route append default dev up1 metric 50")?;
    let said = Said::of(host, &[])?;
    said.is("would-be-on", &["default-routes"])?;
    ensure!(
        said.has(
            "default-routes",
            "an IPv6 default route of metric 50 and router preference medium"
        ),
        "{:#}",
        said.json
    );
    Ok(())
}

#[test]
fn files_are_looked_at() -> Result<()> {
    let Some(pair) = pair()? else { return Ok(()) };
    let host = &pair.client;
    let directory = host.directory();
    let files = pair.client(Proto::Udp4).named("files");
    files.launch(Launch::Udco).write()?;
    let config = directory.join("files.conf");
    let text = fs::read_to_string(&config)?;
    let config = config.to_string_lossy().into_owned();
    let said = || Said::of(host, &["--config", &config]);
    said()?.is("would-be-on", &[])?;
    let extra = directory.join("extra.key");
    for (state, name, code) in [
        ("missing", "file", 10),
        ("empty", "file", 10),
        ("exposed", "key-exposed", 8),
    ] {
        let _ = fs::remove_file(&extra);
        let contents = if state == "empty" { "" } else { "key" };
        if state != "missing" {
            fs::write(&extra, contents)?;
            fs::set_permissions(&extra, PermissionsExt::from_mode(0o604))?;
        }
        fs::write(&config, format!("{text}\ntls-crypt {}\n", extra.display()))?;
        let said = said()?;
        said.is("would-be-on", &[name])?;
        ensure!(said.code == Some(code), "{:?}", said.code);
    }
    // A certificate in a block.
    let expired = directory.join("old.crt");
    let key = directory.join("old.key");
    host.run(&[
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        &key.to_string_lossy(),
        "-out",
        &expired.to_string_lossy(),
        "-subj",
        "/CN=old",
        "-days",
        "3",
    ])?;
    let certificate = fs::read_to_string(&expired)?;
    fs::write(&config, format!("{text}\n<cert>\n{certificate}</cert>\n"))?;
    let said = said()?;
    said.is("would-be-on", &[])?;
    ensure!(said.has("certificate", "expires in"), "{:#}", said.json);
    Ok(())
}

/// What others have named reaches the terminal as one line, without control characters.
#[test]
fn names_of_others_are_escaped() -> Result<()> {
    let Some(pair) = pair()? else { return Ok(()) };
    let host = &pair.client;
    let config = host.directory().join("od\u{1b}[31md.conf");
    fs::write(
        &config,
        "client\ndev tun\ndata-ciphers \"AES-256-GCM:\u{1b}[2J\"\nca \"a\tb\"\n",
    )?;
    let output = doctor_with(host, "", &["--config", &config.to_string_lossy()])?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        text.starts_with("offload would be off: data-ciphers"),
        "{text}"
    );
    let is_plain = |c: char| c == '\n' || !c.is_control();
    ensure!(text.chars().all(is_plain), "{text:?}");
    Ok(())
}

fn pair() -> Result<Option<Pair>> {
    if udco::harness_only() {
        skip("nothing of udco to look at");
        return Ok(None);
    }
    Pair::new().map(Some)
}

fn file(host: &Host, name: &str) -> String {
    host.directory().join(name).to_string_lossy().into_owned()
}
