//! OpenVPN's own options for the data path: the engine applies them, or a log line names them (faults E5).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::Signal;
use udco_testbed::measure::Ping;
use udco_testbed::{
    Builder, CONNECT, Endpoint, Host, Launch, Pair, Process, Proto, Version, addresses as at,
    connect, skip, udco,
};

/// Long enough for any immediate reaction.
const SOON: Duration = Duration::from_secs(10);

/// MSS of a client's SYNs as they arrive at the other end of the tunnel: over IPv4 and IPv6 inside. The values were
/// measured with plain OpenVPN.
const BOUNDS: [(&str, Proto, [u16; 2]); 6] = [
    ("mssfix 1300", Proto::Udp4, [1236, 1216]),
    ("mssfix 1300 mtu", Proto::Udp6, [1188, 1168]),
    ("mssfix 1300 fixed", Proto::Udp4, [1260, 1240]),
    ("max-packet-size 1200", Proto::Udp4, [1108, 1088]),
    ("mssfix 1300", Proto::Tcp4, [1234, 1214]),
    ("mssfix 0", Proto::Udp4, [1460, 1440]),
];

/// faults E5: in both directions, as plain OpenVPN clamps it.
#[test]
fn mssfix_bounds_tcp_inside_as_without_offload() -> Result<()> {
    let pair = Pair::new()?;
    if !pair.server.is_privileged() {
        skip("tcpdump does not run in an unprivileged user namespace");
        return Ok(());
    }
    for (index, (line, proto, wanted)) in BOUNDS.into_iter().enumerate() {
        // With the option at either end, and a plain OpenVPN without it at the other.
        let (server, client) = (pair.server(proto), pair.client(proto));
        let ends = if index % 2 == 0 {
            connect(
                server.line("mssfix 0"),
                client.launch(Launch::Udco).line(line),
            )?
        } else {
            connect(
                server.launch(Launch::Udco).line(line),
                client.line("mssfix 0"),
            )?
        };
        let seen = mss_of_syns(&pair.client, &pair.server)?;
        ensure!(seen == wanted, "{line} over {proto:?}: {seen:?}");
        let (server, client) = ends;
        client.stop()?;
        server.stop()?;
    }
    Ok(())
}

/// faults E5: in an included file, in a connection block, and for a shared engine.
#[test]
fn mssfix_is_found_where_it_is_given() -> Result<()> {
    let pair = Pair::new()?;
    if udco::is_left_out("nothing of udco to look at") {
        return Ok(());
    }
    let extra = pair.client.directory().join("extra options.conf");
    std::fs::write(
        &extra,
        "# mssfix 1\n;mssfix 2\nsetenv opt mssfix \"1300\"\n",
    )?;
    let mut server = pair.server(Proto::Udp4).spawn()?;
    server.wait_connected(CONNECT)?;
    let named = format!("config \"{}\"", extra.display());
    let mut client = pair
        .udco_client(Proto::Udp4)
        .line(&named)
        .line("mssfix 1200 # the last one counts")
        .spawn()?;
    client.wait_connected(CONNECT)?;
    shows(&client, [1136, 1116])?;
    client.stop()?;
    let path = &pair.lab.file("engine.sock")?;
    let _daemon = udco::daemon(&pair.client, "daemon", &["--socket", path])?;
    let block = "<connection>\nremote 192.0.2.1 1194 udp4\nmssfix 1300 fixed\n</connection>";
    let mut client = pair
        .udco_client(Proto::Udp4)
        .udco_options(&["--engine", path])
        .line(block)
        .spawn()?;
    client.wait_connected(CONNECT)?;
    let shown = udco::run(&pair.client, &format!("show --json --engine {path}"))?;
    let shown: String = shown.split_whitespace().collect();
    let wanted = r#""mss":{"ipv4":1260,"ipv6":1240}"#;
    ensure!(shown.contains(wanted), "{shown}");
    Ok(())
}

