//! Faults below the tunnel that are cured are cured for the tunnel, too, without a reconnect: links, routes, addresses,
//! packet filters, queues (promises D8, J4). Meanwhile packets are dropped for the right reason, and nothing spins.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{Builder, Endpoint, Host, Launch, Pair, Proto, addresses as at, connect, udco};

/// From the cure to the first reply.
const SOON: Duration = Duration::from_secs(2);

/// The same over TCP, whose retransmission timer backs off during the fault.
const SOON_TCP: Duration = Duration::from_secs(4);

/// How long each fault lasts, with traffic.
const FAULT: Duration = Duration::from_millis(1500);

/// The share of a processor that an engine may use while its traffic, 100 small packets a second, fails.
const BUSY: f64 = 0.5;

/// Drop reasons while the transport socket refuses packets; a device without carrier reports a full queue.
const REFUSED: [&str; 2] = ["tx_transport_error", "tx_transport_full"];

#[test]
fn a_link_that_was_down() -> Result<()> {
    let tunnel = Tunnel::new(Proto::Udp4)?;
    let device = tunnel.pair.link.b.clone();
    let set = |host: &Host, to: &str| host.run(&["ip", "link", "set", &device, to]).map(drop);
    let lost = tunnel.survives(
        |pair| set(&pair.client, "down"),
        |pair| set(&pair.client, "up"),
    )?;
    // The connected route was removed with the link.
    lost.has(&REFUSED)
}

#[test]
fn a_far_end_that_was_down() -> Result<()> {
    let tunnel = Tunnel::new(Proto::Udp6)?;
    let device = tunnel.pair.link.a.clone();
    // Otherwise IPv6 addresses are removed with the link.
    let keep = format!("echo 1 >/proc/sys/net/ipv6/conf/{device}/keep_addr_on_down");
    tunnel.pair.server.run(&["sh", "-c", &keep])?;
    let set = |host: &Host, to: &str| host.run(&["ip", "link", "set", &device, to]).map(drop);
    tunnel
        .survives(
            |pair| set(&pair.server, "down"),
            |pair| set(&pair.server, "up"),
        )?
        .has(&REFUSED)
}

#[test]
fn a_route_that_was_gone() -> Result<()> {
    let tunnel = Tunnel::new(Proto::Udp4)?;
    let route = |pair: &Pair, what: &str| {
        let words = ["ip", "route", what, "192.0.2.0/24", "dev", &pair.link.b];
        pair.client.run(&words).map(drop)
    };
    let lost = tunnel.survives(|pair| route(pair, "del"), |pair| route(pair, "add"))?;
    lost.has(&REFUSED)
}

#[test]
fn a_route_that_was_unreachable() -> Result<()> {
    let tunnel = Tunnel::new(Proto::Udp6)?;
    let route = |pair: &Pair, what: &str| {
        let words = ["ip", "-6", "route", what, "unreachable", at::SERVER6];
        pair.client.run(&words).map(drop)
    };
    let lost = tunnel.survives(|pair| route(pair, "add"), |pair| route(pair, "del"))?;
    lost.has(&REFUSED)
}

#[test]
fn a_packet_filter_that_dropped_all() -> Result<()> {
    let tunnel = Tunnel::new(Proto::Udp4)?;
    let lost = tunnel.survives(
        |pair| {
            for words in [
                "nft add table inet udco",
                "nft add chain inet udco out { type filter hook output priority 0; }",
                "nft add rule inet udco out udp dport 1194 drop",
            ] {
                pair.client.run(&words.split(' ').collect::<Vec<_>>())?;
            }
            Ok(())
        },
        |pair| pair.client.run(&["nft", "flush", "ruleset"]).map(drop),
    )?;
    lost.has(&REFUSED)
}

#[test]
fn a_queue_that_was_tiny() -> Result<()> {
    let tunnel = Tunnel::new(Proto::Udp4)?;
    let lost = tunnel.survives(
        |pair| {
            // A full packet a second: next to nothing gets through, and the queue overflows.
            let words = "tc qdisc add dev DEV root tbf rate 8kbit burst 1600 limit 3000";
            let words = words.replace("DEV", &pair.link.b);
            pair.client.run(&words.split(' ').collect::<Vec<_>>())?;
            let _ = Ping::to(at::INNER_SERVER)
                .count(40)
                .size(1200)
                .run(&pair.client)?;
            Ok(())
        },
        |pair| {
            let words = ["tc", "qdisc", "del", "dev", &pair.link.b, "root"];
            pair.client.run(&words).map(drop)
        },
    )?;
    lost.has(&["tx_transport_full"])
}

#[test]
fn an_address_that_was_gone_udp4() -> Result<()> {
    let tunnel = Tunnel::new(Proto::Udp4)?;
    let remove = [
        "ip",
        "address",
        "del",
        "192.0.2.2/24",
        "dev",
        &tunnel.pair.link.b,
    ]
    .map(str::to_owned);
    let lost = tunnel.survives(
        |pair| {
            pair.client
                .run(&remove.each_ref().map(String::as_str))
                .map(drop)
        },
        |pair| pair.client.add_address(&pair.link.b, "192.0.2.2/24"),
    )?;
    lost.has(&REFUSED)
}

