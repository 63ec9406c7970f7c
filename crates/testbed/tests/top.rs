//! `udco top` on a terminal: tmux is one that can be read.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::Stream;
use udco_testbed::{
    Host, Lab, Pair, Process, Proto, Signal, addresses as at, connect, eventually, skip, udco,
};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Payload of a datagram, and what IPv4 and UDP add inside the tunnel.
const PAYLOAD: u32 = 1200;
const HEADERS: u32 = 28;

/// Samples of the rate, and how often it is measured until it is right.
const SAMPLES: usize = 5;
const TRIES: usize = 3;

/// A terminal with a shell that starts `udco top`, and then says how it has ended.
struct Terminal {
    host: Host,
    socket: String,
}

impl Terminal {
    /// Starts it; `None`, and the test counts as skipped, without tmux.
    fn open(lab: &Lab, host: &Host) -> Result<Option<Self>> {
        if !Path::new("/usr/bin/tmux").exists() {
            skip("no tmux; cure: apt-get install tmux");
            return Ok(None);
        }
        let terminal = Self {
            host: host.clone(),
            socket: lab.file("tmux.sock")?,
        };
        let shell = format!(
            "{} top; echo \"ended with $?\"; stty -a; exec cat",
            udco::program()?
        );
        let size = ["-x", "80", "-y", "24"];
        let new = ["-u", "-f", "/dev/null", "new-session", "-d"];
        terminal.tmux(&[&new[..], &size, &[&shell]].concat())?;
        Ok(Some(terminal))
    }

    fn tmux(&self, words: &[&str]) -> Result<String> {
        self.host
            .run(&[&["tmux", "-S", &self.socket], words].concat())
    }

