//! Echo requests and their replies.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::capture::MARKER;
use crate::host::Host;
use crate::scenario::CONNECT;
use crate::wait::eventually;

/// How long to wait for the last reply.
const PATIENCE: Duration = Duration::from_secs(1);

/// A series of echo requests whose payload is the marker that [`crate::capture`] looks for on the wire.
#[derive(Clone, Debug)]
pub struct Ping {
    to: String,
    count: u32,
    interval: Duration,
    size: usize,
    source: Option<String>,
}

impl Ping {
    /// Ten requests of 56 bytes, 50 a second, to an address of either family.
    pub fn to(address: &str) -> Self {
        Self {
            to: address.to_owned(),
            count: 10,
            interval: Duration::from_millis(20),
            size: 56,
            source: None,
        }
    }

    /// Number of requests.
    pub fn count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// Time between requests, at least 2 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Payload bytes of each request.
    pub fn size(mut self, size: usize) -> Self {
        self.size = size;
        self
    }

    /// Source address or device.
    pub fn from(mut self, source: &str) -> Self {
        self.source = Some(source.to_owned());
        self
    }

    /// Sends them from `host` and waits for the replies, 1 s for the last. Loss is not an error.
    ///
    /// Once it has had a reply, ping(8) waits for later ones no longer than an interval or two round trips, whatever
    /// `-W` says: on a loaded machine the last ones would seem lost. So it gets more requests to send, and is ended
    /// once those that count are answered: it sends one or two more.
    ///
    /// # Errors
    /// If ping doesn't run, or its output cannot be parsed.
    pub fn run(&self, host: &Host) -> Result<Echo> {
        let pattern: String = MARKER.iter().map(|byte| format!("{byte:02x}")).collect();
        let interval = format!("{:.3}", self.interval.as_secs_f64());
        let more = PATIENCE.as_secs_f64() / self.interval.as_secs_f64().max(0.001);
        let count = (self.count + more.ceil() as u32).to_string();
        let size = self.size.to_string();
        let mut words = vec![
            "ping", "-n", "-W", "1", "-c", &count, "-i", &interval, "-s", &size, "-p", &pattern,
        ];
        if let Some(source) = &self.source {
            words.extend(["-I", source]);
        }
        words.push(&self.to);
        let (program, arguments) = words.split_first().context("no command")?;
        let mut ping = host
            .command(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run ping")?;
        let mut answers = Answers::new(self.count);
        let mut text = String::new();
        for line in BufReader::new(ping.stdout.take().context("no output")?).lines() {
            let line = line?;
            answers.add(&line)?;
            text.extend([&line, "\n"]);
            if answers.are_complete() {
                // Its output is closed now: the next reply ends it.
                break;
            }
        }
        if let Some(mut words) = ping.stderr.take() {
            words.read_to_string(&mut text)?;
        }
        ping.wait()?;
        answers
            .echo(&text)
            .with_context(|| format!("{}: ping: {text}", host.name()))
    }

    /// Sends a request from `host`, again and again, until one is answered.
    ///
    /// # Errors
    /// After `timeout`, or if ping doesn't run.
    pub fn answered_within(&self, timeout: Duration, host: &Host) -> Result<()> {
        let one = self.clone().count(1);
        eventually(&format!("an answer of {}", self.to), timeout, || {
            let echo = one.run(host)?;
            Ok(echo.lost.is_empty().then_some(()))
        })
    }

    /// Like [`Self::run`], in a thread of its own.
    pub fn start(&self, host: &Host) -> thread::JoinHandle<Result<Echo>> {
        let (ping, host) = (self.clone(), host.clone());
        thread::spawn(move || ping.run(&host))
    }

    /// Sends them and requires a reply to every one.
    ///
    /// # Errors
    /// Names the lost ones.
    pub fn all_answered(&self, host: &Host) -> Result<Echo> {
        let echo = self.run(host)?;
        ensure!(
            echo.lost.is_empty(),
            "{} to {}: lost {} of {}: {:?}",
            host.name(),
            self.to,
            echo.lost.len(),
            echo.sent,
            echo.lost
        );
        Ok(echo)
    }

    /// The same, once one is answered: a client is connected a moment before its server has the keys.
    ///
    /// # Errors
    /// If none is answered in time; then as above.
    pub fn all_answered_once_keyed(&self, host: &Host) -> Result<Echo> {
        self.answered_within(CONNECT, host)?;
        self.all_answered(host)
    }
}

/// The outcome of a [`Ping`].
#[derive(Clone, Debug, PartialEq)]
pub struct Echo {
    /// Requests sent.
    pub sent: u32,
    /// Replies received, duplicates not counted.
    pub received: u32,
    /// Sequence numbers (from 1) without a reply.
    pub lost: Vec<u32>,
    /// Round-trip times in milliseconds, ascending.
    pub rtt_ms: Vec<f64>,
}

impl Echo {
    /// The median of the round-trip times, in milliseconds.
    pub fn median_ms(&self) -> Option<f64> {
        self.rtt_ms.get(self.rtt_ms.len() / 2).copied()
    }

