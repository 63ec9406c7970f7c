//! Orderly restarts, forced ones, and the death of the engine: what recovers, what is freed, what never leaks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use udco_testbed::capture::Capture;
use udco_testbed::measure::Ping;
use udco_testbed::{Launch, Pair, Proto, addresses as at, connect, eventually, skip, udco};

/// How long after an orderly restart pings may go unanswered.
const RECOVERY: Duration = Duration::from_secs(20);

/// How long after OpenVPN's death its port may stay bound, beyond the time that this machine takes to show any
/// process's end (promises I2).
const FREED: Duration = Duration::from_millis(100);

/// When to give up waiting for that.
const HOPELESS: Duration = Duration::from_secs(20);

/// An address of the server's host that the client reaches only through the tunnel, by `redirect-gateway`.
const BEYOND: &str = "198.51.100.1";

#[test]
fn sigusr1_on_the_server_recovers() -> Result<()> {
    let pair = Pair::new()?;
    let (mut server, _client) = connect(
        // Notifies the clients of the restart; otherwise they would wait for their timeout.
        pair.udco_server(Proto::Udp4).line("explicit-exit-notify 1"),
        pair.udco_client(Proto::Udp4),
    )?;
    server.sigusr1()?;
    server.wait_connected(RECOVERY)?;
    answers_again(&pair)
}

#[test]
fn sigusr1_on_the_client_recovers() -> Result<()> {
    let pair = Pair::new()?;
    let (_server, mut client) =
        connect(pair.udco_server(Proto::Udp4), pair.udco_client(Proto::Udp4))?;
    client.sigusr1()?;
    client.wait_connected(RECOVERY)?;
    answers_again(&pair)
}

#[test]
fn sigusr1_with_persistent_tun_recovers_at_both_ends() -> Result<()> {
    let pair = Pair::new()?;
    let persistent = |builder: udco_testbed::Builder| {
        builder
            .launch(Launch::Udco)
            .line_each(&["persist-tun", "persist-key"])
    };
    let (mut server, mut client) = connect(
        persistent(pair.server(Proto::Udp4)).line("explicit-exit-notify 1"),
        persistent(pair.client(Proto::Udp4)),
    )?;
    client.sigusr1()?;
    client.wait_connected(RECOVERY)?;
    answers_again(&pair)?;
    server.sigusr1()?;
    server.wait_connected(RECOVERY)?;
    client.wait_connected(RECOVERY)?;
    answers_again(&pair)
}

fn answers_again(pair: &Pair) -> Result<()> {
    eventually("answers after a restart", RECOVERY, || {
        // While the device is gone, ping exits with an error.
        let echo = Ping::to(at::INNER_SERVER).count(5).run(&pair.client).ok();
        Ok(echo.filter(|echo| echo.received == 5).map(drop))
    })
}

