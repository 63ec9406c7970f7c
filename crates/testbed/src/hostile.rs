//! Hostile clients of another user, against the socket of a shared engine (faults D3).
//!
//! Each is a [`crate::LabEnd`], a process of its own, so that it can run as another user and in another namespace.

mod attack;
mod client;
mod descriptors;
mod fuzzer;
mod messages;
mod scene;

use std::process::Command;

pub use attack::Attack;
pub use fuzzer::fuzz;
pub(crate) use fuzzer::run as attack_at_random;
pub use scene::Scene;

use crate::Host;

/// Makes a command run as an unprivileged user with root's network capability, which may open /dev/net/tun even where only root may.
pub const TENANT: [&str; 6] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=+net_admin,+dac_override",
    "--ambient-caps=+net_admin,+dac_override",
];

/// A user without any right.
const STRANGER: [&str; 4] = [
    "setpriv",
    "--reuid=65533",
    "--regid=65533",
    "--clear-groups",
];

/// The uid of hostile clients.
pub const TENANT_UID: &str = "65534";

/// A command that runs this program as a user in a host.
fn as_user(host: &Host, user: &[&str], program: &str, words: &[&str]) -> Command {
    let mut command = host.command(user[0]);
    command.args(&user[1..]).arg(program).args(words);
    command
}
