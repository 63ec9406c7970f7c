//! The selftests over TCP: one connection per client.

use anyhow::Result;

use super::bench::{BASE, Variant};
use super::close_socket::peers_end_with_their_sockets;
use super::sequence::data_and_rekey;

/// All clients over TCP.
const TCP: Variant = Variant { tcp: true, ..BASE };

#[test]
fn tcp() -> Result<()> {
    data_and_rekey(TCP, false)
}

#[test]
fn symmetric_id_tcp() -> Result<()> {
    let variant = Variant {
        symmetric: true,
        ..TCP
    };
    data_and_rekey(variant, false)
}

#[test]
fn close_socket_tcp() -> Result<()> {
    peers_end_with_their_sockets(TCP)
}