#[test]
fn openvpn_killed_frees_port_and_device_ten_times() -> Result<()> {
    let pair = Pair::new()?;
    let (mut freed, mut baseline) = (Vec::new(), Vec::new());
    for round in 1..=10 {
        let (mut server, mut client) =
            connect(pair.udco_server(Proto::Udp4), pair.udco_client(Proto::Udp4))
                .with_context(|| format!("round {round}"))?;
        Ping::to(at::INNER_SERVER)
            .count(3)
            .all_answered(&pair.client)?;
        server.kill9()?;
        client.kill9()?;
        let killed = Instant::now();
        server
            .wait_end(Duration::from_secs(3))
            .context("the server's launcher")?;
        client
            .wait_end(Duration::from_secs(3))
            .context("the client's launcher")?;
        // The engine ends along with its peers and keys, its port, and (unless another process wants it) the device.
        await_end(&pair, "udco").with_context(|| format!("round {round}"))?;
        freed.push(killed.elapsed());

        let mut sleep = pair.server.spawn("sleep.log", &["sleep", "600"])?;
        sleep.signal(Signal::KILL)?;
        let killed = Instant::now();
        sleep.wait(HOPELESS)?;
        await_end(&pair, "sleep 600")?;
        baseline.push(killed.elapsed());
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (freed, baseline) = (median(&mut freed), median(&mut baseline));
    println!(
        "all freed after {freed:?} in the median, the end of a process seen after {baseline:?}"
    );
    ensure!(
        freed <= FREED + baseline,
        "{freed:?}, where the end of a process is seen after {baseline:?}"
    );
    Ok(())
}

/// Waits until no process of the lab has this in its command line, and the server's port is free.
fn await_end(pair: &Pair, command: &str) -> Result<()> {
    eventually("an end and a free port", HOPELESS, || {
        let left = pair.lab.processes()?;
        let is_left = left.iter().any(|process| process.command.contains(command));
        Ok((!is_left && !port_is_bound(&pair.server)?).then_some(()))
    })
}

/// 1194 is 04AA in the kernel's table of UDP sockets.
fn port_is_bound(host: &udco_testbed::Host) -> Result<bool> {
    let table = host.run(&["cat", "/proc/net/udp", "/proc/net/udp6"])?;
    Ok(table.contains(":04AA "))
}

/// Its successor takes over the device that a dead engine has left, and it is gone after an orderly end; without `--dev
/// tun7`, OpenVPN would take the next number, and the routes would lead to a device that nothing reads.
#[test]
fn a_device_that_a_killed_engine_left_is_used_again() -> Result<()> {
    if udco::is_left_out("there is no engine to kill on OpenVPN's own data path") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let binary = udco::binary()?;
    let binary = binary.to_string_lossy();
    // The server's device has one queue, or three.
    for workers in ["2", "4"] {
        let ends = || {
            let server = pair.udco_server(Proto::Udp4);
            let options = ["--workers", workers];
            (
                server.device("tun7").udco_options(&options),
                pair.udco_client(Proto::Udp4).device("tun7"),
            )
        };
        let (server, client) = ends();
        let (mut server, mut client) = connect(server, client)?;
        // No start adds it again: if it is lost, packets take another route.
        for host in [&pair.server, &pair.client] {
            host.add_route(&["203.0.113.0/24", "dev", "tun7"])?;
        }
        for end in [&mut server, &mut client] {
            end.engine()?.signal(Signal::KILL)?;
            // OpenVPN may notice only when it makes a request.
            if end.wait_end(Duration::from_secs(1)).is_err() {
                end.kill_now()?;
                end.wait_end(Duration::from_secs(3))?;
            }
        }
        for host in [&pair.server, &pair.client] {
            ensure!(host.has_device("tun7"), "it fails open");
        }
        let (server, client) = ends();
        let (server, client) = connect(server, client).context("beside what was left")?;
        Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
        Ping::to(at::INNER_CLIENT6).all_answered(&pair.server)?;
        for host in [&pair.server, &pair.client] {
            let routes = host.run(&["ip", "route", "show", "dev", "tun7"])?;
            ensure!(routes.contains("203.0.113.0/24"), "lost: {routes}");
        }
        // Only a device that nothing reads is taken over.
        let add = ["ip", "link", "add", "tun7", "type", "ovpn-dco"];
        let printed = pair
            .client
            .output(&[&[&*binary, "run", "--"], &add[..]].concat())?;
        let printed = String::from_utf8_lossy(&printed.stderr);
        ensure!(printed.contains("File exists"), "ip printed: {printed}");
        Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
        client.stop()?;
        server.stop()?;
        for host in [&pair.server, &pair.client] {
            ensure!(!host.has_device("tun7"), "it outlives an orderly end");
        }
    }
    Ok(())
}

/// Fails closed (design.md 4): the routes into the tunnel stay, and nothing leaves beside it.
#[test]
fn a_killed_engine_lets_nothing_out_in_clear() -> Result<()> {
    if udco::harness_only() {
        skip(
            "there is no engine to kill on OpenVPN's own data path (harness.rs shows what happens there)",
        );
        return Ok(());
    }
    let pair = Pair::new()?;
    pair.server.add_address("lo", &format!("{BEYOND}/32"))?;
    pair.client.add_route(&["default", "via", at::SERVER])?;
    let (_server, client) = connect(
        pair.server(Proto::Udp4),
        pair.udco_client(Proto::Udp4).line("redirect-gateway def1"),
    )?;
    Ping::to(BEYOND).all_answered(&pair.client)?;
    let Some(capture) = Capture::start(&pair.link)? else {
        return Ok(());
    };
    let pings = Ping::to(BEYOND)
        .count(2000)
        .interval(Duration::from_millis(2))
        .start(&pair.client);
    let datagrams = pair.client.spawn(
        "datagrams",
        &["bash", "-c", "for i in {1..400}; do echo udco-clear-mark! >/dev/udp/198.51.100.1/9; sleep 0.01; done"],
    )?;
    std::thread::sleep(Duration::from_millis(500));
    client.engine()?.signal(Signal::KILL)?;
    let echo = pings
        .join()
        .map_err(|_| anyhow::anyhow!("ping's thread panicked"))??;
    println!(
        "{} of {} answered before the kill",
        echo.received, echo.sent
    );
    drop(datagrams);
    let trace = capture.stop()?;
    ensure!(
        echo.received > 0,
        "nothing went through the tunnel before the kill"
    );
    ensure!(
        trace.clear.is_empty(),
        "{} in clear: {:?}",
        trace.clear.len(),
        trace.clear.first()
    );
    Ok(())
}
