//! Attacks on an engine's limited resources: memory, threads, places, the log, its time.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use rustix::fs::{OFlags, fcntl_setfl};
use udco_ipc::ToEngine;
use udco_sys::seqpacket::Connection;

use super::client::Client;
use super::{STRANGER, Scene, TENANT};

/// What a hostile client does, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// Fills a channel that nothing reads with messages.
    Unread,
    /// Opens channels endlessly.
    Channels,
    /// Connects endlessly, and stays silent.
    Silent,
    /// Requests the state into a full pipe.
    FullPipe,
    /// Makes the engine log lines.
    Lines,
    /// Connects and hangs up, as fast as possible.
    Knock,
}

impl Attack {
    /// Starts it as the user that may connect.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(self, scene: &Scene, program: &str, time: Duration) -> Result<Child> {
        self.start_as(&TENANT, scene, program, time)
    }

    /// Starts it as a user that may not connect.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_as_stranger(self, scene: &Scene, program: &str, time: Duration) -> Result<Child> {
        self.start_as(&STRANGER, scene, program, time)
    }

    fn start_as(
        self,
        user: &[&str],
        scene: &Scene,
        program: &str,
        time: Duration,
    ) -> Result<Child> {
        let seconds = time.as_secs().to_string();
        let name = self.to_possible_value();
        let name = name.as_ref().map_or("", |name| name.get_name());
        let words = ["attack", name, scene.socket(), &seconds];
        scene.start_as(user, program, &words)
    }

    pub(crate) fn run(self, socket: &Path, seconds: u64) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut rounds = 0_u64;
        let mut held = Vec::new();
        while Instant::now() < end {
            rounds += 1;
            // The engine is right to close the connection.
            let outcome = match self {
                Self::Unread => unread(socket, end),
                Self::Channels => channels(socket, end),
                Self::Silent => silent(socket, &mut held),
                Self::FullPipe => full_pipe(socket, &mut held),
                Self::Lines => lines(socket, end),
                Self::Knock => Connection::connect(socket).map(drop),
            };
            if outcome.is_err() && self != Self::Knock {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        println!("{self:?}: {rounds} rounds");
        Ok(())
    }
}

fn unread(socket: &Path, end: Instant) -> io::Result<()> {
    let mut client = Client::greeted(socket)?;
    let (channel, _end) = client.open_channel()?;
    let datagram = [7; 30_000];
    while Instant::now() < end {
        let datagram = &datagram;
        client.send(&ToEngine::Return { channel, datagram }, &[])?;
    }
    Ok(())
}

fn channels(socket: &Path, end: Instant) -> io::Result<()> {
    let mut client = Client::greeted(socket)?;
    let mut ends = Vec::new();
    while Instant::now() < end {
        ends.push(client.open_channel()?);
    }
    Ok(())
}

fn silent(socket: &Path, held: &mut Vec<Connection>) -> io::Result<()> {
    if held.len() >= 400 {
        std::thread::sleep(Duration::from_millis(20));
        return Ok(());
    }
    held.push(Connection::connect(socket)?);
    Ok(())
}

fn full_pipe(socket: &Path, held: &mut Vec<Connection>) -> io::Result<()> {
    let mut client = Client::greeted(socket)?;
    let (_reader, mut writer) = io::pipe()?;
    fcntl_setfl(&writer, OFlags::NONBLOCK)?;
    while writer.write(&[0; 4096]).is_ok() {}
    fcntl_setfl(&writer, OFlags::empty())?;
    for _ in 0..64 {
        client.send(&ToEngine::Show, &[writer.as_fd()])?;
    }
    held.push(client.connection);
    if held.len() > 64 {
        held.clear();
    }
    Ok(())
}

fn lines(socket: &Path, end: Instant) -> io::Result<()> {
    let mut client = Client::greeted(socket)?;
    while Instant::now() < end {
        client.send(&ToEngine::OwnTun, &[])?;
        client.receive(Duration::from_secs(1))?;
    }
    Ok(())
}