/// faults E5: the driver's length, or the configured one.
#[test]
fn the_queue_of_the_device_is_as_long_as_the_drivers_or_as_asked_for() -> Result<()> {
    let pair = Pair::new()?;
    if udco::is_left_out("nothing of udco to look at") {
        return Ok(());
    }
    let (_server, _client) = connect(
        pair.udco_server(Proto::Udp4),
        pair.udco_client(Proto::Udp4).line("txqueuelen 123"),
    )?;
    for (host, wanted) in [(&pair.server, "qlen 1000"), (&pair.client, "qlen 123")] {
        let shown = host.run(&["ip", "link", "show", "tun0"])?;
        ensure!(shown.contains(wanted), "{wanted} not in {shown}");
    }
    Ok(())
}

/// faults E5: over both families outside and inside; nothing without the option.
#[test]
fn passtos_carries_the_dscp_outside() -> Result<()> {
    let pair = Pair::new()?;
    if !pair.server.is_privileged() {
        skip("tcpdump does not run in an unprivileged user namespace");
        return Ok(());
    }
    for (proto, shown) in [(Proto::Udp4, "tos 0x"), (Proto::Udp6, "class 0x")] {
        let (server, client) = connect(
            pair.udco_server(proto),
            pair.udco_client(proto).line("passtos"),
        )?;
        let device = &pair.link.a;
        let mut wire = tcpdump(&pair.server, "wire", device, "udp port 1194")?;
        for inner in [at::INNER_SERVER, at::INNER_SERVER6] {
            let before = wire.log().matches(&format!("{shown}b8")).count();
            ping_with_tos(&pair.client, inner, "0xb8")?;
            wait_until(&wire, |log| {
                log.matches(&format!("{shown}b8")).count() >= before + 3
            })
            .with_context(|| format!("{proto:?}, {inner}"))?;
        }
        // The ECN bits stay inside.
        ping_with_tos(&pair.client, at::INNER_SERVER, "0x2b")?;
        wait_until(&wire, |log| log.contains(&format!("{shown}28")))?;
        // The other end does not have the option.
        ping_with_tos(&pair.server, at::INNER_CLIENT, "0x48")?;
        Ping::to(at::INNER_CLIENT).all_answered(&pair.server)?;
        let log = wire.log();
        let sources = if proto == Proto::Udp4 {
            at::SERVER
        } else {
            at::SERVER6
        };
        for bad in [format!("{shown}2b"), format!("{shown}4b")] {
            ensure!(!log.contains(&bad), "{bad} from {sources}");
        }
        wire.signal(Signal::INT)?;
        wire.wait(SOON)?;
        client.stop()?;
        server.stop()?;
    }
    Ok(())
}

/// faults E5: one line each, for both releases; none where offload is off anyway.
#[test]
fn options_without_effect_are_named_once_each() -> Result<()> {
    for version in [Version::V26, Version::V27] {
        if version.is_here_or_skip() {
            are_named(version)?;
        }
    }
    Ok(())
}

fn are_named(version: Version) -> Result<()> {
    let pair = Pair::new()?;
    if udco::is_left_out("nothing of udco to look at") {
        return Ok(());
    }
    let mut server = pair.server(Proto::Tcp4).version(version).spawn()?;
    server.wait_connected(CONNECT)?;
    let options = [
        "shaper 100000000",
        "block-ipv6",
        "client-nat snat 10.99.0.0 255.255.0.0 10.8.0.0",
        "passtos",
        "replay-window 128",
        "reneg-bytes 4000000000",
    ];
    let with = |builder: Builder| {
        builder
            .version(version)
            .launch(Launch::Udco)
            .line_each(&options)
    };
    let mut client = with(pair.client(Proto::Tcp4)).spawn()?;
    client.wait_connected(CONNECT)?;
    client.require_offload()?;
    for option in options {
        let name = option.split(' ').next().unwrap_or_default();
        let lines = lines_about(&client, name);
        ensure!(lines.len() == 1, "{name}: {lines:?}");
        ensure!(lines[0].contains("client.conf:"), "{}", lines[0]);
    }
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    client.stop()?;
    let mut client = with(pair.client(Proto::Tcp4)).line("disable-dco").spawn()?;
    client.wait_connected(CONNECT)?;
    let lines: Vec<_> = options
        .iter()
        .filter_map(|option| option.split(' ').next())
        .flat_map(|name| lines_about(&client, name))
        .skip(options.len())
        .collect();
    ensure!(lines.is_empty(), "without offload: {lines:?}");
    Ok(())
}

