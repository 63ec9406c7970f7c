//! The relay's processes in hosts of the lab, and the handle that its owner has.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::agent::Agent;
use crate::chaos::segments::Streams;
use crate::chaos::udp::Datagrams;
use crate::chaos::{Order, Tally, Weather};
use crate::host::Host;

/// A relay in a host; dropping it ends the relay.
#[derive(Debug)]
pub struct Relay {
    agent: Agent,
    seed: u64,
}

impl Relay {
    /// Listens at `listen` in `host`, UDP and TCP, and relays to `server`. `program` has the
    /// command of a [`crate::LabEnd`].
    ///
    /// # Errors
    /// If the program does not answer.
    pub fn start(
        program: &str,
        host: &Host,
        listen: &str,
        server: &str,
        seed: u64,
    ) -> Result<Self> {
        let number = seed.to_string();
        let arguments = ["lab-end", "relay", listen, server, &number];
        let agent = Agent::start(host, program, &arguments)?;
        let mut relay = Self { agent, seed };
        relay.report()?;
        Ok(relay)
    }

    /// The seed of the relay's decisions.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Changes the weather from now on.
    ///
    /// # Errors
    /// If the relay has ended.
    pub fn set(&mut self, weather: Weather) -> Result<Tally> {
        self.agent.ask(&Order::Weather(weather))
    }

    /// The relay's counters so far.
    ///
    /// # Errors
    /// If the relay has ended.
    pub fn report(&mut self) -> Result<Tally> {
        self.agent.ask(&Order::Report)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the relay's seed was {}", self.seed);
        }
    }
}

/// Relays until the standard input ends.
pub(crate) fn relay(listen: SocketAddr, server: SocketAddr, seed: u64) -> Result<()> {
    let mut datagrams = Datagrams::new(listen, server, seed)?;
    let listener = TcpListener::bind(listen).with_context(|| format!("TCP at {listen}"))?;
    let streams = Streams::start(listener, server, seed);
    let input = std::io::stdin();
    let mut orders = BufReader::new(std::fs::File::from(input.as_fd().try_clone_to_owned()?));
    loop {
        if is_ordered(&datagrams, orders.get_ref())? {
            let mut line = String::new();
            if orders.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Order::Weather(weather) = serde_json::from_str(&line)? {
                datagrams.set_weather(weather);
                streams.set_weather(weather);
            }
            let mut tally = Tally {
                segments: streams.counters(),
                ..Tally::default()
            };
            datagrams.report(&mut tally);
            println!("{}", serde_json::to_string(&tally)?);
        }
        datagrams.run()?;
    }
}

/// Waits until there is something to do, and says whether it is an order.
fn is_ordered(datagrams: &Datagrams, orders: impl AsFd) -> Result<bool> {
    let timeout = datagrams
        .patience()
        .unwrap_or(Duration::from_secs(1))
        .try_into()
        .unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
    let mut set = vec![PollFd::new(&orders, PollFlags::IN)];
    set.extend(
        datagrams
            .sockets()
            .map(|socket| PollFd::new(socket, PollFlags::IN)),
    );
    match poll(&mut set, Some(&timeout)) {
        Ok(_) => Ok(set
            .first()
            .is_some_and(|orders| !orders.revents().is_empty())),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
