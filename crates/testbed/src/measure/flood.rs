//! A flood of UDP datagrams, as fast as possible, and how many of them arrive.
//!
//! iperf3 spends a call and a clock read on each datagram, so its ends are slower than the tunnels between them
//! (performance 5.2). Here both ends move batches; they run as processes of the lab, in the program that the caller
//! names.

use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg, sockopt};
use serde::{Deserialize, Serialize};
use udco_sys::udp::{Inbox, UdpSocket as Batched};

use super::ends::{Ends, connected, is_readable};
use crate::host::Host;

/// Datagrams per call.
const BATCH: usize = 64;

/// Both sockets' buffers: a default one loses part of what an offloading tunnel delivers at once (performance 5.1).
const BUFFER: usize = 4 << 20;

/// The receiver ends after this long without a datagram.
const SILENCE: Duration = Duration::from_millis(400);

/// The sink's port.
const PORT: u16 = 5999;

/// A flood of datagrams.
#[derive(Clone, Debug)]
pub struct Flood {
    to: String,
    size: usize,
    duration: Duration,
}

/// The outcome of a [`Flood`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Datagrams that the sender's kernel accepted.
    pub sent: u64,
    /// Datagrams that the receiver read.
    pub received: u64,
    /// Seconds from the first datagram read to the last.
    pub seconds: f64,
}

impl Delivery {
    /// Datagrams received per second.
    pub fn per_second(&self) -> f64 {
        self.received as f64 / self.seconds
    }

    /// Share of lost datagrams, 0 to 1.
    pub fn loss(&self) -> f64 {
        1.0 - self.received as f64 / self.sent.max(1) as f64
    }
}

impl Flood {
    /// One second of 64-byte datagrams to an address.
    pub fn to(address: &str) -> Self {
        Self {
            to: address.to_owned(),
            size: 64,
            duration: Duration::from_secs(1),
        }
    }

    /// Payload bytes of each datagram.
    pub fn size(mut self, size: usize) -> Self {
        self.size = size;
        self
    }

    /// How long it lasts.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// Floods from one host to the other, which owns the address; `program` has the command of a [`crate::LabEnd`].
    ///
    /// # Errors
    /// If one end fails, or nothing arrives.
    pub fn run(&self, program: &str, from: &Host, to: &Host) -> Result<Delivery> {
        let size = self.size.to_string();
        let milliseconds = self.duration.as_millis().to_string();
        let address = SocketAddr::new(self.to.parse()?, PORT).to_string();
        let ends = Ends {
            program,
            name: "flood",
            address: &address,
        };
        let (sent, delivery) = ends.run(from, &[&size, &milliseconds], to)?;
        Ok(Delivery { sent, ..delivery })
    }
}

/// Receives until no more arrive.
pub(crate) fn sink(address: SocketAddr) -> Result<Delivery> {
    let socket = Batched::adopt(UdpSocket::bind(address)?.into())?;
    socket.raise_receive_buffer(BUFFER)?;
    let mut inbox = Inbox::new(BATCH, 2048);
    // The first may take as long as the sender takes to start.
    let mut patience = Duration::from_secs(5);
    let (mut received, mut first, mut last) = (0, None, None);
    loop {
        let count = inbox.receive(&socket)?;
        if count > 0 {
            let now = Instant::now();
            received += count as u64;
            first.get_or_insert(now);
            last = Some(now);
            patience = SILENCE;
        } else if !is_readable(&socket, patience)? {
            break;
        }
    }
    let (first, last) = first.zip(last).context("not one datagram arrived")?;
    Ok(Delivery {
        sent: 0,
        received,
        seconds: last.duration_since(first).as_secs_f64(),
    })
}

/// Sends for `duration` and returns how many datagrams the kernel accepted.
pub(crate) fn source(address: SocketAddr, size: usize, duration: Duration) -> Result<u64> {
    let socket = connected(address)?;
    if sockopt::set_socket_send_buffer_size_force(&socket, BUFFER).is_err() {
        sockopt::set_socket_send_buffer_size(&socket, BUFFER)?;
    }
    let payload = vec![0x55; size];
    let vector = [IoSlice::new(&payload)];
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = Vec::new();
    controls.resize_with(BATCH, SendAncillaryBuffer::default);
    let mut messages: Vec<MMsgHdr<'_>> = controls
        .iter_mut()
        .map(|control| MMsgHdr::new(&vector, control))
        .collect();
    let (begin, mut sent) = (Instant::now(), 0);
    while begin.elapsed() < duration {
        match sendmmsg(&socket, &mut messages, SendFlags::empty()) {
            Ok(count) => sent += count as u64,
            // A full queue, or an ICMP error for an earlier datagram: this one is lost, and the flood continues.
            Err(Errno::NOBUFS | Errno::AGAIN | Errno::INTR | Errno::CONNREFUSED) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sent)
}