/// The server then sends from another address, and the client follows it there: hardly a packet is lost.
#[test]
fn an_address_of_a_multihomed_server_that_was_gone() -> Result<()> {
    const SECOND: &str = "192.0.2.10";
    let pair = Pair::new()?;
    let address = format!("{SECOND}/24");
    pair.server.add_address(&pair.link.a, &address)?;
    let (server, client) = (pair.server(Proto::Udp4), pair.client(Proto::Udp4));
    let tunnel = Tunnel::connected(pair, server.line("multihome"), client.remote(SECOND))?;
    let lost = tunnel.survives(
        |pair| {
            let words = ["ip", "address", "del", &address, "dev", &pair.link.a];
            pair.server.run(&words).map(drop)
        },
        |pair| pair.server.add_address(&pair.link.a, &address),
    )?;
    ensure!(lost.pings < 40, "{} of 400 pings lost", lost.pings);
    if !tunnel.client.is_udco() {
        return Ok(());
    }
    let shown = tunnel.client.show()?;
    let peer = shown.peers().next().context("no peer")?;
    ensure!(udco::is_at(peer, at::SERVER), "{:?}", peer.remote);
    Ok(())
}

#[test]
fn a_link_that_was_down_tcp4() -> Result<()> {
    let tunnel = Tunnel::new(Proto::Tcp4)?;
    let device = tunnel.pair.link.b.clone();
    let set = |host: &Host, to: &str| host.run(&["ip", "link", "set", &device, to]).map(drop);
    tunnel
        .survives(
            |pair| set(&pair.client, "down"),
            |pair| set(&pair.client, "up"),
        )?
        .has_nothing()
}

#[test]
fn a_route_that_was_unreachable_tcp6() -> Result<()> {
    let tunnel = Tunnel::new(Proto::Tcp6)?;
    let route = |pair: &Pair, what: &str| {
        let words = ["ip", "-6", "route", what, "unreachable", at::SERVER6];
        pair.client.run(&words).map(drop)
    };
    tunnel
        .survives(|pair| route(pair, "add"), |pair| route(pair, "del"))?
        .has_nothing()
}

#[test]
fn an_address_that_was_gone_tcp4() -> Result<()> {
    let tunnel = Tunnel::new(Proto::Tcp4)?;
    let address = "192.0.2.2/24";
    tunnel
        .survives(
            |pair| {
                let words = ["ip", "address", "del", address, "dev", &pair.link.b];
                pair.client.run(&words).map(drop)
            },
            |pair| pair.client.add_address(&pair.link.b, address),
        )?
        .has_nothing()
}

/// The next hop does not answer, which the kernel reports to the connection as an ICMP error: OpenVPN has asked for
/// such reports, and the connection survives.
#[test]
fn a_silent_next_hop_tcp4() -> Result<()> {
    let tunnel = Tunnel::new(Proto::Tcp4)?;
    let arp = |pair: &Pair, to: &str| {
        let words = ["ip", "link", "set", "dev", &pair.link.a, "arp", to];
        pair.server.run(&words).map(drop)
    };
    // Neighbour discovery fails after a tenth of a second instead of three.
    let device = &tunnel.pair.link.b;
    let hasty = format!(
        "cd /proc/sys/net/ipv4/neigh/{device} && echo 1 >mcast_solicit && echo 1 >ucast_solicit && echo 100 >retrans_time_ms"
    );
    tunnel.pair.client.run(&["sh", "-c", &hasty])?;
    tunnel
        .survives(
            |pair| {
                arp(pair, "off")?;
                let flush = ["ip", "neighbour", "flush", "dev", &pair.link.b];
                pair.client.run(&flush).map(drop)
            },
            |pair| arp(pair, "on"),
        )?
        .has_nothing()
}

/// A connected server and client.
struct Tunnel {
    pair: Pair,
    soon: Duration,
    server: Endpoint,
    client: Endpoint,
}

/// The losses of a fault.
struct Lost {
    /// Out of 200 in each direction.
    pings: usize,
    /// Milliseconds until the slowest reply.
    slowest: f64,
    /// Both engines' drops, by `udco show`.
    drops: Vec<(String, u64)>,
    is_udco: bool,
}

impl Tunnel {
    fn new(proto: Proto) -> Result<Self> {
        let pair = Pair::new()?;
        let (server, client) = (pair.server(proto), pair.client(proto));
        let tunnel = Self::connected(pair, server, client)?;
        let soon = match proto {
            Proto::Tcp4 | Proto::Tcp6 => SOON_TCP,
            _ => SOON,
        };
        Ok(Self { soon, ..tunnel })
    }