/// udco's log lines about an option.
fn lines_about(endpoint: &Endpoint, name: &str) -> Vec<String> {
    let begin = format!("udco: with offload, {name} ");
    let log = endpoint.log();
    let lines = log.lines().filter(|line| line.contains(&begin));
    lines.map(str::to_owned).collect()
}

/// faults E5: input that udco does not read must remain for OpenVPN.
#[test]
fn a_configuration_that_is_no_file_is_left_to_openvpn() -> Result<()> {
    let pair = Pair::new()?;
    let program = if udco::harness_only() {
        "openvpn".to_owned()
    } else {
        format!("{} run -- openvpn", udco::binary()?.display())
    };
    for (number, words) in ["/dev/stdin", "--config stdin", "--config /dev/fd/0", "pipe"]
        .into_iter()
        .enumerate()
    {
        let script = format!(
            "rm -f pipe; mkfifo pipe; if [ '{words}' = pipe ]; then printf 'dev null\\nnosuchoption\\n' > pipe & fi; \
             printf 'dev null\\nnosuchoption\\n' | timeout 5 {program} {words}"
        );
        let log = format!("pipe-{number}");
        let mut process = pair.client.spawn(&log, &["sh", "-c", &script])?;
        process.wait(SOON)?;
        let log = process.log();
        ensure!(log.contains("nosuchoption"), "{words}: {log}");
        let is_printed = log.contains("is not read here");
        ensure!(is_printed || udco::harness_only(), "{words}: {log}");
    }
    Ok(())
}

/// The MSS of SYNs from one host to the inner address of another, over both families, as they arrive there.
fn mss_of_syns(from: &Host, to: &Host) -> Result<[u16; 2]> {
    let mut inside = tcpdump(to, "syns", "tun0", "tcp or (ip6 and ip6[6] == 6)")?;
    let mut seen = [0; 2];
    for (seen, address) in seen.iter_mut().zip([at::INNER_SERVER, at::INNER_SERVER6]) {
        let before = inside.log().len();
        // The port is closed.
        let script = format!("exec 3<>/dev/tcp/{address}/9");
        let _ = from.output(&["timeout", "5", "bash", "-c", &script])?;
        wait_until(&inside, |log| {
            let value = log.get(before..).and_then(|log| log.split_once("mss "));
            let digits = value.and_then(|(_, rest)| rest.split_once(','));
            *seen = digits
                .and_then(|(digits, _)| digits.parse().ok())
                .unwrap_or(0);
            *seen != 0
        })?;
    }
    inside.signal(Signal::INT)?;
    inside.wait(SOON)?;
    Ok(seen)
}

fn tcpdump(host: &Host, log: &str, device: &str, filter: &str) -> Result<Process> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let log = format!("{log}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let words = [
        "tcpdump",
        "--immediate-mode",
        "-l",
        "-n",
        "-v",
        "-Z",
        "root",
        "-i",
        device,
        filter,
    ];
    let mut process = host.spawn(&log, &words)?;
    process.wait_for_log("listening on", SOON)?;
    Ok(process)
}

fn wait_until(process: &Process, mut found: impl FnMut(&str) -> bool) -> Result<()> {
    udco_testbed::eventually("it on the wire", SOON, || {
        Ok(found(&process.log()).then_some(()))
    })
}

fn ping_with_tos(host: &Host, to: &str, tos: &str) -> Result<()> {
    host.run(&[
        "ping", "-n", "-c", "3", "-i", "0.2", "-W", "5", "-Q", tos, to,
    ])
    .map(drop)
}

/// Checks the only peer's MSS in `udco show`.
fn shows(endpoint: &Endpoint, wanted: [u16; 2]) -> Result<()> {
    let shown = endpoint.show()?;
    let peer = shown.peers().next().context("no peer")?;
    let mss = peer.mss.context("no bound")?;
    ensure!([mss.ipv4, mss.ipv6] == wanted, "{mss:?}");
    Ok(())
}
