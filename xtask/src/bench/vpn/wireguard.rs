//! wireguard-go. The one in a stable Debian release is years old and moves packets singly; the newest batches them.

use anyhow::Result;
use udco_testbed::{Host, Process, eventually};

use super::{End, Ends, Program, START};

const PORT: &str = "51820";

pub(super) fn start(program: &Program, ends: &Ends<'_>) -> Result<[Process; 2]> {
    let device = program.vpn.device();
    let spawn = |end: &End<'_>| -> Result<_> {
        let process = program.spawn(end, &["--foreground", device])?;
        eventually("wireguard-go's answer", START, || {
            let answers = end.host.output(&["wg", "show", device])?.status.success();
            Ok(answers.then_some(()))
        })?;
        Ok((process, make_key(end.host, &end.file("wireguard.key"))?))
    };
    let (server, server_key) = spawn(&ends.server)?;
    let (client, client_key) = spawn(&ends.client)?;
    for (end, other) in ends.each() {
        let (key, endpoint) = (end.file("wireguard.key"), format!("{}:{PORT}", other.outer));
        let peer = if ends.is_server(end) {
            &client_key
        } else {
            &server_key
        };
        let words = [
            ["wg", "set"].as_slice(),
            &[device, "listen-port", PORT, "private-key", &key],
            &["peer", peer, "allowed-ips", "10.8.0.0/24"],
            &["endpoint", &endpoint],
        ];
        end.host.run(&words.concat())?;
        program.bring_up(end)?;
    }
    Ok([server, client])
}

/// Generates a private key and returns the public one.
fn make_key(host: &Host, file: &str) -> Result<String> {
    let script = format!("umask 077; wg genkey >{file}; wg pubkey <{file}");
    Ok(host.run(&["sh", "-c", &script])?.trim().to_owned())
}
