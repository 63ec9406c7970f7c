//! Linux for udco: the only engine-side crate in which `unsafe` is allowed.
//!
//! Everything here works on file descriptors that another process may have made and may still share (promises G2, G3):
//! each `adopt` verifies the descriptor's kind before use, sockets are always used with `MSG_DONTWAIT`, and nothing on
//! the packet path allocates, logs or waits.
//!
//! * [`tun`]: queues of a TUN interface,
//! * [`udp`]: UDP sockets with batches, segmentation offloads and packet info,
//! * [`tcp`]: the kind of a received descriptor, and streams that never block,
//! * [`seqpacket`]: the engine's control connections, which carry descriptors,
//! * [`socket_file`]: the files at which they are accepted,
//! * [`epoll`] and [`wake`]: waiting,
//! * [`Netns`]: the number of a network namespace,
//! * [`netlink`]: generic Netlink to the kernel's own drivers,
//! * [`route`]: the kernel's routing table as a stream of netlink messages,
//! * [`icmp`]: echo through one device,
//! * [`lines`]: log lines, which never block the writer,
//! * [`confinement`]: the rights that an engine gives up,
//! * [`clock`] and [`process`]: time that counts suspend, and process settings such as no core dumps,
//! * [`memory`]: what a limit leaves, and a clear end without any,
//! * [`signal`]: signals that request an end.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(not(target_os = "linux"))]
compile_error!("udco-sys is for Linux only");

pub mod clock;
pub mod confinement;
pub mod epoll;
#[cfg(any(test, feature = "hostile"))]
#[doc(hidden)]
pub mod hostile;
pub mod icmp;
pub mod lines;
pub mod memory;
#[cfg(test)]
mod namespace;
pub mod netlink;
mod netns;
pub mod process;
pub mod route;
pub mod seqpacket;
pub mod signal;
pub mod socket_file;
mod socket_option;
pub mod tcp;
pub mod tun;
pub mod udp;
pub mod wake;

pub use netns::Netns;
pub use socket_option::{bound_device, network_namespace, set_mark, socket_mark};
