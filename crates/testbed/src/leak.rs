//! Clients whose OpenVPN or engine is killed, over and over, while packets for the tunnel are still sent: none may
//! leave by another route, from the first connection to the last (promises I1, faults A1, A2).

mod sender;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::capture::Capture;
use crate::dice::Dice;
use crate::measure::Ping;
use crate::openvpn::{Builder, Endpoint, Proto};
use crate::scenario::{CONNECT, Pair, addresses as at};

use sender::Sender;
pub(crate) use sender::send;

/// Addresses of the server's host that the client may reach only through the tunnel.
const BEYOND: [&str; 2] = ["198.51.100.1", "2001:db8:51::1"];

/// One in this many starts is killed before the tunnel is up.
const IN_THE_MIDDLE: u64 = 4;

/// The first client's source port; each start takes the next. A server ignores a client that returns from the same port
/// within 30 s of its last PUSH_REPLY, with or without offload.
const FIRST_PORT: u16 = 20_000;

/// How many starts may fail because the machine is too busy.
const LATE: u32 = 2;

/// How long OpenVPN may take to notice that its engine is dead: it may notice only when it makes a request.
const NOTICED: Duration = Duration::from_millis(500);

/// How a client routes everything into the tunnel. Each way does so for IPv6, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `redirect-gateway def1`: routes more specific than the default route.
    Def1,
    /// `redirect-gateway`: replaces the default route, and restores it at the end.
    Replaced,
    /// `route 0.0.0.0 0.0.0.0` beside a default route of metric 100 (faults A3).
    Beside,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Def1, Self::Replaced, Self::Beside];

    const fn lines(self) -> &'static [&'static str] {
        match self {
            Self::Def1 => &["redirect-gateway def1 ipv6"],
            Self::Replaced => &["redirect-gateway ipv6"],
            Self::Beside => &["route 0.0.0.0 0.0.0.0", "route-ipv6 2000::/3"],
        }
    }
}

/// The plan of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How the client routes its packets into the tunnel.
    pub way: Way,
    /// How many times to kill OpenVPN.
    pub openvpn: u32,
    /// How many times to kill the engine.
    pub engine: u32,
    /// The seed of all kill times.
    pub seed: u64,
}

/// The outcome of a run.
#[derive(Clone, Debug)]
pub struct Leaks {
    /// Kills of either before the tunnel was up.
    pub in_the_middle: u32,
    /// Packets sent for the tunnel.
    pub sent: u64,
    /// Those that left in the clear, one line each.
    pub clear: Vec<String>,
}

/// A client, its server, and the packets sent meanwhile.
struct Site {
    pair: Pair,
    client: Builder,
    dice: Dice,
    /// The source port of the next start.
    port: u16,
    /// Starts without a device in time.
    late: u32,
    /// The client's device's index, from the first start on.
    ifindex: Option<String>,
}

/// Kills as planned, while a [`crate::LabEnd`] of `program` sends. Where capturing is not permitted, it reports that and
/// returns `None`.
///
/// # Errors
/// If a client does not reconnect after a kill, or not with the device that was left; or if the capture proves nothing.
pub fn run(plan: &Plan, program: &str) -> Result<Option<Leaks>> {
    let mut site = Site::new(plan)?;
    let Some(control) = Capture::start_beside(&site.pair.link)? else {
        return Ok(None);
    };
    for address in BEYOND {
        Ping::to(address).count(3).all_answered(&site.pair.client)?;
    }
    let seen = control.stop()?.clear.len();
    ensure!(
        seen >= 12,
        "only {seen} of 12 packets in the clear were seen before there was a tunnel"
    );

    let mut server = site.pair.server(Proto::Udp4).spawn()?;
    server.wait_connected(CONNECT).context("server")?;
    let mut standing = Some(site.start()?);
    let capture = Capture::start_beside(&site.pair.link)?.context("no second capture")?;
    let sender = Sender::start(&site.pair.client, program, &BEYOND)?;

    let mut left = [plan.openvpn, plan.engine];
    let mut in_the_middle = 0;
    for cycle in 0.. {
        if left == [0, 0] && standing.is_some() {
            break;
        }
        let context = || format!("{:?}, start {cycle}, seed {}", plan.way, plan.seed);
        let mut client = match standing.take() {
            Some(client) => client,
            None if left != [0, 0] && site.dice.up_to(IN_THE_MIDDLE - 1) == 0 => {
                in_the_middle += 1;
                site.begin()?
            }
            None => {
                let host = site.pair.client.clone();
                let routes = || host.run(&["ip", "route", "show", "table", "all"]);
                let started = match site.start() {
                    Err(error) => Err(error.context(routes()?)),
                    started => started,
                };
                standing = Some(started.with_context(context)?);
                continue;
            }
        };
        let which = usize::from(left[0] == 0 || (left[1] > 0 && site.dice.hits(0.5)));
        site.kill(&mut client, which == 1).with_context(context)?;
        ensure!(
            site.pair.client.has_device("tun0"),
            "{}: it fails open",
            context()
        );
        left[which] -= 1;
    }
    if let Some(client) = standing {
        let leaks = Leaks {
            in_the_middle,
            sent: sender.sent(),
            clear: capture.stop()?.clear,
        };
        client.stop().context("an orderly end after all")?;
        ensure!(
            !site.pair.client.has_device("tun0"),
            "it outlives an orderly end"
        );
        site.pair.lab.discard_logs();
        return Ok(Some(leaks));
    }
    bail!("nothing stands after the last kill")
}

