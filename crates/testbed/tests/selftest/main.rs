//! The kernel driver's own selftests, run with udco, plus checks that they leave out (dco-behaviour 6.1).
//!
//! A multi-peer server and six point-to-point clients, each in a network namespace of its own, three reached over IPv4
//! and three over IPv6. No OpenVPN is involved: `udco link|peer|key|monitor|show` are clients of one `udco daemon` that
//! serves all the namespaces, so each request comes from another process than the one that created the peer.

mod bench;
mod close_socket;
mod expiry;
mod mark;
mod monitor;
mod requests;
mod sequence;
mod tcp;
mod traffic;