    fn connected(pair: Pair, server: Builder, client: Builder) -> Result<Self> {
        // Long enough that no end reconnects because of a fault.
        let server = server.keepalive(10, 120).launch(Launch::Udco);
        let (server, client) = connect(server, client.launch(Launch::Udco))?;
        Ping::to(at::INNER_SERVER).all_answered(&pair.client)?;
        Ok(Self {
            pair,
            soon: SOON,
            server,
            client,
        })
    }

    /// With traffic in both directions, something breaks and is cured; pings are answered again soon, by the same
    /// session.
    fn survives(
        &self,
        fault: impl FnOnce(&Pair) -> Result<()>,
        cure: impl FnOnce(&Pair) -> Result<()>,
    ) -> Result<Lost> {
        let (drops, starts) = (self.drops()?, self.starts());
        let series = [
            (at::INNER_SERVER, &self.pair.client),
            (at::INNER_CLIENT, &self.pair.server),
        ]
        .map(|(to, host)| Ping::to(to).count(200).start(host));
        thread::sleep(Duration::from_millis(500));
        fault(&self.pair).context("fault")?;
        let (before, begin) = (self.cpu_times()?, Instant::now());
        thread::sleep(FAULT);
        let (after, span) = (self.cpu_times()?, begin.elapsed());
        cure(&self.pair).context("cure")?;
        for (to, host) in [
            (at::INNER_SERVER, &self.pair.client),
            (at::INNER_CLIENT, &self.pair.server),
        ] {
            Ping::to(to).answered_within(self.soon, host)?;
        }
        let (mut pings, mut slowest) = (0, 0.0f64);
        for series in series {
            let echo = series.join().expect("no panic")?;
            pings += echo.lost.len();
            slowest = slowest.max(echo.max_ms().unwrap_or_default());
        }
        Ping::to(at::INNER_SERVER).all_answered(&self.pair.client)?;
        for (before, after) in before.iter().zip(after) {
            let share = (after - *before).as_secs_f64() / span.as_secs_f64();
            ensure!(share < BUSY, "an engine used {share:.2} of a processor");
        }
        ensure!(starts == self.starts(), "an end reconnected");
        for end in [&self.server, &self.client] {
            end.require_authentic()?;
        }
        let now = self.drops()?;
        let more = now.into_iter().filter_map(|(reason, count)| {
            let then = drops.iter().find(|(name, _)| *name == reason);
            let count = count - then.map_or(0, |(_, count)| *count);
            (count > 0).then_some((reason, count))
        });
        Ok(Lost {
            pings,
            slowest,
            drops: more.collect(),
            is_udco: self.client.is_udco(),
        })
    }

    fn starts(&self) -> [usize; 2] {
        [&self.server, &self.client].map(|end| end.log().matches("TLS: Initial packet").count())
    }

    fn cpu_times(&self) -> Result<Vec<Duration>> {
        [&self.server, &self.client]
            .into_iter()
            .filter(|end| end.is_udco())
            .map(|end| end.engine()?.cpu_time())
            .collect()
    }

    /// Both ends' drops, summed by reason.
    fn drops(&self) -> Result<Vec<(String, u64)>> {
        let mut all: Vec<(String, u64)> = Vec::new();
        for end in [&self.server, &self.client] {
            if !end.is_udco() {
                continue;
            }
            for (reason, count) in end
                .show()?
                .devices
                .into_iter()
                .flat_map(|device| device.drops)
            {
                match all.iter_mut().find(|(name, _)| *name == reason) {
                    Some((_, sum)) => *sum += count,
                    None => all.push((reason, count)),
                }
            }
        }
        Ok(all)
    }
}

impl Lost {
    /// Checks that pings were lost, that packets were dropped for one of these reasons, and for no other.
    fn has(&self, reasons: &[&str]) -> Result<()> {
        ensure!(self.pings > 0, "the fault was none");
        if !self.is_udco {
            return Ok(());
        }
        let counted = self.counted();
        let is_right = !counted.is_empty() && counted.iter().all(|name| reasons.contains(name));
        ensure!(is_right, "{reasons:?} wanted, {:?} counted", self.drops);
        Ok(())
    }

    /// Checks that a stream lost nothing: packets wait in the device's queue meanwhile.
    fn has_nothing(&self) -> Result<()> {
        let waited = self.slowest;
        ensure!(waited >= 1000.0, "the fault was none: {waited} ms");
        let counted = self.counted();
        ensure!(
            self.pings == 0 && counted.is_empty(),
            "{} pings lost, {:?} counted",
            self.pings,
            self.drops
        );
        Ok(())
    }

    /// The drop reasons of the tunnel's packets.
    fn counted(&self) -> Vec<&str> {
        // Hosts' router and multicast listener messages come at any time and lead to no peer.
        let chatter = ["rx_link_local", "tx_multicast"];
        let named = self.drops.iter().map(|(name, _)| name.as_str());
        named.filter(|name| !chatter.contains(name)).collect()
    }
}
