//! `udco capture`: tshark reads the file, finds inner packets in the clear, and the reasons of drops as comments.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{Pair, Proto, Signal, addresses as at, connect, eventually, skip_part, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A VPN address that no peer has.
const NOBODY: &str = "10.8.0.77";

/// What tshark is to print of each packet.
const FIELDS: [&str; 9] = [
    "frame.interface_name",
    "frame.protocols",
    "icmp.type",
    "ip.src",
    "ip.dst",
    "frame.comment",
    "_ws.malformed",
    "tcp.len",
    "frame.len",
];

#[test]
fn tshark_reads_inner_and_outer_packets_and_the_reasons_of_drops_udp() -> Result<()> {
    is_read_by_tshark(Proto::Udp4)
}

#[test]
fn tshark_reads_inner_and_outer_packets_and_the_reasons_of_drops_tcp() -> Result<()> {
    is_read_by_tshark(Proto::Tcp4)
}

fn is_read_by_tshark(proto: Proto) -> Result<()> {
    if udco::is_left_out("without udco there is nothing to capture from") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let _ends = connect(pair.udco_server(proto), pair.udco_client(proto))?;
    let file = pair.lab.file("tunnel.pcapng")?;
    let words = [udco::program()?, "capture", "tun0", "--write", &file];
    let mut capture = pair.server.spawn("capture", &words)?;
    capture.wait_for_log("capturing packets of tun0", SOON)?;

    eventually("answers", SOON, || {
        let echo = Ping::to(at::INNER_CLIENT).count(3).run(&pair.server)?;
        Ok(echo.lost.is_empty().then_some(()))
    })?;
    let up = Stream::to(at::INNER_CLIENT).limit("20M");
    for stream in [up.clone().reverse(), up] {
        stream.run(&pair.server, &pair.client)?;
    }
    // Of a host that no peer has.
    let nobody = ["ping", "-n", "-c", "1", "-W", "1", NOBODY];
    ensure!(
        !pair.server.output(&nobody)?.status.success(),
        "somebody is there"
    );
    eventually("the drop", SOON, || {
        let dropped = udco::show(&pair.server)?.dropped(&["tx_no_peer"]);
        Ok((dropped > 0).then_some(()))
    })?;
    // The engine hands on what it has every few milliseconds; a last packet shows that it has.
    eventually("the file", SOON, || {
        Ping::to(at::INNER_CLIENT).count(1).run(&pair.server)?;
        let bytes = std::fs::read(&file)?;
        let reason = b"dropped: tx_no_peer";
        let is_there = bytes.windows(reason.len()).any(|part| part == reason);
        Ok(is_there.then_some(()))
    })?;
    capture.signal(Signal::INT)?;
    capture.wait(SOON)?;
    let log = capture.log();
    ensure!(log.contains("packets captured, none lost"), "{log}");

    // A wrong id is not waited for in silence.
    let (other, peer) = (
        pair.lab.file("other.pcapng")?,
        "capture tun0 --peer 9 --write",
    );
    let waiting = "tun0 has no peer 9 at the moment";
    let mut other = udco::spawn(&pair.server, "other", &format!("{peer} {other}"), waiting)?;
    other.signal(Signal::INT)?;
    other.wait(SOON)?;

    if !has_tshark(&pair) {
        skip_part("tshark does not read the capture; cure: apt-get install tshark");
        return Ok(());
    }
    let port = format!("{}.port==1194,openvpn", transport(proto));
    let mut words = vec!["tshark", "-n", "-r", &file, "-d", &port, "-T", "fields"];
    for field in FIELDS {
        words.extend(["-e", field]);
    }
    let text = pair.server.run(&words)?;
    let frames: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let shown = |wanted: &dyn Fn(&[&str]) -> bool| frames.iter().filter(|it| wanted(it)).count();
    let (to, from) = (at::INNER_CLIENT, at::INNER_CLIENT);
    let inner = "tun0 inner";
    let requests = shown(&|it| it[0] == inner && it[2] == "8" && it[4] == to);
    let answers = shown(&|it| it[0] == inner && it[2] == "0" && it[3] == from);
    ensure!(requests >= 3 && answers >= 3, "{text}");
    let outer = |it: &[&str]| it[0] == "tun0 outer" && it[1].ends_with(":openvpn");
    ensure!(shown(&|it| outer(it) && it[3] == at::CLIENT) >= 3, "{text}");
    ensure!(shown(&|it| outer(it) && it[4] == at::CLIENT) >= 3, "{text}");
    // A super-packet inside is one packet; outside, each is by itself.
    for (field, address) in [(3, from), (4, to)] {
        let payload = sum(&frames, 7, &|it| it[0] == inner && it[field] == address);
        let records = sum(&frames, 8, &|it| outer(it) && it[field] == at::CLIENT);
        let longest = frames.iter().filter(|it| outer(it)).map(|it| number(it[8]));
        ensure!(longest.max() < Some(1_600), "{text}");
        ensure!(
            payload > 1_000_000 && records > payload && records < payload * 3 / 2,
            "{payload} bytes of TCP inside, {records} of records outside"
        );
    }
    let nobody = shown(&|it| it[0] == "tun0 dropped" && it[4] == NOBODY);
    let reason = shown(&|it| it[4] == NOBODY && it[5] == "dropped: tx_no_peer");
    ensure!((nobody, reason) == (1, 1), "{text}");
    ensure!(shown(&|it| !it[6].is_empty()) == 0, "malformed: {text}");
    // As the page has it. Behind a pipe, tshark refuses what it reads from a file: another byte order, for one.
    let piped = "tshark -n -i - -T fields -e frame.comment 2>&1";
    let piped = format!(r#"cat "$1" | {piped}"#);
    let text = pair.server.run(&["sh", "-c", &piped, "sh", &file])?;
    ensure!(text.contains("dropped: tx_no_peer"), "{text}");
    pair.lab.discard_logs();
    Ok(())
}

/// The sum of a field over these frames.
fn sum(frames: &[Vec<&str>], field: usize, of: &dyn Fn(&[&str]) -> bool) -> u64 {
    let frames = frames.iter().filter(|it| of(it));
    frames.map(|it| number(it[field])).sum()
}

/// A number in a field; none is 0.
fn number(field: &str) -> u64 {
    field.parse().unwrap_or_default()
}

const fn transport(proto: Proto) -> &'static str {
    match proto {
        Proto::Tcp4 | Proto::Tcp6 => "tcp",
        _ => "udp",
    }
}

fn has_tshark(pair: &Pair) -> bool {
    let found = pair.server.run(&["which", "tshark"]);
    found.is_ok_and(|path| Path::new(path.trim()).is_file())
}
