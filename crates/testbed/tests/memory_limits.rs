//! Little memory (promises J5): an engine has fewer workers, refuses what there is no room for, or says why it ends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_ipc::NO_MEMORY;
use udco_testbed::{Host, Lab, Pair, Process, Proto, addresses as at, connect, eventually, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// What udco says of the limits, each with the option of prlimit(1).
const LIMITS: [(&str, &str); 2] = [("as", "LimitAS="), ("data", "LimitDATA=")];

/// In MiB.
const SIZES: [u64; 15] = [
    12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 256, 512, 1024,
];

/// Rust's words, and those of a bug.
const UNNAMED: [&str; 3] = ["memory allocation of", "panicked", "a bug"];

#[test]
fn an_engine_starts_with_what_a_limit_leaves_or_names_it() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("host")?;
    for (limit, named) in LIMITS {
        for size in SIZES {
            let option = format!("--{limit}={}", size << 20);
            let version = host.output(&["prlimit", &option, udco::program()?, "--version"])?;
            if !version.status.success() {
                // The system cannot even load the program.
                continue;
            }
            for workers in ["2", "64"] {
                let is_up = starts(&lab, &host, (limit, size), named, workers)
                    .with_context(|| format!("{workers} workers, {named}{size}M"))?;
                // So much is enough for one worker, and tight limits are what this is about.
                ensure!(is_up || size < 64, "{named}{size}M");
            }
        }
    }
    lab.discard_logs();
    Ok(())
}

/// Whether an engine starts under this limit; it has to serve, then.
fn starts(
    lab: &Lab,
    host: &Host,
    (limit, size): (&str, u64),
    named: &str,
    workers: &str,
) -> Result<bool> {
    let path = &lab.file(&format!("{limit}-{size}-{workers}.sock"))?;
    let mut daemon = daemon(
        host,
        (limit, size),
        &["--workers", workers, "--socket", path],
    )?;
    eventually("the daemon to listen, or to end", SOON, || {
        let is_over = daemon.log().contains("listening at") || !daemon.is_alive();
        Ok(is_over.then_some(()))
    })?;
    let is_up = daemon.log().contains("listening at");
    if is_up {
        let binary = udco::program()?;
        host.run(&[binary, "show", "--engine", path])?;
        let device = ["link", "add", "tun7", "--mode", "mp", "--engine", path];
        host.run(&[&[binary], &device[..]].concat())
            .context("not even one device")?;
        host.run(&["ip", "link", "del", "tun7"])?;
        ensure!(daemon.is_alive(), "it has ended:\n{}", daemon.log());
        daemon.terminate(SOON)?;
    }
    let log = daemon.log();
    for words in UNNAMED {
        ensure!(!log.contains(words), "{log}");
    }
    ensure!(is_up || log.contains(named), "{log}");
    Ok(is_up)
}

#[test]
fn what_finds_no_memory_is_refused_and_the_tunnel_goes_on() -> Result<()> {
    let pair = Pair::new()?;
    let path = &pair.lab.file("engine.sock")?;
    let mut daemon = daemon(
        &pair.server,
        ("as", 64),
        &["--workers", "2", "--socket", path],
    )?;
    daemon.wait_for_log("listening at", SOON)?;
    let (server, client) = connect(
        pair.server(Proto::Udp4).engine(path),
        pair.client(Proto::Udp4),
    )?;
    let binary = udco::program()?;
    // Each has a thread there, for as long as it runs, and another one for a moment when it begins.
    let others = connections(&daemon)?;
    let (mut monitors, mut refused) = (Vec::<Process>::new(), None);
    while refused.is_none() && monitors.len() < 64 {
        let words = [binary, "monitor", "--engine", path];
        let name = format!("monitor{}", monitors.len());
        monitors.push(pair.server.spawn(&name, &words)?);
        eventually("the monitors to be served, or one to end", SOON, || {
            let ended = monitors.iter_mut().find_map(|monitor| {
                let has_ended = !monitor.is_alive();
                has_ended.then(|| monitor.log())
            });
            let are_served = connections(&daemon)? == others + monitors.len();
            let is_over = are_served || ended.is_some();
            refused = ended;
            Ok(is_over.then_some(()))
        })?;
    }
    let text = refused.context("nothing was refused")?;
    ensure!(text.contains(NO_MEMORY), "{text}");
    let device = pair
        .server
        .output(&[binary, "link", "add", "more0", "--engine", path])?;
    let text = String::from_utf8_lossy(&device.stderr);
    ensure!(
        !device.status.success() && text.contains(NO_MEMORY),
        "{text}"
    );
    let log = daemon.log();
    let words = ") is not served: the memory limit of 64 MiB (LimitAS=, ulimit -v) leaves no room for a client that listens";
    ensure!(daemon.is_alive() && log.contains(words), "{log}");
    // What is left is for those who are there, and for who looks or deletes.
    pair.server
        .run(&[binary, "peer", "get", "tun0", "--engine", path])?;
    pair.server.run(&[binary, "show", "--engine", path])?;
    udco_testbed::measure::Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    client.stop()?;
    server.stop()?;
    pair.lab.discard_logs();
    Ok(())
}

/// How many clients a daemon serves.
fn connections(daemon: &Process) -> Result<usize> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid()))?.flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    Ok(names
        .filter(|name| name.starts_with("udco-connect"))
        .count())
}

/// `udco daemon` under this limit, in MiB.
fn daemon(host: &Host, (limit, size): (&str, u64), options: &[&str]) -> Result<Process> {
    let limit = format!("--{limit}={}", size << 20);
    let words = ["prlimit", &limit, udco::program()?, "daemon"];
    host.spawn(&format!("daemon{limit}"), &[&words[..], options].concat())
}
