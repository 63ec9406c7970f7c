//! What `udco show --json` prints is what docs/show.schema.json says.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use udco_state::{FORMAT, KernelDevice, Report};
use udco_testbed::{Host, Lab, Process, eventually, json_schema, udco};

const SOON: Duration = Duration::from_secs(20);

/// What the second engine lacks: a device, whose peer has a key.
const STEPS: [&str; 4] = [
    "link add tun0 --mode mp --up",
    "key generate key.txt",
    "peer new tun0 --id 1 --remote 127.0.0.1:5001 --local 127.0.0.1:5000 --vpn4 10.9.0.1 --keepalive 10:60",
    "key new tun0 --peer 1 --slot primary --key-id 3 --cipher aes-gcm --file key.txt --direction 0",
];

fn schema() -> Result<Value> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/show.schema.json");
    Ok(serde_json::from_str(&fs::read_to_string(page)?)?)
}

fn daemon(host: &Host, name: &str) -> Result<Process> {
    let socket = format!("/run/udco/{name}.sock");
    udco::daemon_below_a_shell(host, name, &[], &["--socket", &socket])
}

/// Prints the state, checks it, and returns it.
fn shown(host: &Host, schema: &Value) -> Result<Value> {
    let output = udco::output(host, "show --json")?;
    let value = serde_json::from_slice(&output.stdout)?;
    let problems = json_schema::problems(schema, &value);
    ensure!(problems.is_empty(), "{problems:#?}\n{value:#}");
    Ok(value)
}

#[test]
fn devices_of_the_kernels_driver_conform_to_the_schema() -> Result<()> {
    let counters = r#"{"rx_bytes":1,"rx_packets":2,"tx_bytes":3,"tx_packets":4}"#;
    let text = format!(
        r#"{{"name":"tun0","ifindex":3,"driver":"kernel","mode":"p2p","peers":[{{"id":1,"tx_id":2,"remote":null,
        "local":null,"vpn4":null,"vpn6":"fd00::2","keepalive":{{"interval":0,"timeout":0}},"keys":{{"primary":
        {{"key_id":7,"cipher":"aes-gcm"}},"secondary":null}},"link":{counters},"vpn":{counters}}}]}}"#
    );
    let with_peers: KernelDevice = serde_json::from_str(&text)?;
    let without = KernelDevice {
        peers: None,
        ..with_peers.clone()
    };
    let report: Report = Report {
        format: FORMAT,
        devices: Vec::new(),
        kernel_devices: vec![with_peers, without],
        engines: Vec::new(),
        left: Vec::new(),
        silent: Vec::new(),
        unreachable: vec![7],
    };
    let problems = json_schema::problems(&schema()?, &serde_json::to_value(report)?);
    ensure!(problems.is_empty(), "{problems:#?}");
    Ok(())
}

#[test]
fn the_output_conforms_to_the_schema() -> Result<()> {
    let schema = schema()?;
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    shown(&host, &schema).context("without an engine")?;

    host.run(&["mkdir", "-p", "/run/udco"])?;
    let _first = daemon(&host, "engine")?;
    let mut peers = Vec::new();
    let key = lab.file("key.txt")?;
    for step in STEPS {
        let line = step.replace("key.txt", &key);
        if step.starts_with("peer new") {
            peers.push(udco::spawn(&host, "peer", &line, "peer 1")?);
        } else {
            udco::run(&host, &line)?;
        }
    }
    host.run(&["ip", "address", "add", "10.9.0.254/24", "dev", "tun0"])?;
    let _second = daemon(&host, "second")?;
    // To an address that no peer has.
    host.output(&["ping", "-c", "1", "-W", "1", "10.9.0.77"])?;
    let state = shown(&host, &schema).context("two engines, a device, a peer, a key")?;
    let device = &state["devices"][0];
    let key = &device["peers"][0]["keys"]["primary"];
    ensure!(key["key_id"] == 3 && key["age"].is_u64(), "{state:#}");
    let spent = state["engines"][0]["worker_cpu_seconds"].as_array();
    ensure!(spent.is_some_and(|it| it.len() == 1), "{state:#}");
    ensure!(
        device["drops"]["tx_no_peer"].as_u64() > Some(0),
        "{state:#}"
    );
    ensure!(device["engine"] == "/run/udco/engine.sock", "{state:#}");

    let pid = |at: usize| state["engines"][at]["pid"].to_string();
    host.run(&["kill", "-KILL", &pid(0)])?;
    // Until then its socket accepts, and answers nothing.
    eventually("the end of the killed engine", SOON, || {
        Ok((!host.output(&["kill", "-0", &pid(0)])?.status.success()).then_some(()))
    })?;
    let killed = shown(&host, &schema).context("one engine has left a device")?;
    ensure!(killed["left"][0] == "tun0", "{killed:#}");
    host.run(&["kill", "-STOP", &pid(1)])?;
    let state = shown(&host, &schema).context("the other one hangs")?;
    ensure!(
        state["silent"][0]["socket"] == "/run/udco/second.sock",
        "{state:#}"
    );
    // That one may serve it.
    ensure!(
        state["left"].as_array().is_some_and(Vec::is_empty),
        "{state:#}"
    );
    lab.discard_logs();
    Ok(())
}
