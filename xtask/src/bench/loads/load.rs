//! The loads, and what carries them.

use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use udco_testbed::Pair;
use udco_testbed::measure::{Echo, Ping, RoundTrips, Stream, questions};

use crate::step;

/// One kind of traffic, from the client to the server unless it is `down`.
pub(super) struct Load {
    pub(super) name: &'static str,
    down: bool,
    kind: Kind,
}

pub(super) enum Kind {
    /// Datagrams of this many bytes, at this rate.
    Datagrams(u32, &'static str),
    /// A TCP stream, at this rate or as fast as it goes.
    Stream(Option<&'static str>),
    /// Datagrams that a process at the server sends back to this many askers; each then sends the next.
    Questions(u32),
}

pub(super) const LOADS: [Load; 10] = [
    load(
        "UDP 1,350 B, 100 Mbit/s, up",
        false,
        Kind::Datagrams(1350, "100M"),
    ),
    load(
        "UDP 1,350 B, 300 Mbit/s, up",
        false,
        Kind::Datagrams(1350, "300M"),
    ),
    load(
        "UDP 1,350 B, 300 Mbit/s, down",
        true,
        Kind::Datagrams(1350, "300M"),
    ),
    load(
        "UDP 200 B, 20 Mbit/s, up",
        false,
        Kind::Datagrams(200, "20M"),
    ),
    load("TCP 300 Mbit/s, up", false, Kind::Stream(Some("300M"))),
    load("TCP 300 Mbit/s, down", true, Kind::Stream(Some("300M"))),
    load("TCP full rate, up", false, Kind::Stream(None)),
    load("TCP full rate, down", true, Kind::Stream(None)),
    load("questions, one asker", false, Kind::Questions(1)),
    load("questions, 16 askers", false, Kind::Questions(16)),
];

const fn load(name: &'static str, down: bool, kind: Kind) -> Load {
    Load { name, down, kind }
}

/// What a load has carried.
pub(super) struct Carried {
    /// Mbit/s, or answers per second.
    pub(super) rate: f64,
    /// Gbit, or 100,000 answers.
    pub(super) units: f64,
    pub(super) round_trips: Option<RoundTrips>,
}

impl Load {
    /// Puts the load on the tunnel, and, except for questions, echo requests beside it if there shall be `pings`.
    pub(super) fn carry(
        &self,
        pair: &Pair,
        to: &str,
        seconds: u32,
        pings: bool,
    ) -> Result<Carried> {
        let stream = Stream::to(to).seconds(seconds);
        let stream = match self.kind {
            Kind::Datagrams(bytes, rate) => stream.datagrams(bytes).limit(rate),
            Kind::Stream(rate) => {
                let stream = stream.congestion("cubic");
                rate.into_iter().fold(stream, Stream::limit)
            }
            Kind::Questions(askers) => return ask(pair, to, askers, seconds),
        };
        let stream = if self.down { stream.reverse() } else { stream };
        let pings = pings.then(|| self::pings(to, seconds).start(&pair.client));
        let carried = stream.run(&pair.client, &pair.server);
        let round_trips = pings.map(round_trips).transpose()?;
        let carried = carried?;
        Ok(Carried {
            rate: carried.bits_per_second / 1e6,
            units: carried.bytes as f64 * 8.0 / 1e9,
            round_trips,
        })
    }
}

fn ask(pair: &Pair, to: &str, askers: u32, seconds: u32) -> Result<Carried> {
    let (program, duration) = (step::own_path()?, Duration::from_secs(seconds.into()));
    let times = questions::ask(&program, &pair.client, &pair.server, to, askers, duration)?;
    let answers = f64::from(times.answered);
    Ok(Carried {
        rate: answers / duration.as_secs_f64(),
        units: answers / 1e5,
        round_trips: Some(times),
    })
}

/// Echo requests beside a load of this duration.
fn pings(to: &str, seconds: u32) -> Ping {
    let interval = Duration::from_millis(10);
    Ping::to(to).count(100 * seconds).interval(interval)
}

/// What they have found.
fn round_trips(pings: JoinHandle<Result<Echo>>) -> Result<RoundTrips> {
    let echo = pings.join().map_err(|_panic| anyhow!("ping panicked"))??;
    let at = |share: f64| {
        let time = echo.quantile_ms(share).context("no echo came back")?;
        anyhow::Ok(time * 1e3)
    };
    Ok(RoundTrips {
        p50: at(0.5)?,
        p99: at(0.99)?,
        answered: echo.received,
        lost: echo.sent.saturating_sub(echo.received),
    })
}
