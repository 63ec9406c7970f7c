//! Limits lowered while an engine runs, as `prlimit --pid` and a service manager do (promises J5): its tunnels go on, and so
//! does what needs nothing more.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{Pair, Proto, addresses as at, connect, skip, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A limit below what the engine has, and what `udco show` says then.
const LOWERED: [(&str, &str); 4] = [
    ("as=33554432", "which limit is reached"),
    ("data=4194304", "which limit is reached"),
    ("fsize=0", "LimitFSIZE="),
    ("nofile=12", "LimitNOFILE="),
];

#[test]
fn a_lowered_limit_ends_no_tunnel_and_no_new_client() -> Result<()> {
    for (limit, named) in LOWERED {
        let pair = Pair::new()?;
        if !pair.lab.is_privileged() {
            skip("only root sees what an engine has open");
            return Ok(());
        }
        lowered(&pair, limit, named).with_context(|| limit.to_owned())?;
        pair.lab.discard_logs();
    }
    Ok(())
}

/// OpenVPN ends if it is refused a device, so it gets the place of its last one.
#[test]
fn a_client_restarts_under_a_lowered_memory_limit() -> Result<()> {
    let pair = Pair::new()?;
    let server = pair.server(Proto::Udp4);
    let (_server, mut client) = connect(server, pair.udco_client(Proto::Udp4))?;
    lower(client.engine()?.pid, "as=33554432")?;
    client.sigusr1()?;
    client.wait_connected(SOON)?;
    // Without `udco show`, for which there is no room.
    let active = client.log().matches("data channel offload active").count();
    ensure!(active == 2, "{}", client.log());
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    Ok(())
}

/// As the testbed numbers the process.
fn lower(pid: u32, limit: &str) -> Result<()> {
    let mut command = Command::new("prlimit");
    let lowered = command.args([&format!("--{limit}"), "--pid", &pid.to_string()]);
    ensure!(lowered.status()?.success(), "prlimit --{limit}");
    Ok(())
}

fn lowered(pair: &Pair, limit: &str, named: &str) -> Result<()> {
    let path = &pair.lab.file("engine.sock")?;
    let mut daemon = udco::daemon(&pair.server, "daemon", &["--socket", path])?;
    let client = pair.client(Proto::Udp4);
    let (server, first) = connect(pair.server(Proto::Udp4).engine(path), client.clone())?;
    lower(daemon.pid(), limit)?;

    let show = udco::words("show --engine")?;
    let shown = pair.server.output(&[&show[..], &[path]].concat())?;
    let said = String::from_utf8_lossy(&shown.stderr);
    ensure!(!shown.status.success() && said.contains(named), "{said}");
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;

    first.stop()?;
    let mut second = client.named("second").spawn()?;
    second.wait_connected(SOON)?;
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    second.stop()?;
    server.stop()?;
    ensure!(daemon.is_alive(), "the engine has ended: {}", daemon.log());
    ensure!(!pair.server.has_device("tun0"), "a device is left");
    Ok(())
}
