//! Streams by iperf3, over TCP and UDP, and its reports.

use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::host::Host;

/// Streams by iperf3, over TCP unless [`Self::datagrams`] says otherwise.
#[derive(Clone, Debug)]
pub struct Stream {
    to: String,
    seconds: u32,
    reverse: bool,
    parallel: u32,
    congestion: Option<String>,
    limit: Option<String>,
    datagrams: Option<u32>,
}

impl Stream {
    /// One stream for one second, as fast as possible, towards `address`.
    pub fn to(address: &str) -> Self {
        Self {
            to: address.to_owned(),
            seconds: 1,
            reverse: false,
            parallel: 1,
            congestion: None,
            limit: None,
            datagrams: None,
        }
    }

    /// Duration in seconds.
    pub fn seconds(mut self, seconds: u32) -> Self {
        self.seconds = seconds;
        self
    }

    /// Sends data from the server to the client.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Number of parallel streams; the figures are their sums.
    pub fn parallel(mut self, streams: u32) -> Self {
        self.parallel = streams;
        self
    }

    /// Congestion control, as the kernel names it: `cubic`. A lab has the machine's default.
    pub fn congestion(mut self, name: &str) -> Self {
        self.congestion = Some(name.to_owned());
        self
    }

    /// Rate limit, as iperf3 writes it: `50M`.
    pub fn limit(mut self, limit: &str) -> Self {
        self.limit = Some(limit.to_owned());
        self
    }

    /// UDP datagrams with so many bytes of payload; give it a [`Self::limit`].
    pub fn datagrams(mut self, bytes: u32) -> Self {
        self.datagrams = Some(bytes);
        self
    }

    /// Runs an iperf3 server in `server` (which owns the address) and a client in `client`.
    ///
    /// # Errors
    /// If no connection comes up, or it breaks.
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
        let parallel = self.parallel.to_string();
        if self.parallel > 1 {
            words.extend(["-P", &parallel]);
        }
        if let Some(congestion) = &self.congestion {
            words.extend(["-C", congestion]);
        }
        let bytes = self.datagrams.map(|bytes| bytes.to_string());
        if let (Some(limit), Some(bytes)) = (&self.limit, &bytes) {
            words.extend(["-u", "-b", limit, "-l", bytes]);
        } else if let Some(limit) = &self.limit {
            // iperf3 paces block by block: its default of 128 KiB is a burst that overflows a default socket buffer.
            words.extend(["-b", limit, "-l", "8K"]);
        }
        let mut sender = client.spawn(&format!("iperf3-client-{port}"), &words)?;
        sender.wait(Duration::from_secs(u64::from(self.seconds) + 15))?;
        let log = sender.log();
        // After warnings: of datagrams longer than a segment of TCP, for one.
        let report = log.find('{').map_or("", |at| &log[at..]);
        let report: Value = serde_json::from_str(report).with_context(|| log.clone())?;
        Throughput::from_report(&report)
    }

    /// Like [`Self::run`], in a thread of its own.
    pub fn start(&self, client: &Host, server: &Host) -> thread::JoinHandle<Result<Throughput>> {
        let (stream, client, server) = (self.clone(), client.clone(), server.clone());
        thread::spawn(move || stream.run(&client, &server))
    }
}

/// Makes sockets of a host start with reno, which every machine allows. iperf3 sets another congestion control once its
/// socket exists, too late to undo a side effect of the machine's default: with bbr, a timer for every few packets.
///
/// # Errors
/// If `/proc/sys` cannot be written.
pub fn begin_without_pacing(host: &Host) -> Result<()> {
    begin_with(host, "reno")
}

/// Makes sockets of a host start with this congestion control.
///
/// # Errors
/// If the kernel does not have it, or `/proc/sys` cannot be written.
pub fn begin_with(host: &Host, congestion: &str) -> Result<()> {
    let line = format!("echo {congestion} >/proc/sys/net/ipv4/tcp_congestion_control");
    host.run(&["sh", "-c", &line])
        .with_context(|| format!("cannot set the congestion control to {congestion}"))
        .map(drop)
}

/// The outcome of a [`Stream`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// Payload bits per second, as the receiver counted them.
    pub bits_per_second: f64,
    /// Payload bytes, as the receiver counted them.
    pub bytes: u64,
    /// Segments retransmitted.
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
            bytes: end("sum_received", "bytes")
                .and_then(|value| value.as_u64())
                .unwrap_or(0),
            retransmits: end("sum_sent", "retransmits")
                .and_then(|value| value.as_u64())
                .unwrap_or(0),
        })
    }
}
