//! nebula, with its default AES-256-GCM, and without a lighthouse: both ends know each other's address.

use std::fs;

use anyhow::{Context, Result};
use udco_testbed::Process;

use super::{End, Ends, Program};

const PORT: u16 = 4242;

pub(super) fn start(program: &Program, ends: &Ends<'_>) -> Result<[Process; 2]> {
    make_certificates(program, ends)?;
    for (end, other) in ends.each() {
        fs::write(end.file("nebula.yml"), configuration(program, end, other))?;
    }
    let spawn = |end: &End<'_>| program.spawn(end, &["-config", &end.file("nebula.yml")]);
    Ok([spawn(&ends.server)?, spawn(&ends.client)?])
}

/// An authority, and a certificate from it for each end.
fn make_certificates(program: &Program, ends: &Ends<'_>) -> Result<()> {
    let tool = program.path.with_file_name("nebula-cert");
    let tool = tool.to_str().context("path is not UTF-8")?;
    let host = ends.server.host;
    let (ca, ca_key) = (ends.server.file("ca.crt"), ends.server.file("ca.key"));
    let make = [tool, "ca", "-name", "bench", "-out-crt", &ca, "-out-key"];
    host.run(&[make.as_slice(), &[&ca_key]].concat())?;
    for (end, _) in ends.each() {
        let address = format!("{}/24", end.inner);
        let (crt, key) = (end.file("nebula.crt"), end.file("nebula.key"));
        let sign = [tool, "sign", "-ca-crt", &ca, "-ca-key", &ca_key];
        let words = [
            sign.as_slice(),
            &["-name", end.host.name(), "-networks", &address],
            &["-out-crt", &crt, "-out-key", &key],
        ];
        host.run(&words.concat())?;
        fs::copy(&ca, end.file("nebula-ca.crt"))?;
    }
    Ok(())
}

fn configuration(program: &Program, end: &End<'_>, other: &End<'_>) -> String {
    let any = "[{port: any, proto: any, host: any}]";
    format!(
        "pki: {{ca: {}, cert: {}, key: {}}}\n\
         static_host_map: {{\"{}\": [\"{}:{PORT}\"]}}\n\
         lighthouse: {{am_lighthouse: false}}\n\
         listen: {{host: 0.0.0.0, port: {PORT}}}\n\
         tun: {{dev: {}}}\n\
         firewall: {{outbound: {any}, inbound: {any}}}\n",
        end.file("nebula-ca.crt"),
        end.file("nebula.crt"),
        end.file("nebula.key"),
        other.inner,
        other.outer,
        program.vpn.device(),
    )
}
