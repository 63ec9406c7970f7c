//! Each errno of promises J3 from each call of the packet path and of the monitor, many times in a row, in a real
//! engine: it gives nothing up (faults B2). Only a queue that reports that its device is gone ends the peers.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, kill_process};
use udco_testbed::measure::Ping;
use udco_testbed::{
    Endpoint, Pair, Proto, Signal, addresses as at, connect, eventually, skip, udco,
};

/// Errors that the kernel may return transiently, from any call.
const ERRNOS: [&str; 14] = [
    "EPERM",
    "EINTR",
    "EIO",
    "EAGAIN",
    "ENOMEM",
    "EACCES",
    "EINVAL",
    "EMSGSIZE",
    "EOPNOTSUPP",
    "ENETDOWN",
    "ENETUNREACH",
    "EHOSTUNREACH",
    "ENOBUFS",
    "ECONNREFUSED",
];

/// The calls: of UDP and TCP sockets, of TUN queues and wakers, of the monitor, of waiting, and of receiving from
/// OpenVPN. strace skips those that an architecture lacks.
const CALLS: &str = "recvmmsg,sendmmsg,sendmsg,?recvfrom,?sendto,?recv,?send,recvmsg,read,readv,preadv2,writev,pwritev2,\
    ?epoll_wait,?epoll_pwait,?epoll_pwait2,epoll_ctl";

/// How often each call fails with each error in each thread: as often as any call is retried at once.
const TIMES: u32 = 9;

/// How long the failures and the recovery may take: some dozens in a row, each with a pause of up to 100 ms. After the
/// last one, an answer comes within a second (promises J3) on an idle machine.
const SOON: Duration = Duration::from_secs(20);

/// An strace that makes an engine's calls fail.
struct Injector(Child);

impl Injector {
    /// `None` if this machine does not permit it.
    fn attach(engine: u32, calls: &str, errno: &str) -> Result<Option<Self>> {
        let inject = format!("inject={calls}:error={errno}:when=1..{TIMES}");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-e", &inject]);
        strace.args(["-p", &engine.to_string()]);
        strace.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = match strace.spawn() {
            Ok(child) => child,
            Err(error) => {
                skip(&format!("no strace ({error}); cure: `apt install strace`"));
                return Ok(None);
            }
        };
        let mut line = String::new();
        let printed = child.stderr.as_mut().context("no standard error")?;
        BufReader::new(printed).read_line(&mut line)?;
        if line.contains("attached") {
            return Ok(Some(Self(child)));
        }
        let _ = child.kill();
        child.wait()?;
        if line.contains("not permitted") {
            skip(&format!("strace may not attach: {}", line.trim()));
            return Ok(None);
        }
        bail!("strace printed: {line}")
    }

    fn detach(mut self) -> Result<()> {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        kill_process(id.context("no process")?, Signal::INT)?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Pings until one is answered.
fn is_back(pair: &Pair, to: &str, from_server: bool) -> Result<()> {
    let host = if from_server {
        &pair.server
    } else {
        &pair.client
    };
    eventually(&format!("an answer of {to}"), SOON, || {
        Ok(host
            .run(&["ping", "-n", "-c", "1", "-W", "0.2", to])
            .ok()
            .map(drop))
    })
}

/// A network behind the client, a new one for each errno.
fn behind(number: usize) -> String {
    format!("10.99.0.{}", number + 1)
}

fn every_errno(proto: Proto) -> Result<Option<(Pair, Endpoint, Endpoint)>> {
    if udco::harness_only() {
        skip("a run without udco has no engine");
        return Ok(None);
    }
    let pair = Pair::new()?;
    let (server, client) = connect(
        // strace replaces a failing call by an invalid one, which a strict engine's table lacks.
        pair.udco_server(proto).env("UDCO_STRICT", ""),
        pair.udco_client(proto),
    )?;
    is_back(&pair, at::INNER_SERVER, false)?;
    let engine = server.engine()?.pid;
    for (number, errno) in ERRNOS.into_iter().enumerate() {
        let failed = || format!("{errno}:\n{}", server.log());
        let Some(injector) = Injector::attach(engine, CALLS, errno)? else {
            return Ok(None);
        };
        // Traffic in both directions, and notifications for the monitor, while the calls fail.
        let network = behind(number);
        let route = [&network, "via", at::INNER_CLIENT, "dev", "tun0"];
        pair.server.add_route(&route)?;
        pair.client.add_address("lo", &format!("{network}/32"))?;
        let ping = ["ping", "-n", "-q", "-c", "30", "-i", "0.005", "-W", "0.2"];
        let ping = [&ping[..], &[at::INNER_SERVER]].concat();
        pair.client.output(&ping)?;
        is_back(&pair, at::INNER_SERVER, false).with_context(failed)?;
        injector.detach()?;
        is_back(&pair, at::INNER_SERVER, false).with_context(failed)?;
        is_back(&pair, &network, true)
            .with_context(failed)
            .context("routes are not followed any more")?;
    }
    // No transient error ended anything.
    for number in 0..ERRNOS.len() {
        is_back(&pair, &behind(number), true)?;
    }
    Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
    let lines = server.log().matches("; retrying").count();
    ensure!(lines > 0 && lines < 100, "{lines} lines:\n{}", server.log());
    Ok(Some((pair, server, client)))
}

#[test]
fn no_errno_of_any_call_ends_a_udp_socket_a_queue_or_a_monitor() -> Result<()> {
    let Some((pair, server, _client)) = every_errno(Proto::Udp4)? else {
        return Ok(());
    };
    // The kernel reports that the device is gone: its peers end with it (promises J1).
    let engine = server.engine()?.pid;
    let Some(injector) = Injector::attach(engine, "read,readv,preadv2", "EBADFD")? else {
        return Ok(());
    };
    Ping::to(at::INNER_CLIENT).count(3).run(&pair.server)?;
    injector.detach()?;
    eventually("the device to end with its peers", SOON, || {
        Ok(udco::show(&pair.server)?.devices.is_empty().then_some(()))
    })
}

#[test]
fn no_errno_of_any_call_ends_a_stream() -> Result<()> {
    every_errno(Proto::Tcp4).map(drop)
}
