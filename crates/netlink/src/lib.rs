//! The Netlink APIs of OpenVPN's data channel offload as bytes.
//!
//! The driver's side is [`serve()`]: it decodes and validates a datagram of requests, calls a [`Service`] and encodes
//! the answers. [`link_request`] decodes link requests of rtnetlink. The client's side, for the command line, is
//! [`client`]. Nothing here has a socket, a clock or any state.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

extern crate alloc;

mod answer;
mod api;
pub mod client;
mod dco_v2;
mod errno;
mod families;
mod fixed_header;
mod link_identity;
mod link_view;
mod message;
mod nlctrl;
pub mod numbers;
mod ovpn;
pub mod path;
mod rejection;
mod requester;
pub mod route;
mod rtnl;
mod schema;
mod serve;
mod service;
pub mod tlv;
mod validate;

pub use answer::{Answers, acknowledgement, refusal};
pub use api::{
    Api, CipherAlg, DeleteReason, Keepalive, KeyDirection, KeyNew, KeyState, Mode, Notification,
    PeerNew, PeerSet, PeerState, Slot, Traffic,
};
pub use errno::Errno;
pub use families::{FamilyIds, membership};
pub use link_identity::{
    DriverLink, LinkIdentity, driver_link, identity, identity_request, left_link, link_names,
    marked_link, message_link,
};
pub use link_view::link_view;
pub use message::{Header, Messages};
pub use requester::Requester;
pub use rtnl::{LinkNew, LinkRequest, LinkTarget, link_request};
pub use serve::{notification, serve};
pub use service::{NoDevice, Refused, Service};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
