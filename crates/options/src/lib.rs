//! Parses an OpenVPN process's command line and configuration files the way OpenVPN 2.6 and 2.7 do, only to learn their
//! contents: nothing here changes OpenVPN's input.
//!
//! [`program::find`] recognises OpenVPN in a command, [`read`] lists the options, [`report()`] says which of them mean
//! something else with offload, or nothing (faults E5).
//!
//! ```
//! use std::path::Path;
//! use udco_options::{MssFix, read, report};
//!
//! let arguments = ["--config".into(), "client.conf".into()];
//! let files = |path: &Path| match path.to_str() {
//!     Some("client.conf") => Ok(b"dev tun\nmssfix 1300\nshaper 1000000\n".to_vec()),
//!     _ => Err("no such file".to_owned()),
//! };
//! let reading = read(&arguments, Path::new(""), files);
//! let report = report(&reading.settings);
//! assert_eq!(report.honoured.mssfix, MssFix::Datagram(1300));
//! assert_eq!(report.without_effect[0].setting.to_string(), "shaper (client.conf:3)");
//! ```
//!
//! This crate does no I/O, and no input makes it panic or read without bound.
#![forbid(unsafe_code)]

mod mssfix;
pub mod program;
mod reading;
mod refused;
mod report;
mod rules_out;
mod setting;
mod words;

pub use reading::{MAX_FILE, STANDARD_INPUT_UNREAD, UTF_16, read};
pub use refused::{Refused, refused};
pub use report::{Report, WithoutEffect, report};
pub use rules_out::{Cause, RulesOut, Series, is_server, rules_out};
pub use setting::{INLINE, Inline, Origin, Problem, Reading, Setting};
pub use udco_ipc::{DataPathOptions, MssFix};
pub use words::{BadLine, words};
