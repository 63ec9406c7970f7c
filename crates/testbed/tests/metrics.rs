//! `udco metrics`, read by a real Prometheus: what it takes for good, what it scrapes, and which alerts fire.

use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use udco_testbed::{Host, Lab, Process, eventually, skip, skip_part, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Peers of a large server.
const PEERS: u32 = 1000;

/// Series of each with `--peers`.
const SERIES: usize = 11;

/// The rules that are installed with udco.
const RULES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../packaging/prometheus/udco.rules.yml"
);

/// Whether Debian's package `prometheus` is installed.
fn has_prometheus() -> bool {
    ["prometheus", "promtool"]
        .iter()
        .all(|name| Path::new("/usr/bin").join(name).exists())
}

fn daemon(host: &Host, socket: &str) -> Result<Process> {
    host.run(&["mkdir", "-p", "/run/udco"])?;
    let log = socket.replace('/', "-");
    udco::daemon_below_a_shell(host, &log, &[], &["--socket", socket])
}

/// The process of the engine at a socket.
fn process(host: &Host, socket: &str) -> Result<String> {
    let text = udco::run(host, &format!("show --json --engine {socket}"))?;
    let shown: Value = serde_json::from_str(&text)?;
    Ok(shown["engines"][0]["pid"].to_string())
}

/// Starts an exporter, and waits until it listens.
fn exporter(host: &Host, address: &str) -> Result<Process> {
    let line = format!("metrics --listen {address}");
    udco::spawn(host, "exporter", &line, "metrics at")
}

/// What an exporter serves at a Unix socket.
fn get(socket: &Path) -> Result<String> {
    let mut exporter = UnixStream::connect(socket)?;
    exporter.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")?;
    let mut answer = String::new();
    exporter.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    Ok(text.to_owned())
}

/// The value of a metric in the text format, by its name and labels.
fn value(text: &str, series: &str) -> Option<f64> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[test]
fn promtool_takes_the_output_and_a_thousand_peers_are_quick() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let _daemon = daemon(&host, "/run/udco/engine.sock")?;
    let _peers = udco::peers(&lab, &host, PEERS)?;

    let begin = Instant::now();
    let each = udco::run(&host, "metrics --peers")?;
    let took = begin.elapsed();
    println!("{PEERS} peers: {took:.1?} with the start of the process");
    let of_peers = each.lines().filter(|line| line.starts_with("udco_peer_"));
    ensure!(of_peers.count() == SERIES * PEERS as usize, "{each}");
    let text = udco::run(&host, "metrics")?;
    ensure!(!text.contains("udco_peer_"), "unasked for: {text}");
    let peers = value(&text, "udco_device_peers{device=\"tun0\"}");
    ensure!(peers == Some(f64::from(PEERS)), "{text}");

    let file = lab.directory().join("udco.prom");
    let name = file.to_str().context("a path that is not UTF-8")?;
    udco::run(&host, &format!("metrics --peers --textfile {name}"))?;
    let written = fs::read_to_string(&file)?;
    ensure!(written.lines().count() == each.lines().count(), "{written}");
    if has_prometheus() {
        for text in [&text, &written] {
            fs::write(&file, text)?;
            let checked =
                host.run(&["sh", "-c", &format!("promtool check metrics < {name} 2>&1")])?;
            ensure!(checked.is_empty(), "promtool: {checked}");
        }
    } else {
        skip_part("no promtool; cure: apt-get install prometheus");
    }
    lab.discard_logs();
    Ok(())
}

#[test]
fn a_file_is_kept_up_to_date() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let _daemon = daemon(&host, "/run/udco/engine.sock")?;
    let file = lab.directory().join("udco.prom");
    let name = file.to_str().context("a path that is not UTF-8")?;
    let line = format!("metrics --textfile {name} --every 1s");
    let mut writer = host.spawn("writer", &udco::words(&line)?)?;
    eventually("the first text", SOON, || {
        ensure!(writer.is_alive(), "{}", writer.log());
        Ok(file.exists().then_some(()))
    })?;
    ensure!(!fs::read_to_string(&file)?.contains("tun0"), "too soon");
    udco::run(&host, "link add tun0")?;
    eventually("the next text", SOON, || {
        let text = fs::read_to_string(&file)?;
        // As a whole, at any time.
        ensure!(
            text.contains("\nudco_up{") && text.ends_with('\n'),
            "{text}"
        );
        Ok(value(&text, "udco_device_peers{device=\"tun0\"}"))
    })?;
    lab.discard_logs();
    Ok(())
}

#[test]
fn an_engine_of_another_user_is_not_down() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    if !lab.is_privileged() {
        skip("no second user in an unprivileged lab");
        return Ok(());
    }
    let _daemon = daemon(&host, "/run/udco/engine.sock")?;
    let binary = udco::program()?;
    let other = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let text = host.run(&[&other[..], &[binary, "metrics"]].concat())?;
    ensure!(value(&text, "udco_denied_engines") == Some(1.0), "{text}");
    ensure!(!text.contains("udco_up{"), "{text}");
    let named = ["metrics", "--engine", "/run/udco/engine.sock"];
    let text = host.run(&[&other[..], &[binary], &named].concat())?;
    let up = value(&text, "udco_up{engine=\"/run/udco/engine.sock\"}");
    ensure!(up == Some(0.0), "{text}");
    lab.discard_logs();
    Ok(())
}