impl Site {
    fn new(plan: &Plan) -> Result<Self> {
        let pair = Pair::new()?;
        for address in [format!("{}/32", BEYOND[0]), format!("{}/128", BEYOND[1])] {
            pair.server.add_address("lo", &address)?;
        }
        let metric = if plan.way == Way::Beside { "100" } else { "0" };
        pair.client
            .add_route(&["default", "via", at::SERVER, "metric", metric])?;
        pair.client.add_route(&["default", "via", at::SERVER6])?;
        let client = pair.udco_client(Proto::Udp4);
        Ok(Self {
            client: client.line_each(plan.way.lines()),
            pair,
            dice: Dice::new(plan.seed, 0),
            port: FIRST_PORT,
            late: 0,
            ifindex: None,
        })
    }

    /// Starts a client.
    fn begin(&mut self) -> Result<Endpoint> {
        for name in ["client.log", "client-output.log"] {
            // Reread until the client is up.
            let _ = fs::remove_file(self.pair.lab.directory().join(name));
        }
        let client = self.client.clone().local_port(self.port);
        self.port += 1;
        client.spawn()
    }

    /// The same, and waits until packets pass through its tunnel.
    fn start(&mut self) -> Result<Endpoint> {
        let mut client = self.begin()?;
        while let Err(error) = client.wait_connected(CONNECT) {
            // OpenVPN exits on a machine so busy that a device takes longer than a second (faults B3). The left device
            // stays.
            let is_late = client.log().contains("Device or resource busy");
            ensure!(is_late && self.late < LATE, error);
            self.late += 1;
            client = self.begin()?;
        }
        for address in BEYOND {
            Ping::to(address).answered_within(CONNECT, &self.pair.client)?;
        }
        let index = ["cat", "/sys/class/net/tun0/ifindex"];
        let index = self.pair.client.run(&index)?;
        let first = self.ifindex.get_or_insert_with(|| index.clone());
        ensure!(*first == index, "another device than the one that was left");
        Ok(client)
    }

    /// Kills OpenVPN or its engine at a random time, and waits for the other one's end.
    fn kill(&mut self, client: &mut Endpoint, engine: bool) -> Result<()> {
        thread::sleep(Duration::from_millis(self.dice.up_to(400)));
        if !engine {
            client.kill_now()?;
            return client.wait_end(CONNECT);
        }
        // If the engine dies before it serves, OpenVPN is left to its own data path, which fails open.
        let begin = Instant::now();
        while client.is_alive() && client.openvpn().is_err() && begin.elapsed() < CONNECT {
            thread::sleep(Duration::from_millis(5));
        }
        while let Err(error) = client.engine().and_then(|it| it.signal(Signal::KILL)) {
            // The engine has not started yet.
            ensure!(begin.elapsed() < CONNECT, error);
        }
        if client.wait_end(NOTICED).is_err() {
            client.kill_now()?;
            client.wait_end(CONNECT)?;
        }
        Ok(())
    }
}
