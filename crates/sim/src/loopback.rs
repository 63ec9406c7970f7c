//! Two engines over a transport of the caller's own: what a new one is tried with first.

use std::net::SocketAddr;

use udco_core::{Endpoint, Keepalive, Mode, NewPeer, PeerId, Slot};
use udco_engine::embed::{Addresses, DataPath, Setup};
use udco_engine::io::{Io, Moment};

use crate::Failure;
use crate::inner::{Fate, Ledger};
use crate::keys::{Secret, Side};
use crate::node::inner;
use crate::relay::Relay;
use crate::rng::Rng;
use crate::tun::Tun;

/// Turns beside those of the packets, after which everything has arrived, or never will.
const TURNS: usize = 100;

/// Sends `packets` packets each way between two point-to-point devices over these sockets, the ends of one wire, whose
/// datagrams come from `address`. All of them have to arrive.
///
/// # Errors
/// If one does not arrive as it was sent.
pub fn exchange<I: Io<Tun = Tun, Relay = Relay>>(
    sockets: [I::Datagrams; 2],
    address: SocketAddr,
    packets: usize,
) -> Result<(), Failure> {
    let now = Moment::from_nanos(1_000_000_000);
    let (mut ledger, mut ends) = (Ledger::default(), Vec::new());
    let secret = Secret::new(0, &mut Rng::new(1));
    for ((socket, side), own) in sockets
        .into_iter()
        .zip([Side::Server, Side::Client])
        .zip(0..)
    {
        let tun = Tun::default();
        let mut path = DataPath::<I>::new(Setup {
            name: format!("end{own}"),
            mode: Mode::P2p,
            queues: vec![tun.clone()],
            sparse: Vec::new(),
            merges: (false, false),
            workers: 1,
            seed: 1,
            now,
        })?;
        let addresses = Addresses {
            local: address,
            remote: None,
        };
        let transport = path.serve_datagrams((socket, Relay::default()), addresses, false);
        let new = NewPeer {
            id: PeerId::from(1),
            tx_id: PeerId::from(1),
            vpn4: None,
            vpn6: None,
            endpoint: Some(Endpoint {
                remote: address,
                local: None,
            }),
            keepalive: Keepalive::default(),
            transport: &transport,
        };
        path.add_peer(new, now.time())?;
        path.install_key(PeerId::from(1), Slot::Primary, secret.key(side)?)?;
        for _ in 0..packets {
            let flow = (inner(own), inner(1 - own));
            tun.push(ledger.packet(flow, 1_000, Fate::For(1 - own)));
        }
        ends.push((path, tun));
    }
    for _ in 0..10 * packets + TURNS {
        for (own, (path, tun)) in ends.iter_mut().enumerate() {
            path.turn(now)?;
            for written in tun.take_written() {
                ledger.receive(own, &written)?;
            }
        }
    }
    let missing = ledger.missing();
    Failure::unless(missing == 0, || format!("{missing} packets are missing"))
}
