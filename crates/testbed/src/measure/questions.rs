//! Questions, each asked when the one before is answered, by one asker or several at once.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::ends::connected;
use crate::host::Host;

/// The answerer's port.
const PORT: u16 = 5998;

/// Bytes of a question and of its answer.
const LENGTH: usize = 64;

/// A question or an answer is lost if it takes longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Round trips, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RoundTrips {
    /// The median.
    pub p50: f64,
    /// 99 of 100 are no longer.
    pub p99: f64,
    /// Questions with an answer.
    pub answered: u32,
    /// Questions without one.
    pub lost: u32,
}

impl RoundTrips {
    /// From the times of those that came back.
    pub(crate) fn of(mut times: Vec<f64>, lost: u32) -> Result<Self> {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times.get(index).copied().context("no answer")
        };
        Ok(Self {
            p50: at(0.5)?,
            p99: at(0.99)?,
            answered: u32::try_from(times.len())?,
            lost,
        })
    }
}

/// Has askers in `client`, as many as given, ask `server`, which owns the address `to`; `program` has the command of a
/// [`crate::LabEnd`].
///
/// # Errors
/// If an end fails, or nothing is answered.
pub fn ask(
    program: &str,
    client: &Host,
    server: &Host,
    to: &str,
    askers: u32,
    duration: Duration,
) -> Result<RoundTrips> {
    let address = SocketAddr::new(to.parse()?, PORT).to_string();
    let words = [program, "lab-end", "answerer", &address];
    let mut answerer = server.spawn("answerer", &words)?;
    answerer.wait_for_log("answering", Duration::from_secs(5))?;
    let (askers, milliseconds) = (askers.to_string(), duration.as_millis().to_string());
    let words = [
        program,
        "lab-end",
        "askers",
        &address,
        &askers,
        &milliseconds,
    ];
    let printed = client.run(&words)?;
    serde_json::from_str(&printed).with_context(|| printed.clone())
}

/// Sends each datagram back, until it is killed.
pub(crate) fn answer(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(address)?;
    println!("answering");
    let mut question = [0; LENGTH];
    loop {
        let (length, from) = socket.recv_from(&mut question)?;
        socket.send_to(&question[..length], from)?;
    }
}

/// The askers, each a thread with a socket of its own.
pub(crate) fn askers(address: SocketAddr, askers: u32, duration: Duration) -> Result<RoundTrips> {
    let askers: Vec<_> = (0..askers)
        .map(|_| thread::spawn(move || asker(address, duration)))
        .collect();
    let (mut times, mut lost) = (Vec::new(), 0);
    for asker in askers {
        let (own, unanswered) = asker.join().map_err(|_| anyhow!("an asker panicked"))??;
        times.extend(own);
        lost += unanswered;
    }
    RoundTrips::of(times, lost)
}

fn asker(address: SocketAddr, duration: Duration) -> Result<(Vec<f64>, u32)> {
    let socket = connected(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let (mut times, mut lost) = (Vec::new(), 0);
    let (mut question, mut answer) = ([0x55; LENGTH], [0; LENGTH]);
    let began = Instant::now();
    for number in 0_u64.. {
        if began.elapsed() >= duration {
            break;
        }
        question[..8].copy_from_slice(&number.to_ne_bytes());
        let asked = Instant::now();
        socket.send(&question)?;
        // A late answer does not count for the next question.
        let answered = loop {
            match socket.recv(&mut answer) {
                Ok(_) if answer == question => break true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) => return Err(error.into()),
            }
        };
        match answered {
            true => times.push(asked.elapsed().as_secs_f64() * 1e6),
            false => lost += 1,
        }
    }
    Ok((times, lost))
}
