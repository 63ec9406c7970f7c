//! What a simulated engine's I/O is made of.

use udco_engine::io::Io;

use crate::ready::{Bell, Ready, Set};
use crate::relay::Relay;
use crate::tcp::Stream;
use crate::tun::Tun;
use crate::udp::Socket;

/// The I/O of a simulation: everything in memory, in one thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sim;

impl Io for Sim {
    type Handle<'a> = &'a Ready;
    type Tun = Tun;
    type Datagrams = Socket;
    type Stream = Stream;
    type Relay = Relay;
    type Waker = Bell;
    type Poller = Set;
}
