//! The README's example, followed to the letter on two hosts.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{Host, Lab, Process, eventually, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_tunnel_without_openvpn_comes_up() -> Result<()> {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"))?;
    let (_, section) = readme
        .split_once("## Without OpenVPN")
        .context("no section")?;
    let (section, _) = section
        .split_once("\n## ")
        .context("no end of the section")?;
    let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
    let lines: Vec<&str> = lines.collect();
    let is_last = |line: &&str| line.starts_with("udco key new");
    let last = lines.iter().position(is_last).context("no key")?;
    let (making, telling) = lines.split_at(last + 1);

    let lab = Lab::new()?;
    let (first, second) = (lab.host("first")?, lab.host("second")?);
    lab.link(&first, &["192.0.2.1/24"], &second, &["192.0.2.2/24"])?;
    let mut kept = Vec::new();
    for line in making {
        kept.extend(follow(&first, line)?);
    }
    // "The same with the addresses of the other, a copy of `key.txt`, and `--direction 1`."
    for line in making.iter().filter(|line| !line.contains("key generate")) {
        let line = line.replace("10.8.0.1/", "10.8.0.2/");
        let line = line.replace("192.0.2.2:", "192.0.2.1:");
        let line = line.replace("--direction 0", "--direction 1");
        kept.extend(follow(&second, &line)?);
    }
    Ping::to("10.8.0.2").all_answered(&first)?;
    ensure!(telling.len() == 3, "{telling:?}");
    for line in telling {
        let shell = shell(&first, line)?;
        let words = ["timeout", "1", "sh", "-c", &shell];
        let output = first.output(&words)?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            printed.contains("192.0.2.2:1194") || printed.contains("listening"),
            "`{line}` printed: {printed}"
        );
    }
    for host in [&first, &second] {
        follow(host, "udco link del tun0")?;
        ensure!(!host.has_device("tun0"), "{} has it still", host.name());
    }
    lab.discard_logs();
    Ok(())
}

/// Runs a line; one in the background until it prints something.
fn follow(host: &Host, line: &str) -> Result<Option<Process>> {
    let Some(line) = line.strip_suffix(" &") else {
        host.run(&["sh", "-c", &shell(host, line)?])?;
        return Ok(None);
    };
    let name = line.split_whitespace().nth(1).context("no word")?;
    let log = format!("{}-{name}", host.name());
    let mut process = host.spawn(&log, &["sh", "-c", &shell(host, line)?])?;
    eventually(line, SOON, || {
        ensure!(process.is_alive(), "`{line}` ended: {}", process.log());
        Ok(process.log().contains('\n').then_some(()))
    })?;
    Ok(Some(process))
}

/// A line as a user would type it in the lab's directory, with `udco` in the search path.
fn shell(host: &Host, line: &str) -> Result<String> {
    let binary = udco::binary()?;
    let programs = binary.parent().map(Path::display);
    let programs = programs.context("no directory")?;
    let here = host.directory().display();
    Ok(format!("cd {here} && PATH={programs}:$PATH && exec {line}"))
}
