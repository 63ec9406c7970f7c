//! Clients whose OpenVPN or engine is killed, over and over, while packets for the tunnel go on: none may leave by
//! another way, from the first connection to the last (promises I1, faults A1, A2).

mod sender;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::capture::Capture;
use crate::chaos::dice::Dice;
use crate::measure::Ping;
use crate::openvpn::{Builder, Endpoint, Launch, Proto};
use crate::scenario::{CONNECT, Pair, addresses as at};
use crate::wait::eventually;

use sender::Sender;
pub use sender::main;

/// Addresses of the server's host that the client shall reach through the tunnel only.
const BEYOND: [&str; 2] = ["198.51.100.1", "2001:db8:51::1"];

/// Every how many starts one is killed before it stands.
const IN_THE_MIDDLE: u64 = 4;

/// The port that the first client sends from; each start takes the next. A server does not answer a client that comes
/// back from the same port within 30 s of its last PUSH_REPLY, with or without offload.
const FIRST_PORT: u16 = 20_000;

/// How many starts may fail because the machine is too busy.
const LATE: u32 = 2;

/// How long OpenVPN may take to notice that its engine is dead: it may only when it wants something.
const NOTICED: Duration = Duration::from_millis(500);

/// How a client leads everything into the tunnel. Each also does so for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `redirect-gateway def1`: routes that are longer than the default route.
    Def1,
    /// `redirect-gateway`: the default route is replaced, and put back at the end.
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

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How the client leads its packets into the tunnel.
    pub way: Way,
    /// How many times OpenVPN is killed.
    pub openvpn: u32,
    /// How many times the engine is.
    pub engine: u32,
    /// Of all moments.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Leaks {
    /// Kills of either before the client stood.
    pub in_the_middle: u32,
    /// Packets for the tunnel that were sent.
    pub sent: u64,
    /// Those of them that left in the clear, a line for each.
    pub clear: Vec<String>,
}

/// A client, its server, and what is sent meanwhile.
struct Site {
    pair: Pair,
    client: Builder,
    dice: Dice,
    /// The port that the next start sends from.
    port: u16,
    /// Starts that had no device in time.
    late: u32,
    /// Of the client's device, from the first start on.
    ifindex: Option<String>,
}

/// Kills as planned, beside what `program`, which with the word `leak-end` must end up in [`main`], sends. `None`, with a line that says so, where nobody may look at the wire.
///
/// # Errors
/// If a client does not connect again after a kill, or not with the device that was left; or if the capture is no
/// evidence.
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
        let client = pair.client(Proto::Udp4).launch(Launch::Udco);
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
            // Read again and again until the client stands.
            let _ = fs::remove_file(self.pair.lab.directory().join(name));
        }
        let client = self.client.clone().local_port(self.port);
        self.port += 1;
        client.spawn()
    }

    /// The same, and waits until packets go through its tunnel.
    fn start(&mut self) -> Result<Endpoint> {
        let mut client = self.begin()?;
        while let Err(error) = client.wait_connected(CONNECT) {
            // A machine so busy that a device takes longer than a second ends OpenVPN (faults B3). What was left stays.
            let is_late = client.log().contains("Device or resource busy");
            ensure!(is_late && self.late < LATE, error);
            self.late += 1;
            client = self.begin()?;
        }
        for address in BEYOND {
            eventually("an answer through the tunnel", CONNECT, || {
                let echo = Ping::to(address).count(1).run(&self.pair.client)?;
                Ok(echo.lost.is_empty().then_some(()))
            })?;
        }
        let index = ["cat", "/sys/class/net/tun0/ifindex"];
        let index = self.pair.client.run(&index)?;
        let first = self.ifindex.get_or_insert_with(|| index.clone());
        ensure!(*first == index, "another device than the one that was left");
        Ok(client)
    }

    /// Kills OpenVPN or its engine at some moment, and sees the other one end.
    fn kill(&mut self, client: &mut Endpoint, engine: bool) -> Result<()> {
        thread::sleep(Duration::from_millis(self.dice.up_to(400)));
        if !engine {
            client.kill_now()?;
            return client.wait_end(CONNECT);
        }
        // One that dies before it serves leaves OpenVPN to its own data path, which fails open.
        let begin = Instant::now();
        while client.is_alive() && client.openvpn().is_err() && begin.elapsed() < CONNECT {
            thread::sleep(Duration::from_millis(5));
        }
        while let Err(error) = client.engine().and_then(|it| it.signal(Signal::KILL)) {
            // It has not been started yet.
            ensure!(begin.elapsed() < CONNECT, error);
        }
        if client.wait_end(NOTICED).is_err() {
            client.kill_now()?;
            client.wait_end(CONNECT)?;
        }
        Ok(())
    }
}
