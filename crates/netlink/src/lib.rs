//! The Netlink APIs of OpenVPN's data channel offload as bytes.
//!
//! The driver's side is [`serve()`]: it decodes and validates a datagram of requests, calls a [`Service`] and encodes the
//! answers. [`link_request`] decodes link requests of rtnetlink. The client's side, for the command line, is [`client`].
//! Nothing here has a socket, a clock or a state.
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

pub use answer::{Answers, Requester, acknowledgement, refusal};
pub use link_view::{
    LinkIdentity, identity, identity_request, left_link, link_names, link_view, marked_link,
    message_link,
};
pub use message::Messages;
pub use rtnl::{LinkNew, LinkRequest, LinkTarget, link_request};
pub use serve::{FamilyIds, membership, notification, serve};
pub use service::*;
