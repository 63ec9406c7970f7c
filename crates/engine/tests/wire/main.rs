//! What the engine does with packets and requests, seen from outside: each test has a network namespace of its own with
//! a TUN device, a plain UDP socket as the remote peer that seals and opens records itself, and stand-ins for OpenVPN
//! that make requests over the clients' protocol.

#[path = "../client/mod.rs"]
mod client;

mod api;
mod capture;
mod device_proof;
mod eventually;
mod exhaustion;
mod forger;
mod inner;
mod keys;
mod last_counters;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod merging;
mod moves;
mod namespace_exit;
// It needs a filter of system calls, which the library supports only on these processors.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod older_kernel;
mod peers;
mod races;
mod records;
mod rekey;
mod shared_files;
mod site;
mod statistics;
mod storm;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod unnumbered;
