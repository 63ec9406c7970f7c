//! Hostile clients of another user, against the socket of a shared engine (faults D3).
//!
//! Each is a process of its own, so that it can run as another user and in another namespace; [`main`] runs it.

mod attack;
mod client;
mod descriptors;
mod fuzzer;
mod scene;

use std::process::Command;

use anyhow::{Context, Result, bail};

pub use attack::Attack;
pub use fuzzer::fuzz;
pub use scene::Scene;

use crate::Host;

/// An unprivileged user with root's network capability, which may open /dev/net/tun even where only root may.
const TENANT: [&str; 6] = [
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

/// `attack NAME SOCKET SECONDS` or `fuzz SOCKET SEED SECONDS`.
///
/// # Errors
/// If it cannot even start.
pub fn main(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["attack", name, socket, seconds] => {
            let attack = Attack::ALL.into_iter().find(|it| it.name() == *name);
            let attack = attack.with_context(|| format!("no attack {name}"))?;
            attack.run(socket.as_ref(), seconds.parse()?)
        }
        ["fuzz", socket, seed, seconds] => {
            fuzzer::run(socket.as_ref(), seed.parse()?, seconds.parse()?)
        }
        _ => bail!("attack NAME SOCKET SECONDS, or fuzz SOCKET SEED SECONDS"),
    }
}

/// A command that runs this program as a user in a host.
fn as_user(host: &Host, user: &[&str], program: &str, words: &[&str]) -> Command {
    let mut command = host.command(user[0]);
    command.args(&user[1..]).arg(program).args(words);
    command
}