    /// The round-trip time that `share` (0 to 1) of the replies don't exceed, in milliseconds.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let rank = (self.rtt_ms.len() as f64 * share).ceil() as usize;
        self.rtt_ms.get(rank.saturating_sub(1)).copied()
    }

    /// The longest round-trip time, in milliseconds.
    pub fn max_ms(&self) -> Option<f64> {
        self.rtt_ms.last().copied()
    }
}

/// Replies as ping(8) prints them.
struct Answers {
    /// By sequence number; 0 is never used.
    missing: Vec<bool>,
    rtt_ms: Vec<f64>,
}

impl Answers {
    /// Expects replies to `count` requests; those to later ones don't count.
    fn new(count: u32) -> Self {
        Self {
            missing: vec![true; count as usize + 1],
            rtt_ms: Vec::new(),
        }
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let word = |key: &str| line.split_once(key)?.1.split_whitespace().next();
        if let (Some(sequence), Some(time)) = (word("icmp_seq="), word("time="))
            && let Some(slot) = self.missing.get_mut(sequence.parse::<usize>()?)
            && std::mem::take(slot)
        {
            self.rtt_ms.push(time.parse()?);
        }
        Ok(())
    }

    fn are_complete(&self) -> bool {
        self.rtt_ms.len() + 1 >= self.missing.len()
    }

    /// The result, from ping's whole output; it ends with a summary unless ping was ended early.
    fn echo(self, text: &str) -> Result<Echo> {
        let wanted = u32::try_from(self.missing.len() - 1)?;
        let summary = text
            .lines()
            .find_map(|line| line.split_once(" packets transmitted")?.0.parse().ok());
        let sent = match summary {
            Some(sent) => wanted.min(sent),
            None if self.are_complete() => wanted,
            None => bail!("no summary"),
        };
        let mut rtt_ms = self.rtt_ms;
        rtt_ms.sort_by(f64::total_cmp);
        Ok(Echo {
            sent,
            received: u32::try_from(rtt_ms.len())?,
            lost: (1..=sent)
                .filter(|&n| self.missing.get(n as usize).copied().unwrap_or(true))
                .collect(),
            rtt_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Answers, Echo};

    fn echo(text: &str, count: u32) -> Option<Echo> {
        let mut answers = Answers::new(count);
        for line in text.lines() {
            answers.add(line).expect("numbers");
        }
        answers.echo(text).ok()
    }

    #[test]
    fn lost_and_duplicate_replies_are_told_apart() {
        let text = "64 bytes from 10.8.0.1: icmp_seq=1 ttl=64 time=0.300 ms\n\
                    64 bytes from 10.8.0.1: icmp_seq=3 ttl=64 time=0.100 ms\n\
                    64 bytes from 10.8.0.1: icmp_seq=3 ttl=64 time=0.200 ms (DUP!)\n\
                    64 bytes from 10.8.0.1: icmp_seq=4 ttl=64 time=0.050 ms\n\
                    4 packets transmitted, 3 received, +1 duplicates, 25% packet loss, time 60ms\n";
        let echo = echo(text, 3).expect("a summary");
        assert_eq!((echo.sent, echo.received), (3, 2));
        assert_eq!(echo.lost, [2]);
        assert_eq!(echo.rtt_ms, [0.1, 0.3]);
        assert_eq!(echo.quantile_ms(0.5), Some(0.1));
        assert_eq!(echo.quantile_ms(0.99), Some(0.3));
    }

    #[test]
    fn a_summary_is_missed_only_while_replies_are() {
        let text = "64 bytes from 10.8.0.1: icmp_seq=1 ttl=64 time=0.300 ms\n";
        assert!(echo(text, 2).is_none());
        assert_eq!(echo(text, 1).map(|echo| echo.received), Some(1));
    }
}