#[test]
fn the_alerts_fire_when_they_should() -> Result<()> {
    if !has_prometheus() {
        skip("no promtool; cure: apt-get install prometheus");
        return Ok(());
    }
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    host.run(&["promtool", "check", "rules", RULES])?;
    let tests = Path::new(RULES).with_file_name("udco.test.yml");
    let tests = tests.to_str().context("a path that is not UTF-8")?;
    host.run(&["promtool", "test", "rules", tests])?;
    lab.discard_logs();
    Ok(())
}

#[test]
fn an_engine_that_hangs_or_dies_is_down_and_the_others_are_served() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let mut first = daemon(&host, "/run/udco/first.sock")?;
    let second = daemon(&host, "/run/udco/second.sock")?;
    for (engine, device) in [("first", "tun0"), ("second", "tun1")] {
        let line = format!("link add {device} --engine /run/udco/{engine}.sock");
        udco::run(&host, &line)?;
    }
    let pid = process(&host, "/run/udco/first.sock")?;
    let socket = lab.directory().join("metrics");
    let _exporter = exporter(&host, &format!("unix:{}", socket.display()))?;
    let get = || get(&socket);
    let up = |text: &str, engine: &str| {
        value(
            text,
            &format!("udco_up{{engine=\"/run/udco/{engine}.sock\"}}"),
        )
    };

    let text = get()?;
    let both = (up(&text, "first"), up(&text, "second"));
    ensure!(both == (Some(1.0), Some(1.0)), "{text}");
    host.run(&["kill", "-STOP", &pid])?;
    let text = get()?;
    let one = (up(&text, "first"), up(&text, "second"));
    ensure!(one == (Some(0.0), Some(1.0)), "{text}");
    let served = value(&text, "udco_device_peers{device=\"tun1\"}");
    ensure!(served == Some(0.0), "{text}");

    host.run(&["kill", "-CONT", &pid])?;
    let answers = get()?;
    ensure!(up(&answers, "first") == Some(1.0), "{answers}");
    host.run(&["kill", "-KILL", &pid])?;
    first.wait(SOON)?;
    let text = eventually("the device to be left", SOON, || {
        let text = get()?;
        let left = value(&text, "udco_device_left{device=\"tun0\"}");
        Ok((left == Some(1.0)).then_some(text))
    })?;
    ensure!(up(&text, "first") == Some(0.0), "killed: {text}");
    host.run(&["ip", "link", "del", "tun0"])?;
    drop(second);
    lab.discard_logs();
    Ok(())
}

#[test]
fn prometheus_scrapes_it() -> Result<()> {
    if !has_prometheus() {
        skip("no prometheus; cure: apt-get install prometheus");
        return Ok(());
    }
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let _daemon = daemon(&host, "/run/udco/engine.sock")?;
    let _peers = udco::peers(&lab, &host, PEERS)?;
    let _exporter = exporter(&host, "127.0.0.1:9176")?;
    let directory = lab.directory().join("prometheus");
    fs::create_dir(&directory)?;
    let configuration = directory.join("prometheus.yml");
    let text = format!(
        "global:\n  scrape_interval: 2s\n  scrape_timeout: 2s\n  evaluation_interval: 1s\nrule_files: [{RULES}]\n\
         scrape_configs:\n  - job_name: udco\n    static_configs:\n      - targets: ['127.0.0.1:9176']\n"
    );
    fs::write(&configuration, text)?;
    let storage = format!("--storage.tsdb.path={}", directory.join("data").display());
    let configuration = format!("--config.file={}", configuration.display());
    let listen = "--web.listen-address=127.0.0.1:9090";
    let mut prometheus = host.spawn(
        "prometheus",
        &["prometheus", &configuration, &storage, listen],
    )?;
    prometheus.wait_for_log("Server is ready", 3 * SOON)?;

    let ask = |query: &str| -> Result<Vec<Value>> {
        let server = "http://127.0.0.1:9090";
        let text = host.run(&["promtool", "query", "instant", "-o", "json", server, query])?;
        Ok(serde_json::from_str(&text)?)
    };
    let peers = eventually("a scrape", 3 * SOON, || {
        Ok(ask("udco_device_peers{device=\"tun0\"}")?.pop())
    })?;
    let count: u32 = serde_json::from_value::<String>(peers["value"][1].clone())?.parse()?;
    ensure!(count == PEERS, "{peers}");
    ensure!(peers["metric"]["job"] == "udco", "{peers}");
    let expired = "udco_device_ended_peers_total{reason=\"expired\"}";
    let ended = ask(expired)?;
    ensure!(
        ended[0]["value"][1] == "0",
        "a counter to begin with: {ended:?}"
    );
    udco::run(&host, "peer set tun0 --id 7 --keepalive 1:1")?;
    eventually("a peer to expire", 3 * SOON, || {
        let ended = ask(expired)?;
        Ok((ended[0]["value"][1] == "1").then_some(()))
    })?;
    lab.discard_logs();
    Ok(())
}
