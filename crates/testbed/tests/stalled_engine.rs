//! An engine that does not answer, or is gone: OpenVPN carries on, or ends in time, and never spins (promises F8).
//!
//! OpenVPN waits for its Netlink answers without a deadline and polls for them without a pause, so the preload library
//! answers with an error after a second.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{Endpoint, Pair, Proto, Signal, addresses as at, connect, eventually};

/// How long OpenVPN may take for an answer or for its end.
const IN_TIME: Duration = Duration::from_secs(2);

/// A status file every second makes a server request statistics as often.
fn pair_that_asks(pair: &Pair) -> Result<(Endpoint, Endpoint)> {
    connect(pair.udco_server(Proto::Udp4), pair.udco_client(Proto::Udp4))
}

#[test]
fn openvpn_outlasts_a_stopped_engine_without_spinning() -> Result<()> {
    let pair = Pair::new()?;
    let (mut server, _client) = pair_that_asks(&pair)?;
    let (openvpn, engine) = (server.openvpn()?, server.engine()?);
    let before = openvpn.cpu_time()?;
    engine.signal(Signal::STOP)?;
    thread::sleep(Duration::from_secs(6));
    let spent = openvpn.cpu_time()? - before;
    engine.signal(Signal::CONT)?;
    ensure!(
        spent < Duration::from_millis(600),
        "OpenVPN used {spent:?} of 6 s"
    );
    ensure!(server.is_alive(), "OpenVPN is still there");
    Ping::to(at::INNER_SERVER)
        .count(20)
        .interval(Duration::from_millis(50))
        .all_answered(&pair.client)?;
    server.stop()
}

#[test]
fn openvpn_ends_in_order_while_its_engine_is_stopped() -> Result<()> {
    for end in [0, 1] {
        let pair = Pair::new()?;
        let (server, client) = pair_that_asks(&pair)?;
        let endpoint = if end == 0 { &server } else { &client };
        let (openvpn, engine) = (endpoint.openvpn()?, endpoint.engine()?);
        engine.signal(Signal::STOP)?;
        openvpn.signal(Signal::TERM)?;
        let begin = Instant::now();
        // The first of its last requests times out after a second, the others sooner.
        eventually("OpenVPN's end", IN_TIME, || {
            Ok((!openvpn.is_alive()).then_some(()))
        })?;
        println!("ended after {:?}", begin.elapsed());
        engine.signal(Signal::CONT)?;
        eventually("the engine's end", IN_TIME, || {
            Ok((!engine.is_alive()).then_some(()))
        })?;
    }
    Ok(())
}

#[test]
fn a_renegotiation_with_a_stopped_engine_ends_the_session_or_openvpn_but_never_spins() -> Result<()>
{
    let pair = Pair::new()?;
    let (server, client) = connect(
        pair.udco_server(Proto::Udp4).line("reneg-sec 3"),
        pair.udco_client(Proto::Udp4).line("reneg-sec 0"),
    )?;
    let engine = client.engine()?;
    let openvpn = client.openvpn()?;
    let before = openvpn.cpu_time()?;
    engine.signal(Signal::STOP)?;
    thread::sleep(Duration::from_secs(7));
    // Failing to install a key is fatal to OpenVPN: it ends, or it waits, but it does not spin.
    let spent = openvpn.cpu_time().unwrap_or(before) - before;
    engine.signal(Signal::CONT)?;
    ensure!(
        spent < Duration::from_millis(700),
        "OpenVPN used {spent:?} of 7 s"
    );
    let log = client.log();
    ensure!(
        log.matches("udco: the engine did not answer within a second")
            .count()
            == 1,
        "{log}"
    );
    drop(server);
    Ok(())
}

#[test]
fn openvpn_ends_in_time_when_its_engine_is_killed() -> Result<()> {
    for end in [0, 1] {
        let pair = Pair::new()?;
        let (server, client) = pair_that_asks(&pair)?;
        let endpoint = if end == 0 { &server } else { &client };
        let openvpn = endpoint.openvpn()?;
        let before = openvpn.cpu_time()?;
        endpoint.engine()?.signal(Signal::KILL)?;
        eventually("OpenVPN's end", IN_TIME, || {
            Ok((!openvpn.is_alive()).then_some(()))
        })?;
        let spent = openvpn.cpu_time().unwrap_or(before) - before;
        ensure!(
            spent < Duration::from_millis(300),
            "OpenVPN used {spent:?} to end"
        );
    }
    Ok(())
}
