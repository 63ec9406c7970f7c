//! A session over TCP whose stream comes in other pieces than it was sent in, stands still, or is reset (promises F4).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::chaos::{Session, Weather};
use crate::scenario::CONNECT;
use crate::wait::eventually;

/// The longest that a stream inside may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long counters may take to stand still.
const SETTLE: Duration = Duration::from_secs(10);

/// What is done to the stream outside, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tear {
    /// The longest piece that is handed on at once, bytes; each is as long as the dice say, from 1 on.
    pub longest_piece: usize,
    /// Of a thousand pieces so many come after a stall.
    pub stalls: u16,
    /// How long a stall is, milliseconds.
    pub stall_ms: u64,
    /// Of a whole stream inside, which short pieces make slow, one part in so many is sent.
    part: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Torn {
    /// What was done.
    pub tear: Tear,
    /// Bytes of the stream inside.
    pub bytes: u64,
    /// Until the receiver's answer.
    pub seconds: f64,
    /// Pieces that were handed on outside.
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
    /// Sends a stream of a part of `whole` bytes, every second one towards the server. The session is one over TCP.
    ///
    /// # Errors
    /// Fails if the stream does not arrive whole, or packets of the stream outside did not.
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

/// Resets the connection in the middle of a stream; OpenVPN makes it anew, and a stream goes through that.
///
/// # Errors
/// Fails if OpenVPN does not come back.
pub fn reset(session: &mut Session, number: u64, bytes: u64) -> Result<()> {
    let before = session.relay.report()?.segments.resets;
    session.relay.set(Weather {
        // On a busy machine the relay finds long pieces, and then so few that none may be hit.
        segment: 1_500,
        reset: 0.01,
        ..Weather::CALM
    })?;
    let seed = session.relay.seed().wrapping_add(number);
    // It breaks, or stands still until its address is there again: either is right.
    let _ = session.stream(true, seed, bytes, Duration::from_secs(3));
    let resets = session.relay.set(Weather::CALM)?.segments.resets - before;
    ensure!(resets > 0, "nothing was reset");
    // It may have come back and been reset once more meanwhile: what counts is that it comes back at last.
    eventually("the session after a reset", CONNECT, || {
        let short = session.stream(true, seed, 1_000, Duration::from_secs(3));
        Ok(short.ok())
    })?;
    session
        .stream(true, seed, bytes, PATIENCE)
        .context("after a reset")?;
    require_whole(session)
}

/// What one end has sent is what the other has received, and nobody has lost its place in the stream.
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
