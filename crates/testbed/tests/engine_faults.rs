//! The engine is stopped or killed exactly when OpenVPN makes a request: for every kind of request OpenVPN carries on
//! or ends within 2 s, and never spins (promises F8, I1).

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use udco_testbed::{
    Builder, CONNECT, ClientProxy, Endpoint, Fault, Hit, Management, Pair, Proto, Request, Signal,
    Version, eventually, udco,
};

/// When the preload library gives up on an answer.
const DUE: Duration = Duration::from_secs(1);

/// How long OpenVPN may take, from the request on, apart from what it and the proxy wait for a processor.
const IN_TIME: Duration = Duration::from_secs(2);

/// How often it is asked at least before it counts as silent: a busy machine may not let this test ask in time.
const QUESTIONS: u32 = 10;

/// How long its processor time is measured, and how much it may use.
const WATCHED: Duration = Duration::from_secs(3);
const CPU: Duration = Duration::from_millis(500);

/// How long OpenVPN may take until it makes a request: a renegotiation takes some seconds.
const NEED: Duration = Duration::from_secs(25);

/// How many cells run at a time: they mostly wait.
const AT_A_TIME: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Server,
    Client,
}

#[test]
fn a_server_outlives_an_engine_that_stops_at_any_request() -> Result<()> {
    table(Version::V26, Side::Server, Fault::Stop)
}

#[test]
fn a_server_outlives_an_engine_that_is_killed_at_any_request() -> Result<()> {
    table(Version::V26, Side::Server, Fault::Kill)
}

#[test]
fn a_client_outlives_an_engine_that_stops_at_any_request() -> Result<()> {
    table(Version::V26, Side::Client, Fault::Stop)
}

#[test]
fn a_client_outlives_an_engine_that_is_killed_at_any_request() -> Result<()> {
    table(Version::V26, Side::Client, Fault::Kill)
}

#[test]
fn a_2_7_server_outlives_an_engine_that_stops_at_any_request() -> Result<()> {
    table(Version::V27, Side::Server, Fault::Stop)
}

#[test]
fn a_2_7_server_outlives_an_engine_that_is_killed_at_any_request() -> Result<()> {
    table(Version::V27, Side::Server, Fault::Kill)
}

/// A cell for each kind of request, several at a time.
fn table(version: Version, side: Side, fault: Fault) -> Result<()> {
    if udco::is_left_out("a run without udco has no engine") {
        return Ok(());
    }
    if !version.is_here_or_skip() {
        return Ok(());
    }
    let cells = Mutex::new(Request::ALL.iter());
    let failures = Mutex::new(Vec::new());
    let work = || {
        while let Some(&request) = cells.lock().ok().and_then(|mut cells| cells.next()) {
            match cell(version, side, request, fault) {
                Ok(outcome) => println!("{request:?}: {outcome:?}"),
                Err(error) => {
                    if let Ok(mut failures) = failures.lock() {
                        failures.push(format!("{request:?}: {error:#}"));
                    }
                }
            }
        }
    };
    thread::scope(|scope| (0..AT_A_TIME).for_each(|_| drop(scope.spawn(work))));
    let failures = failures.into_inner().unwrap_or_default();
    ensure!(
        failures.is_empty(),
        "{version:?} {side:?} {fault:?}:\n{}",
        failures.join("\n")
    );
    Ok(())
}

/// How OpenVPN fared.
#[derive(Debug)]
#[allow(dead_code, reason = "printed")]
struct Outcome {
    ended: bool,
    /// From the request to its end, or to its next answer.
    after: Duration,
    /// Processor time from the request on.
    cpu: Duration,
}

fn cell(version: Version, side: Side, request: Request, fault: Fault) -> Result<Outcome> {
    let pair = Pair::new()?;
    let (hit, management, ends) = provoke(&pair, version, side, request, fault)?;
    let outcome = watch(&hit, &management)?;
    if fault == Fault::Stop && !outcome.ended {
        let (proxy, _, server, client) = &ends;
        proxy.resume()?;
        bear_late_answers(&hit, &management).context("after SIGCONT")?;
        // The engine was silent, not gone: neither log may claim otherwise (promises F9).
        let log = server.log() + &client.log();
        ensure!(
            !log.contains("device not found"),
            "notified of a lost device"
        );
    }
    pair.lab.discard_logs();
    Ok(outcome)
}