    /// What is seen.
    fn text(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until something is seen that satisfies this.
    fn wait(&self, what: &str, is_right: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let seen = eventually(what, SOON, || {
            last = self.text()?;
            Ok(is_right(&last).then(|| last.clone()))
        });
        seen.with_context(|| format!("the screen:\n{last}"))
    }

    fn wait_for(&self, words: &str) -> Result<String> {
        // Words may stand in two lines.
        let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.wait(words, |text| joined(text).contains(words))
    }

    fn wait_until_gone(&self, words: &str) -> Result<String> {
        self.wait(&format!("no {words}"), |text| !text.contains(words))
    }

    fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    fn resize(&self, width: &str, height: &str) -> Result<()> {
        self.tmux(&["resize-window", "-x", width, "-y", height])
            .map(drop)
    }

    /// The process id of `udco top`, in the lab.
    fn process(&self) -> Result<String> {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"])?;
        let children = format!("/proc/{0}/task/{0}/children", shell.trim());
        Ok(self.host.run(&["cat", &children])?.trim().to_owned())
    }

    /// Checks that `udco top` has ended well, and has left the terminal as it was.
    fn require_restored(&self) -> Result<()> {
        let text = self.wait_for("ended with 0")?;
        let text = match text.contains("icanon") {
            true => text,
            false => self.wait_for("icanon")?,
        };
        for off in ["-icanon", "-echo ", "-isig", "-opost"] {
            ensure!(!text.contains(off), "{off}:\n{text}");
        }
        let state = "#{alternate_on} #{cursor_flag}";
        let state = self.tmux(&["display-message", "-p", state])?;
        ensure!(state.trim() == "0 1", "screen and cursor: {state}");
        Ok(())
    }
}

/// What the details of a peer say that it has received: the line, and the bits a second in it.
fn received(text: &str) -> Option<(&str, f64)> {
    let line = text.lines().find(|line| line.starts_with("vpn "))?;
    let (_, rate) = line.split_once(": ")?;
    let (number, unit) = rate.split_once(',')?.0.split_once(' ')?;
    let factor = match unit {
        "bit/s" => 1.0,
        "kbit/s" => 1e3,
        "Mbit/s" => 1e6,
        _ => return None,
    };
    Some((line, number.parse::<f64>().ok()? * factor))
}

/// Puts a load on the server; returns the rates that are shown meanwhile, sorted, and the one that is measured.
fn load(pair: &Pair, terminal: &Terminal) -> Result<(Vec<f64>, f64)> {
    let stream = Stream::to(at::INNER_SERVER).seconds(SAMPLES as u32 + 5);
    let stream = stream.limit("2M").datagrams(PAYLOAD);
    let sender = stream.start(&pair.client, &pair.server);
    // The first second is not a full one.
    let is_busy = |text: &str| received(text).is_some_and(|(_, rate)| rate > 1e6);
    let mut text = terminal.wait("the load", is_busy)?;
    let mut rates = Vec::new();
    while rates.len() < SAMPLES && !sender.is_finished() {
        // Each sample has other counters.
        let last = received(&text).map(|(line, _)| line.to_owned());
        let is_next = |text: &str| {
            sender.is_finished() || received(text).map(|(line, _)| line) != last.as_deref()
        };
        text = terminal.wait("the next sample", is_next)?;
        rates.extend(received(&text).map(|(_, rate)| rate));
    }
    rates.sort_by(f64::total_cmp);
    let measured = sender.join().expect("the sender's thread")?;
    let with_headers = f64::from(PAYLOAD + HEADERS) / f64::from(PAYLOAD);
    Ok((rates, measured.bits_per_second * with_headers))
}

#[test]
fn the_rate_is_what_the_sender_measures() -> Result<()> {
    if udco::is_left_out("OpenVPN's own data path is not watched") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let (_server, _client) = connect(pair.udco_server(Proto::Udp4), pair.client(Proto::Udp4))?;
    let Some(terminal) = Terminal::open(&pair.lab, &pair.server)? else {
        pair.lab.discard_logs();
        return Ok(());
    };
    terminal.wait_for("10.8.0.2")?;
    terminal.press(&["Enter"])?;
    let details = terminal.wait_for("peer 0 of tun0")?;
    ensure!(details.contains("192.0.2.2:"), "{details}");
    // The load is low, but on a machine that is very busy even such a one may stumble.
    for left in (0..TRIES).rev() {
        let (rates, expected) = load(&pair, &terminal)?;
        let shown = rates.get(rates.len() / 2).copied().unwrap_or_default();
        println!("shown {shown:.0}, measured {expected:.0} bit/s");
        if (shown / expected - 1.0).abs() < 0.05 {
            break;
        }
        ensure!(left > 0, "{shown} is not {expected}; samples {rates:?}");
        terminal.wait("the end of the load", |text| {
            received(text).is_some_and(|(_, rate)| rate == 0.0)
        })?;
    }
    terminal.press(&["q"])?;
    terminal.require_restored()?;
    pair.lab.discard_logs();
    Ok(())
}

/// Starts a daemon with a device.
fn daemon(host: &Host, log: &str) -> Result<Process> {
    let daemon = udco::daemon(host, log, &["--workers", "1"])?;
    let add = "link add tun0 --mode mp --up";
    host.run(&[&[udco::program()?][..], &words(add)].concat())?;
    Ok(daemon)
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// Makes these peers, which live as long as the process.
fn peers(lab: &Lab, host: &Host, ids: &[u32]) -> Result<Process> {
    let lines = ids
        .iter()
        .map(|id| format!("{id} - 127.0.0.1:{} 10.9.0.{id}\n", 6000 + id));
    let log = format!("peers-from-{}", ids[0]);
    let file = lab.file(&log)?;
    fs::write(&file, lines.collect::<String>())?;
    let port = 5000 + ids[0];
    let line = format!("peer new tun0 --local 127.0.0.1:{port} --json --peers {file}");
    let all = [&[udco::program()?][..], &words(&line)].concat();
    let mut holder = host.spawn(&log, &all)?;
    holder.wait_for_log("\"peers\":[", SOON)?;
    Ok(holder)
}

#[test]
fn it_survives_a_resize_its_peers_and_its_engine() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let Some(terminal) = Terminal::open(&lab, &host)? else {
        return Ok(());
    };
    terminal.wait_for("no engine is running")?;
    let first = daemon(&host, "daemon")?;
    let held = peers(&lab, &host, &[1, 2])?;
    terminal.wait_for("10.9.0.2")?;

    // Twice, as a user does who drags the window.
    for _ in 0..2 {
        terminal.resize("130", "40")?;
        terminal.wait_for("KIND")?;
        terminal.resize("20", "4")?;
        terminal.wait_for("too small")?;
        terminal.resize("50", "10")?;
        terminal.wait_for("10.9.0.2")?;
        terminal.resize("80", "24")?;
        terminal.wait_for("127.0.0.1:6002")?;
    }

    let mut more = peers(&lab, &host, &[3])?;
    terminal.wait_for("10.9.0.3")?;
    terminal.press(&["/", "1", "0", ".", "9", ".", "0", ".", "3", "Enter"])?;
    terminal.wait_until_gone("10.9.0.2")?;
    terminal.press(&["Down", "Enter"])?;
    terminal.wait_for("peer 3 of tun0")?;
    more.terminate(SOON)?;
    terminal.wait_for("this peer is gone")?;
    terminal.press(&["Escape"])?;
    terminal.wait_for("no peer matches")?;
    terminal.press(&["Escape"])?;
    terminal.wait_for("10.9.0.2")?;

    first.signal(Signal::KILL)?;
    terminal.wait_for("tun0: its engine or OpenVPN was killed")?;
    drop((first, held));
    let _second = daemon(&host, "second")?;
    terminal.wait_until_gone("was killed")?;
    let _held = peers(&lab, &host, &[4])?;
    terminal.wait_for("10.9.0.4")?;

    host.run(&["kill", "-TERM", &terminal.process()?])?;
    terminal.require_restored()?;
    lab.discard_logs();
    Ok(())
}

#[test]
fn without_a_terminal_it_refuses() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    let refused = host.output(&[udco::program()?, "top"])?;
    ensure!(refused.status.code() == Some(1), "{}", refused.status);
    ensure!(refused.stdout.is_empty(), "something is drawn");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(words.starts_with("udco: top needs a terminal"), "{words}");
    ensure!(words.lines().count() == 1, "{words}");
    lab.discard_logs();
    Ok(())
}
