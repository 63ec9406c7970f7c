//! `udco ping`: round trip, loss, and the largest packet that passes, inside the tunnel to a peer.

mod largest;
mod message;
mod probe;
mod report;
mod tally;
mod target;

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use udco_sys::signal::Termination;

use self::largest::Search;
use self::probe::Probe;
use self::report::{Largest, Report};
use self::tally::Tally;
use crate::client::wait;
use crate::engines::EngineOption;
use crate::exit;
use crate::output::{self, NobodyReads, complain};

/// How long after the last request answers are waited for: a busy machine takes many times the usual round trip.
const LINGER: Duration = Duration::from_secs(1);

/// How often one size is tried: a packet that is lost by chance is not too large.
const TRIES: usize = 3;

/// How long after one try the next one follows. At once, the engine would send them as one super-packet, and bridges
/// and virtual links let that pass, whatever its segments' size.
const APART: Duration = Duration::from_millis(50);

/// The shortest wait for the answer to one size.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Name of the device.
    #[arg(value_parser = crate::interface::argument)]
    device: String,
    /// Id of the peer [default: the only one].
    #[arg(long, value_parser = crate::peer::peer_id())]
    id: Option<u32>,
    /// Send to this address in the tunnel [default: the peer's VPN address; for a peer without one, such as a client's
    /// server, the gateway of the routes through the device].
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// Use the peer's IPv4 address [default: IPv4 if it has both].
    #[arg(short = '4', long = "ipv4", conflicts_with_all = ["ipv6", "address"])]
    ipv4: bool,
    /// Use its IPv6 address.
    #[arg(short = '6', long = "ipv6", conflicts_with = "address")]
    ipv6: bool,
    /// Send this many requests.
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Seconds from one request to the next.
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// Bytes of payload in each request; 8 bytes of ICMP and 20 or 40 of IP are added.
    #[arg(short, long, value_name = "BYTES", default_value_t = 56, value_parser = clap::value_parser!(u16).range(..=65_487))]
    size: u16,
    /// Print one JSON object at the end.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineOption,
}

/// Pings, and returns the exit code.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    match ping(arguments) {
        Err(error) if !error.is::<NobodyReads>() => {
            complain!("ping: {error:#}");
            Ok(exit::NOT_PINGED)
        }
        ended => ended,
    }
}

fn ping(arguments: &Arguments) -> Result<u8> {
    let target = target::find(arguments)?;
    let mut probe = Probe::open(&target)?;
    let termination = Termination::catch()?;
    let mut report = Report::new(arguments, &target);
    report.begin()?;
    let begin = Instant::now();
    let mut tally = Tally::default();
    let is_ended = echo(arguments, &mut probe, &termination, &report, &mut tally)?;
    report.took(begin.elapsed());
    if !is_ended && tally.received() > 0 {
        match largest(&mut probe, &termination, &tally, arguments.size)? {
            Some(Outcome::Found(largest)) => report.largest(largest),
            Some(Outcome::Silence) => report.silence(),
            None => {}
        }
    }
    report.end(&tally)?;
    Ok(if tally.received() > 0 {
        0
    } else {
        exit::NO_ANSWER
    })
}

/// Sends the requests and counts the answers. Returns whether a signal has ended it.
fn echo(
    arguments: &Arguments,
    probe: &mut Probe,
    termination: &Termination,
    report: &Report<'_>,
    tally: &mut Tally,
) -> Result<bool> {
    let mut next = Instant::now();
    let mut last = next;
    loop {
        let now = Instant::now();
        if tally.sent() < arguments.count && now >= next {
            if probe.send(usize::from(arguments.size), now)?.is_some() {
                tally.sent_one();
            } else {
                anyhow::bail!(
                    "a packet of {} bytes is longer than {} takes: choose a smaller --size",
                    probe.packet(usize::from(arguments.size)),
                    arguments.device
                );
            }
            (last, next) = (now, now + arguments.interval);
        }
        while let Some(answer) = probe.receive() {
            let is_first = tally.answered(answer.number, answer.after);
            report.answer(&answer, is_first)?;
        }
        let is_all = tally.sent() == arguments.count;
        if is_all && tally.received() == tally.sent() {
            return Ok(false);
        }
        let until = match is_all {
            true => last + LINGER,
            false => next,
        };
        let left = until.saturating_duration_since(Instant::now());
        if is_all && left.is_zero() {
            return Ok(false);
        }
        wait(&[probe.as_fd(), termination.as_fd()], Some(left))?;
        if termination.received().is_some() {
            return Ok(true);
        }
        if output::is_abandoned() {
            return Err(NobodyReads.into());
        }
    }
}

/// What a search has found.
enum Outcome {
    Found(Largest),
    /// Nothing comes back any more, whatever its size.
    Silence,
}

/// Searches the largest packet that comes back; `None` if a signal has ended the search. One with this much payload has
/// come back.
fn largest(
    probe: &mut Probe,
    termination: &Termination,
    tally: &Tally,
    size: u16,
) -> Result<Option<Outcome>> {
    let mtu = probe.mtu()?;
    let least = probe.packet(usize::from(size));
    let mut search = Search::new(least, mtu.max(least));
    let patience = tally.wait(LINGER).max(SHORTEST_WAIT);
    while let Some(packet) = search.next() {
        let Some(passed) = passes(probe, termination, packet, patience)? else {
            return Ok(None);
        };
        search.tried(packet, passed);
    }
    let bytes = search.largest();
    if bytes < mtu {
        // The peer may have gone: then the size is not to blame.
        match passes(probe, termination, bytes, patience)? {
            Some(true) => {}
            Some(false) => return Ok(Some(Outcome::Silence)),
            None => return Ok(None),
        }
    }
    Ok(Some(Outcome::Found(Largest { bytes, mtu })))
}

/// Whether a packet of this size comes back; `None` if a signal has ended the wait.
fn passes(
    probe: &mut Probe,
    termination: &Termination,
    packet: usize,
    patience: Duration,
) -> Result<Option<bool>> {
    let mut numbers = Vec::with_capacity(TRIES);
    while numbers.len() < TRIES {
        let now = Instant::now();
        let Some(number) = probe.send(probe.payload(packet), now)? else {
            // It is longer than the device takes.
            return Ok(Some(false));
        };
        numbers.push(number);
        let is_last = numbers.len() == TRIES;
        let until = now + if is_last { patience } else { APART };
        loop {
            while let Some(answer) = probe.receive() {
                if numbers.contains(&answer.number) {
                    return Ok(Some(true));
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            wait(&[probe.as_fd(), termination.as_fd()], Some(left))?;
            if termination.received().is_some() {
                return Ok(None);
            }
        }
    }
    Ok(Some(false))
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| *seconds >= 0.002);
    let interval = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    interval.ok_or_else(|| "expected seconds, at least 0.002".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_neither_too_short_nor_endless() {
        assert_eq!(interval("0.2"), Ok(Duration::from_millis(200)));
        assert_eq!(interval("2"), Ok(Duration::from_secs(2)));
        for bad in ["", "0", "0.001", "-1", "x", "inf", "NaN", "1e300"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
