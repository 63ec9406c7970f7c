//! Traffic through the tunnel: ping and iperf3, and what they report.

use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::capture::MARKER;
use crate::host::Host;

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

    /// Sends them from `host` and waits for the replies, the last for 1 s. Loss is no error.
    ///
    /// # Errors
    /// Fails if ping doesn't run or says nothing that is understood.
    pub fn run(&self, host: &Host) -> Result<Echo> {
        let pattern: String = MARKER.iter().map(|byte| format!("{byte:02x}")).collect();
        let interval = format!("{:.3}", self.interval.as_secs_f64());
        let [count, size] = [self.count.to_string(), self.size.to_string()];
        let mut words = vec![
            "ping", "-n", "-W", "1", "-c", &count, "-i", &interval, "-s", &size, "-p", &pattern,
        ];
        if let Some(source) = &self.source {
            words.extend(["-I", source]);
        }
        words.push(&self.to);
        let output = host.output(&words)?;
        let text = String::from_utf8_lossy(&output.stdout);
        Echo::parse(&text, self.count).with_context(|| {
            format!(
                "{}: ping: {text}{}",
                host.name(),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Like [`Self::run`], in a thread of its own.
    pub fn start(&self, host: &Host) -> thread::JoinHandle<Result<Echo>> {
        let (ping, host) = (self.clone(), host.clone());
        thread::spawn(move || ping.run(&host))
    }

    /// Sends them and wants every one answered.
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
}

/// What came of a [`Ping`].
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
    fn parse(text: &str, count: u32) -> Result<Self> {
        let sent = text
            .lines()
            .find_map(|line| line.split_once(" packets transmitted")?.0.parse().ok())
            .context("no summary")?;
        let mut missing: Vec<bool> = vec![true; count as usize + 1];
        let mut rtt_ms = Vec::new();
        for line in text.lines() {
            let word = |key: &str| line.split_once(key)?.1.split_whitespace().next();
            if let (Some(sequence), Some(time)) = (word("icmp_seq="), word("time="))
                && let Some(slot) = missing.get_mut(sequence.parse::<usize>()?)
                && std::mem::take(slot)
            {
                rtt_ms.push(time.parse()?);
            }
        }
        rtt_ms.sort_by(f64::total_cmp);
        Ok(Self {
            sent,
            received: u32::try_from(rtt_ms.len())?,
            lost: (1..=sent)
                .filter(|&n| missing.get(n as usize).copied().unwrap_or(true))
                .collect(),
            rtt_ms,
        })
    }

    /// The middle of the round-trip times, in milliseconds.
    pub fn median_ms(&self) -> Option<f64> {
        self.rtt_ms.get(self.rtt_ms.len() / 2).copied()
    }

    /// The longest round-trip time, in milliseconds.
    pub fn max_ms(&self) -> Option<f64> {
        self.rtt_ms.last().copied()
    }
}

/// One TCP stream by iperf3.
#[derive(Clone, Debug)]
pub struct Stream {
    to: String,
    seconds: u32,
    reverse: bool,
    limit: Option<String>,
}

impl Stream {
    /// One second, as fast as it goes, towards `address`.
    pub fn to(address: &str) -> Self {
        Self {
            to: address.to_owned(),
            seconds: 1,
            reverse: false,
            limit: None,
        }
    }

    /// Duration in seconds.
    pub fn seconds(mut self, seconds: u32) -> Self {
        self.seconds = seconds;
        self
    }

    /// Data flows from the server to the client.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Rate limit, as iperf3 writes it: `50M`.
    pub fn limit(mut self, limit: &str) -> Self {
        self.limit = Some(limit.to_owned());
        self
    }

    /// Runs an iperf3 server in `server` (which owns the address) and a client in `client`.
    ///
    /// # Errors
    /// Fails if no connection comes about or it breaks.
    pub fn run(&self, client: &Host, server: &Host) -> Result<Throughput> {
        static PORT: AtomicU16 = AtomicU16::new(5201);
        let port = PORT.fetch_add(1, Ordering::Relaxed);
        let number = port.to_string();
        let mut listener = server.spawn(
            &format!("iperf3-server-{port}"),
            &["iperf3", "-s", "-1", "-p", &number, "--forceflush"],
        )?;
        listener.wait_for_log("Server listening", Duration::from_secs(5))?;
        let seconds = self.seconds.to_string();
        let mut words = vec![
            "iperf3",
            "-c",
            &self.to,
            "-p",
            &number,
            "-t",
            &seconds,
            "-J",
            "--connect-timeout",
            "3000",
        ];
        if self.reverse {
            words.push("-R");
        }
        if let Some(limit) = &self.limit {
            // iperf3 paces block by block: its default of 128 KiB is a burst that overflows a default socket buffer.
            words.extend(["-b", limit, "-l", "8K"]);
        }
        let mut sender = client.spawn(&format!("iperf3-client-{port}"), &words)?;
        sender.wait(Duration::from_secs(u64::from(self.seconds) + 15))?;
        let report: Value = serde_json::from_str(&sender.log()).context("iperf3's report")?;
        Throughput::from_report(&report)
    }

    /// Like [`Self::run`], in a thread of its own.
    pub fn start(&self, client: &Host, server: &Host) -> thread::JoinHandle<Result<Throughput>> {
        let (stream, client, server) = (self.clone(), client.clone(), server.clone());
        thread::spawn(move || stream.run(&client, &server))
    }
}

/// What came of a [`Stream`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// Payload bits a second, as the receiver counted them.
    pub bits_per_second: f64,
    /// Segments sent again.
    pub retransmits: u64,
}

impl Throughput {
    fn from_report(report: &Value) -> Result<Self> {
        if let Some(error) = report.get("error") {
            anyhow::bail!("iperf3: {error}");
        }
        let end = |sum: &str, key: &str| report.get("end")?.get(sum)?.get(key).cloned();
        Ok(Self {
            bits_per_second: end("sum_received", "bits_per_second")
                .and_then(|value| value.as_f64())
                .context("no rate in iperf3's report")?,
            retransmits: end("sum_sent", "retransmits")
                .and_then(|value| value.as_u64())
                .unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Echo;

    #[test]
    fn lost_and_duplicate_replies_are_told_apart() {
        let text = "64 bytes from 10.8.0.1: icmp_seq=1 ttl=64 time=0.300 ms\n\
                    64 bytes from 10.8.0.1: icmp_seq=3 ttl=64 time=0.100 ms\n\
                    64 bytes from 10.8.0.1: icmp_seq=3 ttl=64 time=0.200 ms (DUP!)\n\
                    3 packets transmitted, 2 received, +1 duplicates, 33% packet loss, time 40ms\n";
        let echo = Echo::parse(text, 3).expect("a summary");
        assert_eq!((echo.sent, echo.received), (3, 2));
        assert_eq!(echo.lost, [2]);
        assert_eq!(echo.rtt_ms, [0.1, 0.3]);
    }
}
