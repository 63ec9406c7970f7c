//! `libudco_preload.so`: routes the netlink calls and the fds of a stock OpenVPN to the udco engine.
//!
//! Loaded with `LD_PRELOAD`, it does nothing unless `UDCO_FD` or `UDCO_SOCKET` names an engine. Then the program's
//! generic-netlink sockets are channels to the engine (`channel`), the engine answers requests about our links
//! (`link`), and takes over transport sockets as it needs them (`transport`). Only the engine interprets the
//! messages.
//!
//! `hooks` has the functions that stand in front of libc's: start there.
#![cfg_attr(not(test), no_std)]
#![allow(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

extern crate alloc;

mod addresses;
mod answer;
mod calls;
mod channel;
mod clock;
mod completed;
mod compression;
mod connection;
mod dispenser;
mod environment;
mod epoll;
mod exchange;
mod fds;
mod fib;
mod files;
mod generic_netlink;
mod hand_over;
pub mod hooks;
mod inside;
mod journal;
mod left;
mod lines;
mod link;
mod lock;
mod marks;
mod message;
mod old_routes;
mod output;
mod real;
mod resolve;
mod route;
mod route_socket;
#[cfg(not(test))]
mod runtime;
mod secret;
mod socket;
mod state;
mod symbols;
mod tally;
mod text;
mod transport;
mod tun;
