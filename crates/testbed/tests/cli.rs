//! The API from the command line: a tunnel without OpenVPN, set up, changed and monitored by `udco` alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use udco_testbed::measure::Ping;
use udco_testbed::{Host, Lab, Link, Process, Signal, eventually, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// A server and a client on one link, and one engine for both.
struct Bench {
    lab: Lab,
    server: Host,
    client: Host,
    link: Link,
    daemon: Process,
}

impl Bench {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let (server, client) = (lab.host("server")?, lab.host("client")?);
        let link = lab.link(&server, &["192.0.2.1/24"], &client, &["192.0.2.2/24"])?;
        let socket = &lab.file("engine.sock")?;
        let daemon = udco::daemon(&server, "daemon", &["--socket", socket])?;
        // Each host has a `/run` of its own.
        for host in [&server, &client] {
            let link = format!("mkdir /run/udco && ln -s {socket} /run/udco/engine.sock");
            host.run(&["sh", "-c", &link])?;
        }
        Ok(Self {
            lab,
            server,
            client,
            link,
            daemon,
        })
    }

    /// The JSON output of `udco`.
    fn json(&self, host: &Host, words: &str) -> Result<Value> {
        let text = udco::run(host, words)?;
        serde_json::from_str(&text).with_context(|| format!("{words} printed: {text}"))
    }

    /// Runs `udco`, which must fail with this exit code and this text.
    fn refused(&self, host: &Host, words: &str, code: i32, expected: &str) -> Result<()> {
        let output = udco::output(host, words)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(code) && text.contains(expected),
            "`{words}` ended with {:?} and printed: {text}",
            output.status
        );
        Ok(())
    }

    /// Devices up, with addresses: `tun0` on both hosts.
    fn add_links(&self) -> Result<()> {
        udco::run(&self.server, "link add tun0 --mode mp --up")?;
        let name = udco::run(&self.client, "link add tun%d --up --mtu 1400")?;
        ensure!(name.trim() == "tun0", "the name was printed: {name}");
        self.server.add_address("tun0", "10.8.0.1/24")?;
        self.client.add_address("tun0", "10.8.0.2/24")
    }

    /// The same new key on both hosts; each gets one end of it.
    fn add_key(&self, slot: &str, id: u8, cipher: &str) -> Result<()> {
        let file = self.lab.directory().join(format!("key{id}.txt"));
        let file = file.to_str().context("a path that is not UTF-8")?;
        udco::run(&self.server, &format!("key generate {file}"))?;
        for (host, peer, direction) in [(&self.server, 1, 0), (&self.client, 2, 1)] {
            udco::run(
                host,
                &format!(
                    "key new tun0 --peer {peer} --slot {slot} --key-id {id} --cipher {cipher} --file {file} --direction {direction}"
                ),
            )?;
        }
        Ok(())
    }
}

