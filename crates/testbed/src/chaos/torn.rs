//! A session over TCP with a stream that is cut into other pieces, stalled, or reset (promises F4).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::chaos::{Session, Weather};
use crate::scenario::CONNECT;
use crate::wait::eventually;

/// The longest that a stream inside may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long counters may take to come to rest.
const SETTLE: Duration = Duration::from_secs(10);

/// What to do to the outer stream, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tear {
    /// The longest piece to relay at once, bytes; lengths are random, from 1 on.
    pub longest_piece: usize,
    /// Stalls per thousand pieces.
    pub stalls: u16,
    /// Length of a stall, milliseconds.
    pub stall_ms: u64,
    /// Divides the length of the inner stream, which short pieces slow down.
    part: u64,
}

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Torn {
    /// What was done to the outer stream.
    pub tear: Tear,
    /// Bytes of the inner stream.
    pub bytes: u64,
    /// Time until the receiver's answer.
    pub seconds: f64,
    /// Pieces relayed outside.
    pub pieces: u64,
    /// Stalls.
    pub stalls: u64,
}

/// From pieces that cut every length and every header to long ones with long stalls.
pub fn tears() -> Vec<Tear> {
    [
        (2, 0, 0, 64),
        (7, 0, 0, 32),
        (100, 0, 0, 8),
        (1_500, 10, 5, 4),
        (9_000, 50, 10, 4),
        (65_536, 100, 100, 4),
        (65_536, 0, 0, 1),
    ]
    .map(|(longest_piece, stalls, stall_ms, part)| Tear {
        longest_piece,
        stalls,
        stall_ms,
        part,
    })
    .into()
}

impl Tear {
    /// Sends a stream of a fraction of `whole` bytes, every second one towards the server, in a session over TCP.
    ///
    /// # Errors
    /// If the stream does not arrive whole, or packets of the outer stream are missing.
    pub fn run(self, session: &mut Session, number: u64, whole: u64) -> Result<Torn> {
        let name = format!("{self:?}, seed {}", session.relay.seed());
        let weather = Weather {
            segment: self.longest_piece,
            stall: f64::from(self.stalls) / 1_000.0,
            stall_ms: self.stall_ms,
            ..Weather::CALM
        };
        let before = session.relay.set(weather)?.segments;
        let (seed, bytes) = (session.relay.seed().wrapping_add(number), whole / self.part);
        let took = session
            .stream(number.is_multiple_of(2), seed, bytes, PATIENCE)
            .with_context(|| name.clone())?;
        let after = session.relay.set(Weather::CALM)?.segments;
        require_whole(session).with_context(|| name.clone())?;
        let pieces = after.writes - before.writes;
        ensure!(
            pieces * self.longest_piece as u64 >= bytes,
            "{name}: only {pieces} pieces went through the relay"
        );
        Ok(Torn {
            tear: self,
            bytes,
            seconds: took.as_secs_f64(),
            pieces,
            stalls: after.stalls - before.stalls,
        })
    }
}

/// Resets the connection in the middle of a stream; OpenVPN reconnects, and a new stream must get through.
///
/// # Errors
/// If OpenVPN does not reconnect.
pub fn reset(session: &mut Session, number: u64, bytes: u64) -> Result<()> {
    let before = session.relay.report()?.segments.resets;
    session.relay.set(Weather {
        // On a busy machine the relay reads long pieces, so few that none may be hit.
        segment: 1_500,
        reset: 0.01,
        ..Weather::CALM
    })?;
    let seed = session.relay.seed().wrapping_add(number);
    // The stream breaks, or stalls until its address is back: both are right.
    let _ = session.stream(true, seed, bytes, Duration::from_secs(3));
    let resets = session.relay.set(Weather::CALM)?.segments.resets - before;
    ensure!(resets > 0, "nothing was reset");
    // OpenVPN may have reconnected and been reset again meanwhile: only the final reconnect counts.
    eventually("the session after a reset", CONNECT, || {
        let short = session.stream(true, seed, 1_000, Duration::from_secs(3));
        Ok(short.ok())
    })?;
    session
        .stream(true, seed, bytes, PATIENCE)
        .context("after a reset")?;
    require_whole(session)
}

/// Checks that each end received all that the other sent, and that neither lost its place in the stream.
fn require_whole(session: &Session) -> Result<()> {
    let mut last = String::new();
    eventually("counters that add up", SETTLE, || {
        let (server, client) = session.ends()?;
        last = format!("server {server:?}, client {client:?}");
        let is_whole = server.link_tx == client.link_rx && client.link_tx == server.link_rx;
        Ok(is_whole.then_some(()))
    })
    .context(last)?;
    for end in [&session.server, &session.client] {
        let log = end.log();
        let line = log
            .lines()
            .find(|line| line.contains("Bad encapsulated packet length"));
        ensure!(line.is_none(), "{}: {line:?}", end.host().name());
        end.require_authentic()?;
    }
    Ok(())
}
