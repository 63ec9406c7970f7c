//! The testbed of udco: a private network for one test, with real OpenVPN processes in it. Development only.
//!
//! A [`Lab`] holds [`Host`]s (each a network namespace with its own `/run`), joined by veth [`Link`]s. In them run
//! [`Endpoint`]s: OpenVPN, either as it is ([`Launch::Plain`]) or as `udco run -- openvpn …` ([`Launch::Udco`]).
//! [`measure`] sends traffic through the tunnel, [`capture`] inspects the wire. No packet leaves the namespaces, and
//! everything dies with the `Lab`, also when a test panics or is killed.
//!
//! # What it needs
//! Debian packages `openvpn iperf3 tcpdump iproute2 iputils-ping openssl util-linux`, a usable `/dev/net/tun`, and root
//! or unprivileged user namespaces. [`Lab::new`] names what is missing. The `udco` binary is `UDCO_BIN`, else the
//! newest of `target/{debug,release}/udco`; without one the scenarios fail. OpenVPN 2.7 is the one below
//! `UDCO_OPENVPN27`, else `target/openvpn-2.7`, where `cargo xtask openvpn27` puts it; without one its scenarios are
//! left out and say so. The scenarios of `udco metrics`, `udco capture` and `udco top` that need Debian's packages
//! `prometheus`, `tshark` and `tmux` say so without them.
//!
//! # One scenario by hand
//! ```text
//! cargo build --release && cargo test -p udco-testbed --test float -- --nocapture
//! UDCO_TESTBED_PLAIN=1 cargo test -p udco-testbed          # the harness itself: OpenVPN's own data path everywhere
//! UDCO_TESTBED_KEEP=1 cargo test -p udco-testbed --test interop -- openvpn26::both_udp4
//! ```
//! `UDCO_TESTBED_KEEP=1` keeps the lab's directory (configurations, logs, captures) and prints its name. When a test
//! fails, it prints the last lines of every log. With `UDCO_TESTBED_PLAIN=1` every check of udco itself is left out and
//! reported as such: such a run proves the harness and nothing about udco.
//!
//! A scenario that cannot run here prints `SKIPPED: why`, one that runs without a part of it `LEFT OUT: why`. An
//! unprivileged lab leaves out all captures (tcpdump refuses) and everything with a second user: run the suite as root
//! for full coverage.
#![forbid(unsafe_code)]

mod agent;
pub mod busy_peers;
pub mod capture;
pub mod chaos;
mod client_proxy;
pub mod confinement;
mod crowd;
mod dice;
pub mod differential;
mod directory;
mod host;
pub mod hostile;
mod icmp_forger;
pub mod json_schema;
mod lab;
mod lab_end;
pub mod leak;
mod management;
pub mod measure;
pub mod name_server;
mod openvpn;
mod pcap;
mod pki;
mod process;
mod procfs;
mod scenario;
mod tool;
pub mod udco;
pub mod version;
mod wait;

pub use client_proxy::{ClientProxy, Fault, Hit, Request};
pub use crowd::{Crowd, Vanished};
pub use host::Host;
pub use lab::{Lab, Link};
pub use lab_end::LabEnd;
pub use management::Management;
pub use openvpn::{Builder, Endpoint, Launch, Proto, Role, Written};
pub use pki::{Credentials, Pki};
pub use process::Process;
pub use procfs::Proc;
pub use rustix::process::Signal;
pub use scenario::{CONNECT, Pair, Star, Variant, addresses, connect};
pub use version::Version;
pub use wait::{eventually, skip, skip_part};
