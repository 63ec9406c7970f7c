//! A peer's state, as the API reports it.

use anyhow::Result;
use serde_json::{Value, json};
use udco_netlink::{PeerState, Traffic as Counted};
use udco_state::{Keepalive, Traffic};

use crate::output;
use crate::show::print_traffic;
use crate::units;

/// The object that `udco peer get --json` prints.
pub(super) fn object(peer: &PeerState) -> Value {
    json!({
        "id": peer.id,
        "tx_id": peer.tx_id,
        "remote": peer.remote,
        "local": peer.local,
        "local_port": peer.local_port,
        "socket_netnsid": peer.socket_netnsid,
        "vpn4": peer.vpn4,
        "vpn6": peer.vpn6,
        "keepalive": Keepalive {
            interval: peer.keepalive.interval,
            timeout: peer.keepalive.timeout,
        },
        "vpn": traffic(&peer.vpn_rx, &peer.vpn_tx),
        "link": traffic(&peer.link_rx, &peer.link_tx),
    })
}

/// Prints it for people.
pub(super) fn print(peer: &PeerState) -> Result<()> {
    let remote = peer
        .remote
        .map_or_else(|| "-".to_owned(), |it| it.to_string());
    let vpn4 = peer.vpn4.map(|it| it.to_string());
    let vpn6 = peer.vpn6.map(|it| it.to_string());
    let vpn: Vec<_> = [vpn4, vpn6].into_iter().flatten().collect();
    let first = format!("peer {} at {remote} {}", peer.id, vpn.join(", "));
    output::line!("{}", first.trim_end());
    if peer.tx_id != peer.id {
        output::line!("  sent  with id {}", peer.tx_id);
    }
    let local = peer.local.filter(|it| !it.is_unspecified());
    let local = local.map_or_else(|| "any address".to_owned(), |it| it.to_string());
    output::line!("  from  {local}, port {}", peer.local_port);
    let (interval, timeout) = (peer.keepalive.interval, peer.keepalive.timeout);
    output::line!("  keepalive {}", units::keepalive(interval, timeout));
    print_traffic("  ", "vpn", &traffic(&peer.vpn_rx, &peer.vpn_tx))?;
    print_traffic("  ", "link", &traffic(&peer.link_rx, &peer.link_tx))
}

fn traffic(rx: &Counted, tx: &Counted) -> Traffic {
    Traffic {
        rx_bytes: rx.bytes,
        rx_packets: rx.packets,
        tx_bytes: tx.bytes,
        tx_packets: tx.packets,
    }
}
