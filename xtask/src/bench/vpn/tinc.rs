//! tinc 1.0, Debian's version, with its default ciphers.

use std::fs;

use anyhow::Result;
use udco_testbed::Process;

use super::{End, Ends, Program};

pub(super) fn start(program: &Program, ends: &Ends<'_>) -> Result<[Process; 2]> {
    for (end, other) in ends.each() {
        let hosts = format!("{}/hosts", end.file("tinc"));
        fs::create_dir_all(&hosts)?;
        let connect = if ends.is_server(end) {
            String::new()
        } else {
            format!("ConnectTo = {}\n", other.host.name())
        };
        let lines = format!(
            "Name = {}\nDeviceType = tun\nInterface = {}\n{connect}",
            end.host.name(),
            program.vpn.device(),
        );
        fs::write(format!("{}/tinc.conf", end.file("tinc")), lines)?;
        let own = format!("Address = {}\nSubnet = {}/32\n", end.outer, end.inner);
        fs::write(format!("{hosts}/{}", end.host.name()), own)?;
        // Adds the public key to the host's file; does not ask if there is no terminal.
        let script = format!(
            "{} -c {} -K 2048 </dev/null",
            program.path()?,
            end.file("tinc")
        );
        end.host.run(&["sh", "-c", &script])?;
    }
    for (end, other) in ends.each() {
        let name = other.host.name();
        let (from, to) = (other.file("tinc"), end.file("tinc"));
        fs::copy(format!("{from}/hosts/{name}"), format!("{to}/hosts/{name}"))?;
    }
    let spawn = |end: &End<'_>| -> Result<Process> {
        let (directory, pid_file) = (end.file("tinc"), end.file("tinc.pid"));
        let pid_file = format!("--pidfile={pid_file}");
        let process = program.spawn(end, &["-c", &directory, &pid_file, "-D"])?;
        program.bring_up(end)?;
        Ok(process)
    };
    Ok([spawn(&ends.server)?, spawn(&ends.client)?])
}