#[test]
fn a_tunnel_is_made_changed_watched_and_taken_down() -> Result<()> {
    let bench = Bench::new()?;
    let (server, client) = (bench.server.clone(), bench.client.clone());
    bench.add_links()?;
    let mut monitor = udco::spawn(&server, "monitor", "monitor tun0 --json", "listening")?;
    let mut at_server = udco::spawn(
        &server,
        "server-peer",
        "peer new tun0 --id 1 --tx-id 2 --remote 192.0.2.2:1195 --local [::]:1194 --vpn4 10.8.0.2 --keepalive 1:60",
        "peer 1 on tun0, port 1194",
    )?;
    let mut at_client = udco::spawn(
        &client,
        "client-peer",
        "peer new tun0 --id 2 --tx-id 1 --remote 192.0.2.1:1194 --local 0.0.0.0:1195 --keepalive 1:60 --json",
        r#""peers":[2]"#,
    )?;
    bench.add_key("primary", 0, "aes-gcm")?;
    Ping::to("10.8.0.1").all_answered(&client)?;
    // Installing the same key again would repeat its nonces (promises B9).
    let file = bench.lab.directory().join("key0.txt");
    let again = format!(
        "key new tun0 --peer 1 --slot secondary --key-id 1 --cipher aes-gcm --file {} --direction 0",
        file.display()
    );
    bench.refused(&server, &again, 1, "peer 1 has had this key before")?;

    // The state, by the API and by the engine.
    let peer = bench.json(&server, "peer get tun0 --id 1 --json")?;
    ensure!(
        peer["tx_id"] == 2 && peer["vpn4"] == "10.8.0.2" && peer["local_port"] == 1194,
        "{peer}"
    );
    ensure!(peer["vpn"]["rx_packets"].as_u64() > Some(0), "{peer}");
    let all = bench.json(&server, "peer get tun0 --json")?;
    ensure!(all.as_array().is_some_and(|all| all.len() == 1), "{all}");
    let shown = bench.json(&server, "link show tun0 --json")?;
    let device = &shown["devices"][0];
    ensure!(
        device["kind"] == "ovpn" && device["mode"] == "mp" && device["peers"][0]["id"] == 1,
        "{shown}"
    );
    let text = udco::run(&client, "peer get tun0")?;
    ensure!(text.contains("peer 2 at 192.0.2.1:1194"), "{text}");

    // Another key; only one end swaps, as the key id in a packet selects the key.
    bench.add_key("secondary", 1, "chacha20-poly1305")?;
    udco::run(&client, "key swap tun0 --peer 2")?;
    let key = bench.json(&client, "key get tun0 --peer 2 --slot primary --json")?;
    ensure!(
        key["key_id"] == 1 && key["cipher"] == "chacha20-poly1305",
        "{key}"
    );
    Ping::to("10.8.0.1").all_answered(&client)?;
    udco::run(&client, "key del tun0 --peer 2 --slot secondary")?;
    let text = "tun0: cannot extract key from slot 1 for peer 2 (No such file or directory)";
    bench.refused(&client, "key get tun0 --peer 2 --slot secondary", 1, text)?;
    // A swap would leave it no key to send with.
    let text = "tun0: peer 2 has no secondary key";
    bench.refused(&client, "key swap tun0 --peer 2", 1, text)?;
    Ping::to("10.8.0.1").all_answered(&client)?;

    // One end disappears: the other notices by its timeout, and its process ends with the last of its peers.
    udco::run(&server, "peer set tun0 --id 1 --keepalive 1:2")?;
    at_client.signal(Signal::TERM)?;
    ensure!(at_client.wait(SOON)?.success(), "{}", at_client.log());
    at_client.wait_for_log(r#""reason":"SIGTERM""#, SOON).ok();
    ensure!(at_client.log().contains("SIGTERM"), "{}", at_client.log());
    ensure!(at_server.wait(SOON)?.success(), "{}", at_server.log());
    ensure!(at_server.log().contains("expired"), "{}", at_server.log());
    monitor.wait_for_log(r#""reason":"expired""#, SOON)?;
    let log = monitor.log();
    ensure!(log.contains(r#""time":"20"#), "{log}");
    // Who it was: its notification has its id only.
    let mut lines = log.lines();
    let gone = lines.find(|line| line.contains("peer-deleted"));
    let gone: Value = serde_json::from_str(gone.context("no deletion")?)?;
    ensure!(
        gone["remote"] == "192.0.2.2:1195" && gone["vpn4"] == "10.8.0.2",
        "{gone}"
    );

    // Devices stay until they are deleted, and the monitor runs until its engine ends.
    for host in [&server, &client] {
        udco::run(host, "link del tun0")?;
        ensure!(!host.has_device("tun0"), "{} has it still", host.name());
    }
    bench.daemon.signal(Signal::TERM)?;
    monitor.wait_for_log("engine-ended", SOON)?;
    ensure!(monitor.wait(SOON)?.success(), "{}", monitor.log());
    Ok(())
}

#[test]
fn the_old_api_and_a_link_local_transport_make_a_tunnel_too() -> Result<()> {
    let bench = Bench::new()?;
    let (server, client) = (&bench.server, &bench.client);
    let mut processes = Vec::new();
    let (at_server, at_client) = (bench.link.a.as_str(), bench.link.b.as_str());
    for (id, host, device, other, others) in [
        (1, server, at_server, client, at_client),
        (2, client, at_client, server, at_server),
    ] {
        udco::run(host, "link add tun0 --kind ovpn-dco --up")?;
        host.add_address("tun0", &format!("10.8.0.{id}/24"))?;
        let remote = link_local(other, others)?;
        // The old API uses the same peer id in both directions.
        let words = format!(
            "peer new tun0 --id 7 --remote [{remote}]:1194 --scope {device} --local [::]:1194"
        );
        let process = udco::spawn(
            host,
            &format!("peer{id}"),
            &words,
            "peer 7 on tun0, port 1194",
        )?;
        processes.push(process);
    }
    let file = &bench.lab.file("key.txt")?;
    udco::run(server, &format!("key generate {file}"))?;
    for (host, direction) in [(server, 0), (client, 1)] {
        let words = format!(
            "key new tun0 --peer 7 --slot primary --key-id 0 --cipher aes-gcm --file {file} --direction {direction}"
        );
        udco::run(host, &words)?;
    }
    Ping::to("10.8.0.1").all_answered(client)?;
    let peer = bench.json(server, "peer get tun0 --id 7 --json")?;
    ensure!(peer["link"]["rx_packets"].as_u64() > Some(0), "{peer}");
    // Its dump lacks the peer of a point-to-point device.
    let all = bench.json(server, "peer get tun0 --json")?;
    ensure!(all[0]["id"] == 7, "{all}");
    let text = "a device of kind ovpn-dco cannot report keys";
    bench.refused(server, "key get tun0 --peer 7 --slot primary", 1, text)?;
    let text = "tun0: peer 7 has no secondary key";
    bench.refused(server, "key swap tun0 --peer 7", 1, text)
}

/// The link-local address of a device, once it is usable.
fn link_local(host: &Host, device: &str) -> Result<String> {
    eventually("a link-local address", SOON, || {
        let words = [
            "ip", "-6", "-o", "address", "show", "dev", device, "scope", "link",
        ];
        let shown = host.run(&words)?;
        let words: Vec<_> = shown.split_whitespace().collect();
        let is_ready = !shown.contains("tentative");
        let address = words.iter().find_map(|word| word.strip_suffix("/64"));
        Ok(address.filter(|_| is_ready).map(str::to_owned))
    })
}

#[test]
fn over_tcp_a_connection_ends_with_its_peer_and_a_peer_with_its_connection() -> Result<()> {
    let bench = Bench::new()?;
    let (server, client) = (&bench.server, &bench.client);
    udco::run(server, "link add tun0 --mode mp --up")?;
    let line = format!(
        "printf '1 - - 10.8.0.2\n2 - - 10.8.0.3\n' | {} peer new tun0 --peers - --tcp-listen 192.0.2.1:1194",
        udco::program()?
    );
    let mut held = server.spawn("held", &["sh", "-c", &line])?;
    eventually("a listener", SOON, || {
        let listeners = server.run(&["cat", "/proc/net/tcp"])?;
        Ok(listeners.contains(":04AA 00000000:0000 0A").then_some(()))
    })?;
    let far_end = |log| {
        let read = ["bash", "-c", "exec cat </dev/tcp/192.0.2.1/1194"];
        client.spawn(log, &read)
    };
    let mut far_ends = [far_end("far1")?, far_end("far2")?];
    held.wait_for_log("peers 1 2 on tun0", SOON)?;
    udco::run(server, "peer del tun0 --id 1")?;
    eventually("the end of one connection", SOON, || {
        let left = far_ends
            .iter_mut()
            .filter_map(|it| it.is_alive().then_some(()));
        Ok((left.count() == 1).then_some(()))
    })?;
    for far_end in &far_ends {
        let _ = far_end.signal(Signal::KILL);
    }
    ensure!(held.wait(SOON)?.success(), "{}", held.log());
    let printed = held.log();
    ensure!(
        printed.contains("peer 1 deleted: by request")
            && printed.contains("peer 2 deleted: its socket"),
        "{printed}"
    );
    Ok(())
}

#[test]
fn refusals_say_what_is_wrong_and_leave_nothing_behind() -> Result<()> {
    let bench = Bench::new()?;
    let host = &bench.server;
    let refused = |words: &str, code, expected: &str| bench.refused(host, words, code, expected);
    refused("peer get tun0", 1, "`udco show` lists the devices")?;
    refused("link del tun0", 1, "`udco show` lists the devices")?;
    let create = "create it with `udco link add tun0`";
    refused("peer new tun0 --id 1 --remote 192.0.2.2:5", 1, create)?;
    refused("show --watch 5", 1, "write --watch=5")?;
    refused("peer get lo", 1, "lo is not a udco device")?;
    refused(
        "link add tun0 --engine /nowhere",
        1,
        "start it with `udco daemon --socket`",
    )?;
    refused("link add tun0 --mode both", 2, "invalid value 'both'")?;
    refused(
        "link add tun0 --mtu 10",
        1,
        "mtu less than device minimum (Invalid argument)",
    )?;
    refused("link add lo", 1, "lo already, of another program")?;
    ensure!(!host.has_device("tun0"), "a refused device is there");

    udco::run(host, "link add tun0 --mode mp --up")?;
    refused(
        "link add tun0",
        1,
        "File exists: tun0 is there already, and served",
    )?;
    udco::run(host, "link add old0 --kind ovpn-dco")?;
    refused(
        "key get old0 --peer 1 --slot primary",
        1,
        "`udco show` shows them",
    )?;
    udco::run(host, "link del old0")?;
    let new = "peer new tun0 --id 1 --remote";
    refused(&format!("{new} [fe80::1]:5"), 1, "with --scope")?;
    refused(&format!("{new} 192.0.2.2:5 --local x"), 2, "[::]:1194")?;
    refused("key generate /nowhere/key", 1, "no directory /nowhere")?;
    refused("key generate /etc/passwd", 1, "choose another name")?;
    let key =
        "key new tun0 --peer 1 --slot primary --key-id 0 --cipher aes-gcm --direction 0 --file";
    refused(&format!("{key} /etc/passwd"), 1, "line 1: expected one of")?;
    let new = "peer new tun0 --remote 192.0.2.2:5 --vpn4 10.8.0.2 --id";
    let mut first = udco::spawn(
        host,
        "first",
        &format!("{new} 1 --print-control"),
        "holding its socket",
    )?;
    let text = "peer new: tun0: cannot add new peer (id=1) to hashtable: -17 (File exists)";
    refused(&format!("{new} 1"), 1, text)?;
    refused(
        "peer new tun0 --id 2 --remote 192.0.2.2:5",
        1,
        "in MP mode (Invalid argument)",
    )?;
    refused("peer new tun0 --remote 192.0.2.2:5", 2, "--id")?;
    refused("peer set tun0 --id 1", 2, "--keepalive")?;
    refused(
        "peer set tun0 --id 3 --keepalive 1:2",
        1,
        "peer set: tun0: cannot find peer with id 3",
    )?;
    for (words, text) in [
        ("peer get tun0 --id 3", "peer get: tun0: cannot find peer"),
        ("peer del tun0 --id 3", "peer del: tun0: "),
        (
            "key get tun0 --peer 3 --slot primary",
            "key get: tun0: cannot find peer",
        ),
        ("key del tun0 --peer 3 --slot primary", "key del: tun0: "),
        (
            "key swap tun0 --peer 3",
            "key swap: tun0: no peer with id 3 to swap keys for",
        ),
    ] {
        refused(words, 1, text)?;
    }
    let key = "key new tun0 --peer 1 --slot primary --key-id 0 --cipher aes-gcm --file /dev/null";
    refused(key, 1, "there is no key in it")?;

    // Several peers at once: if one is refused, none is added.
    let several = "echo '7 - 192.0.2.2:7 10.8.0.7\n1 - 192.0.2.2:1 10.8.0.8' |";
    let line = format!("{several} {} peer new tun0 --peers -", udco::program()?);
    let output = host.output(&["sh", "-c", &line])?;
    ensure!(output.status.code() == Some(1), "{:?}", output.status);
    eventually("peer 7 to go", SOON, || {
        let all = bench.json(host, "peer get tun0 --json")?;
        let ids: Vec<_> = all.as_array().into_iter().flatten().collect();
        Ok((ids.len() == 1 && ids[0]["id"] == 1).then_some(()))
    })?;

    // Deleting a peer ends the process that holds its socket.
    udco::run(host, "peer del tun0 --id 1")?;
    ensure!(first.wait(SOON)?.success(), "{}", first.log());
    ensure!(first.log().contains("(userspace)"), "{}", first.log());
    udco::run(host, "link del tun0")?;
    Ok(())
}
