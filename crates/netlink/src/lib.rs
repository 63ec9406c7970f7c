//! The Netlink APIs of OpenVPN's data channel offload as bytes.
//!
//! The answering half: a request datagram goes in, a [`Service`] is asked, answer datagrams come out:
//! [`serve()`]. Link requests of rtnetlink are read by [`link_request`]. The asking half, which the CLI needs, is
//! [`client`]. Nothing here has a socket, a clock or a state.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod answer;
pub mod client;
mod dco_v2;
mod errno;
mod link_view;
mod message;
mod nlctrl;
mod ovpn;
pub mod path;
pub mod route;
mod rtnl;
mod schema;
mod serve;
mod service;
mod tlv;

pub use answer::{Answers, Asker, acknowledgement, refusal};
pub use link_view::{
    LinkIdentity, identity, identity_request, left_link, link_names, link_view, marked_link,
    message_link,
};
pub use message::Messages;
pub use rtnl::{LinkNew, LinkRequest, LinkTarget, link_request};
pub use serve::{FamilyIds, membership, notification, serve};
pub use service::*;