/// Starts both ends, and makes OpenVPN send the request.
fn provoke(
    pair: &Pair,
    version: Version,
    side: Side,
    request: Request,
    fault: Fault,
) -> Result<(Hit, Management, Ends)> {
    let directory = pair.lab.directory();
    let [real, proxied] = ["real.sock", "proxied.sock"].map(|name| directory.join(name));
    let daemon = Daemon::start(&real)?;
    let engine = (real.as_path(), daemon.0.id());
    let proxy = ClientProxy::start(&proxied, engine, version, request, fault)?;

    let (server, client) = builders(pair, request);
    let offloaded = |builder: Builder| {
        let builder = builder
            .version(version)
            .engine(&proxied.display().to_string());
        Management::enable(builder, directory, "management")
    };
    let (server, client, management) = match side {
        Side::Server => {
            let (server, management) = offloaded(server);
            (server, client, management)
        }
        Side::Client => {
            let (client, management) = offloaded(client);
            (server, client, management)
        }
    };
    let server = server.spawn()?;
    await_start(&server, &proxy)?;
    let client = client.spawn()?;
    await_start(&client, &proxy)?;
    if proxy.hit().is_none() {
        let ours = if side == Side::Server {
            &server
        } else {
            &client
        };
        match (request, side) {
            (Request::PeerDel, Side::Server) => {
                // OpenVPN may answer this late.
                let _ = management.ask("kill client", Duration::from_millis(200));
            }
            (Request::PeerDel | Request::DelLink, _) => ours.openvpn()?.signal(Signal::TERM)?,
            _ => {}
        }
    }
    let hit = eventually("the request", NEED, || Ok(proxy.hit()))?;
    Ok((hit, management, (proxy, daemon, server, client)))
}

/// What has to live on while OpenVPN is watched.
type Ends = (ClientProxy, Daemon, Endpoint, Endpoint);

/// An engine outside the lab: it must see the process id of the proxy, which is this process.
struct Daemon(Child);

impl Daemon {
    fn start(socket: &Path) -> Result<Self> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(udco::binary()?)
            .args(["daemon", "--socket"])
            .arg(socket)
            .stderr(File::create(socket.with_extension("log"))?)
            .spawn()
            .context("cannot start setpriv (Debian package util-linux)")?;
        let daemon = Self(child);
        eventually("the engine's socket", CONNECT, || {
            Ok(socket.exists().then_some(()))
        })?;
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn builders(pair: &Pair, request: Request) -> (Builder, Builder) {
    let server = pair.server(Proto::Udp4).keepalive(5, 30);
    let client = pair.client(Proto::Udp4);
    match request {
        // OpenVPN swaps keys when a new one is installed, and deletes the old one when its time is over.
        Request::KeySwap | Request::KeyDel => (
            server.line_each(&["reneg-sec 4", "tran-window 2"]),
            client.line_each(&["reneg-sec 0", "tran-window 2"]),
        ),
        _ => (server, client),
    }
}

/// Waits until this end stands, or the fault has come.
fn await_start(end: &Endpoint, proxy: &ClientProxy) -> Result<()> {
    eventually("a connection or the request", NEED, || {
        let stands = end.log().contains("Initialization Sequence Completed");
        Ok((stands || proxy.hit().is_some()).then_some(()))
    })
}

/// Checks that OpenVPN ends or answers in time, and then does not spin.
fn watch(hit: &Hit, management: &Management) -> Result<Outcome> {
    let cpu = || {
        hit.program
            .cpu_time()
            .map(|now| now.saturating_sub(hit.cpu))
    };
    let mut spent = Duration::ZERO;
    let (mut ended, mut after, mut questions) = (false, None, 0);
    while after.is_none() || hit.at.elapsed() < WATCHED {
        if !hit.program.is_alive() {
            ended = true;
            after.get_or_insert_with(|| hit.at.elapsed());
            break;
        }
        spent = cpu().unwrap_or(spent);
        if after.is_none() && management.ask("pid", Duration::from_millis(100)).is_ok() {
            after = Some(hit.at.elapsed());
        }
        questions += 1;
        let limit = (IN_TIME + hit.starved()).min(NEED);
        if after.is_none() && questions > QUESTIONS && hit.at.elapsed() > limit {
            bail!("neither ended nor answered; {spent:?} of processor time");
        }
        thread::sleep(Duration::from_millis(20));
    }
    ensure!(spent < CPU, "OpenVPN used {spent:?}");
    let after = after.context("no outcome")?;
    Ok(Outcome {
        ended,
        after,
        cpu: spent,
    })
}

/// The resumed engine answers the requests that were given up: OpenVPN carries on as before, or ends because of an
/// event meanwhile, but does not spin.
fn bear_late_answers(hit: &Hit, management: &Management) -> Result<()> {
    let Ok(before) = hit.program.cpu_time() else {
        return Ok(());
    };
    thread::sleep(DUE);
    if !hit.program.is_alive() {
        return Ok(());
    }
    eventually("OpenVPN's answer or end", NEED, || {
        let answers = management.ask("pid", DUE).is_ok();
        Ok((answers || !hit.program.is_alive()).then_some(()))
    })?;
    let spent = hit.program.cpu_time().unwrap_or(before);
    let spent = spent.saturating_sub(before);
    ensure!(spent < CPU / 2, "OpenVPN used {spent:?}");
    Ok(())
}
