//! The processes that run in hosts of a lab. A thread cannot enter the namespaces of an unprivileged lab, so each is a
//! command of the program that a scenario names, after the word `lab-end`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::busy_peers::{self, Load, Peers};
use crate::chaos::{ports, process, streams};
use crate::hostile::{self, Attack};
use crate::measure::{flood, order, questions};
use crate::scenario::Variant;
use crate::{differential, icmp_forger, leak, name_server};

/// One of them.
#[derive(Debug, Args)]
pub struct LabEnd {
    #[command(subcommand)]
    end: End,
}

#[derive(Debug, Subcommand)]
enum End {
    /// Receives a flood.
    FloodSink { address: SocketAddr },
    /// Sends one, and prints how many datagrams the kernel has taken.
    FloodSource {
        address: SocketAddr,
        size: usize,
        milliseconds: u64,
    },
    /// Answers questions.
    Answerer { address: SocketAddr },
    /// Ask them, and print how long the answers took.
    Askers {
        address: SocketAddr,
        askers: u32,
        milliseconds: u64,
    },
    /// Receives numbered datagrams.
    OrderSink { address: SocketAddr },
    /// Sends them, and prints how many the kernel has taken.
    OrderSource {
        address: SocketAddr,
        packets: u64,
        per_second: u64,
    },
    /// Relays until its standard input ends.
    Relay {
        listen: SocketAddr,
        server: SocketAddr,
        seed: u64,
    },
    /// Answers each stream with its length and hash.
    StreamSink { address: SocketAddr },
    /// Sends a stream, and compares the answer.
    StreamSource {
        address: SocketAddr,
        seed: u64,
        length: u64,
    },
    /// Counts datagrams.
    Count { addresses: Vec<SocketAddr> },
    /// Sends datagrams in rounds, microseconds apart.
    Spray {
        rounds: u64,
        pause: u64,
        addresses: Vec<SocketAddr>,
    },
    /// Sends marked packets for ever.
    LeakSender { addresses: Vec<IpAddr> },
    /// Compares merging and splitting with the kernel's.
    Differential { packets: u64, seed: u64 },
    /// Attacks an engine.
    Attack {
        attack: Attack,
        socket: PathBuf,
        seconds: u64,
    },
    /// Fuzzes an engine.
    Fuzz {
        socket: PathBuf,
        seed: u64,
        seconds: u64,
    },
    /// Resolves one name.
    NameServer {
        listen: IpAddr,
        addresses: Vec<IpAddr>,
    },
    /// Is many peers of a server.
    Peers {
        #[command(flatten)]
        variant: Variant,
        peers: u16,
    },
    /// A server's host sends packets to them.
    PeersDown {
        #[command(flatten)]
        variant: Variant,
        #[command(flatten)]
        peers: Peers,
        #[command(flatten)]
        load: Load,
    },
    /// Claims that a packet was too big.
    IcmpForger {
        target: IpAddr,
        mtu: u16,
        from: SocketAddr,
        to: SocketAddr,
    },
}

impl LabEnd {
    /// Runs it to its end.
    ///
    /// # Errors
    /// Its own.
    pub fn run(self) -> Result<()> {
        match self.end {
            End::FloodSink { address } => print(&flood::sink(address)?),
            End::FloodSource {
                address,
                size,
                milliseconds,
            } => {
                let duration = Duration::from_millis(milliseconds);
                print(&flood::source(address, size, duration)?)
            }
            End::Answerer { address } => questions::answer(address),
            End::Askers {
                address,
                askers,
                milliseconds,
            } => {
                let duration = Duration::from_millis(milliseconds);
                print(&questions::askers(address, askers, duration)?)
            }
            End::OrderSink { address } => print(&order::sink(address)?),
            End::OrderSource {
                address,
                packets,
                per_second,
            } => print(&order::source(address, packets, per_second)?),
            End::Relay {
                listen,
                server,
                seed,
            } => process::relay(listen, server, seed),
            End::StreamSink { address } => streams::sink(address),
            End::StreamSource {
                address,
                seed,
                length,
            } => streams::source(address, seed, length),
            End::Count { addresses } => ports::count(&addresses),
            End::Spray {
                rounds,
                pause,
                addresses,
            } => ports::spray(rounds, pause, &addresses),
            End::LeakSender { addresses } => leak::send(&addresses),
            End::Differential { packets, seed } => print(&differential::compare(packets, seed)?),
            End::Attack {
                attack,
                socket,
                seconds,
            } => attack.run(&socket, seconds),
            End::Fuzz {
                socket,
                seed,
                seconds,
            } => hostile::attack_at_random(&socket, seed, seconds),
            End::NameServer { listen, addresses } => name_server::serve(listen, &addresses),
            End::Peers { variant, peers } => busy_peers::obey(variant, peers),
            End::PeersDown {
                variant,
                peers,
                load,
            } => print(&busy_peers::send_down(variant, peers, load)?),
            End::IcmpForger {
                target,
                mtu,
                from,
                to,
            } => icmp_forger::forge(target, mtu, from, to),
        }
    }
}

/// The result, as the last line of standard output.
fn print(result: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(result)?);
    Ok(())
}
