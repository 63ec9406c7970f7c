//! A real OpenVPN session through the relay, and streams inside it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::chaos::{Direction, Relay, Tally};
use crate::host::Host;
use crate::openvpn::{Endpoint, Launch, Proto};
use crate::process::Process;
use crate::scenario::{Pair, addresses, connect};
use crate::udco::Shown;
use crate::wait::eventually;

/// The port of sinks.
const PORT: u16 = 6001;

/// How long counters may take to come to rest: a packet waits up to half a second for its key.
const SETTLE: Duration = Duration::from_secs(10);

/// Drop reasons after the peer is known: such packets are in the link counters and not in the VPN's.
const AFTER_PEER: [&str; 11] = [
    "rx_unknown_key_id",
    "rx_no_tag",
    "rx_bad_tag",
    "rx_integrity_limit",
    "rx_replay",
    "rx_too_old",
    "rx_empty",
    "rx_not_ip",
    "rx_spoofed_source",
    "rx_link_local",
    "rx_tun_refused",
];

/// A client and a server, both udco, connected through a relay only, in calm weather.
#[derive(Debug)]
pub struct Session {
    /// The relay between them.
    pub relay: Relay,
    /// The server.
    pub server: Endpoint,
    /// The client.
    pub client: Endpoint,
    program: String,
    relay_host: Host,
    sinks: Vec<Process>,
    pair: Pair,
}

/// Counters of the whole session, or their increase.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// The relay's.
    pub relay: Tally,
    /// The server's engine's.
    pub server: End,
    /// The client's engine's.
    pub client: End,
    /// Datagrams that the kernels of all hosts dropped for lack of buffer space.
    pub overflown: u64,
}

/// Counters of one engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Data packets received from the wire, of known peers.
    pub link_rx: u64,
    /// Data packets sent to the wire.
    pub link_tx: u64,
    /// Packets written to the TUN device.
    pub vpn_rx: u64,
    /// Dropped packets by reason.
    pub drops: BTreeMap<String, u64>,
}

impl Session {
    /// Connects over IPv4; `program` is as for [`Relay::start`].
    ///
    /// # Errors
    /// If the session does not come up.
    pub fn new(proto: Proto, program: &str, seed: u64) -> Result<Self> {
        let pair = Pair::new()?;
        let relay_host = pair.lab.host("relay")?;
        for (host, net) in [(&pair.client, "198.51.100"), (&pair.server, "203.0.113")] {
            let [near, far] = [1, 2].map(|host| format!("{net}.{host}/24"));
            pair.lab.link(&relay_host, &[&near], host, &[&far])?;
        }
        let relay = Relay::start(
            program,
            &relay_host,
            "198.51.100.1:1194",
            "203.0.113.2:1194",
            seed,
        )?;
        // A flipped bit turns some data packets into control packets. With a `tls-crypt` key, recommended outside of a
        // lab, OpenVPN drops them before it parses them.
        let key = pair.lab.directory().join("control.key");
        let key = key.to_string_lossy();
        relay_host.run(&["openvpn", "--genkey", "tls-crypt", &key])?;
        let protected = format!("tls-crypt {key}");
        let (server, client) = connect(
            pair.udco_server(proto).line(&protected),
            pair.client(proto)
                .remote("198.51.100.1")
                .launch(Launch::Udco)
                .line(&protected),
        )?;
        let mut session = Self {
            relay,
            server,
            client,
            program: program.to_owned(),
            relay_host,
            sinks: Vec::new(),
            pair,
        };
        session.prepare_streams()?;
        Ok(session)
    }

    /// Starts sinks at both ends, and keeps TCP from waiting 200 ms after each loss.
    fn prepare_streams(&mut self) -> Result<()> {
        let ends = [
            (
                &self.pair.server,
                addresses::INNER_SERVER,
                addresses::INNER_CLIENT,
            ),
            (
                &self.pair.client,
                addresses::INNER_CLIENT,
                addresses::INNER_SERVER,
            ),
        ];
        for (host, own, other) in ends {
            let route = format!("{other}/32");
            host.run(&[
                "ip", "route", "add", &route, "dev", "tun0", "rto_min", "10ms",
            ])?;
            let address = format!("{own}:{PORT}");
            let words = [&self.program, "lab-end", "stream-sink", &address];
            let mut sink = host.spawn(&format!("sink-{own}"), &words)?;
            sink.wait_for_log("listening", Duration::from_secs(5))?;
            self.sinks.push(sink);
        }
        Ok(())
    }

    /// Sends `length` bytes through the tunnel, and returns how long that took.
    ///
    /// # Errors
    /// If they do not arrive whole, or not within `patience`.
    pub fn stream(
        &self,
        towards_server: bool,
        seed: u64,
        length: u64,
        patience: Duration,
    ) -> Result<Duration> {
        let (from, to) = if towards_server {
            (&self.pair.client, addresses::INNER_SERVER)
        } else {
            (&self.pair.server, addresses::INNER_CLIENT)
        };
        let (address, seed) = (format!("{to}:{PORT}"), seed.to_string());
        let (log, length) = (format!("source-{seed}"), length.to_string());
        let words = [
            &self.program,
            "lab-end",
            "stream-source",
            &address,
            &seed,
            &length,
        ];
        let begin = Instant::now();
        let mut source = from.spawn(&log, &words)?;
        let status = source.wait(patience).context("a stream stands still")?;
        ensure!(status.success(), "a stream broke: {}", source.log());
        Ok(begin.elapsed())
    }

    /// The counters, once they are at rest and add up. The weather must be calm.
    ///
    /// # Errors
    /// Reports which do not add up.
    pub fn settled(&mut self) -> Result<Counters> {
        let mut last = String::new();
        eventually("counters that add up", SETTLE, || {
            let counters = self.counters()?;
            Ok(match counters.check() {
                Ok(()) => Some(counters),
                Err(error) => {
                    last = format!("{error:#}; {counters:?}");
                    None
                }
            })
        })
        .with_context(|| format!("seed {}: {last}", self.relay.seed()))
    }

    fn counters(&mut self) -> Result<Counters> {
        let mut overflown = 0;
        for host in [&self.relay_host, &self.pair.server, &self.pair.client] {
            overflown += host.snmp("Udp", "RcvbufErrors")?;
        }
        let (server, client) = self.ends()?;
        Ok(Counters {
            relay: self.relay.report()?,
            server,
            client,
            overflown,
        })
    }

    /// The counters of the server's engine, then of the client's.
    ///
    /// # Errors
    /// If an engine does not answer.
    pub fn ends(&self) -> Result<(End, End)> {
        let [server, client] = [&self.server, &self.client].map(Endpoint::show);
        Ok((End::of(&server?), End::of(&client?)))
    }

    /// Does not print the logs at the end.
    pub fn discard_logs(&self) {
        self.pair.lab.discard_logs();
    }
}

impl Counters {
    /// Checks that every datagram is accounted for, in both directions.
    ///
    /// # Errors
    /// Quotes the equation that fails.
    pub fn check(&self) -> Result<()> {
        let Tally {
            up, down, waiting, ..
        } = &self.relay;
        ensure!(*waiting == 0, "{waiting} datagrams wait in the relay");
        ensure!(
            self.overflown == 0,
            "{} datagrams overflowed",
            self.overflown
        );
        for (lane, sender, receiver, way) in [
            (up, &self.client, &self.server, "up"),
            (down, &self.server, &self.client, "down"),
        ] {
            Self::check_lane(lane, sender, receiver).context(way)?;
        }
        Ok(())
    }

    /// The increase since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            relay: Tally {
                up: self.relay.up.since(&before.relay.up),
                down: self.relay.down.since(&before.relay.down),
                ..self.relay
            },
            server: self.server.since(&before.server),
            client: self.client.since(&before.client),
            overflown: self.overflown - before.overflown,
        }
    }

    fn check_lane(lane: &Direction, sender: &End, receiver: &End) -> Result<()> {
        let equal = |what: &str, left: u64, right: u64| {
            ensure!(left == right, "{what}: {left} != {right}");
            Ok(())
        };
        let drops = |reason: &str| receiver.drops.get(reason).copied().unwrap_or_default();
        ensure!(lane.is_balanced(), "the relay's own counters: {lane:?}");
        equal(
            "sender's link tx = data that came to the relay",
            sender.link_tx,
            lane.data_in,
        )?;
        equal(
            "data that left the relay = link rx + rx_no_peer",
            lane.data_out,
            receiver.link_rx + drops("rx_no_peer"),
        )?;
        equal(
            "DATA_V1 that left the relay = rx_data_v1",
            lane.data_v1_out,
            drops("rx_data_v1"),
        )?;
        let dropped: u64 = AFTER_PEER.into_iter().map(drops).sum();
        equal(
            "link rx = vpn rx + keepalives + drops",
            receiver.link_rx,
            receiver.vpn_rx + lane.keepalives_out + dropped,
        )
    }
}

impl End {
    fn since(&self, before: &Self) -> Self {
        let mut drops = self.drops.clone();
        for (reason, count) in &before.drops {
            *drops.entry(reason.clone()).or_default() -= count;
        }
        drops.retain(|_, count| *count > 0);
        Self {
            link_rx: self.link_rx - before.link_rx,
            link_tx: self.link_tx - before.link_tx,
            vpn_rx: self.vpn_rx - before.vpn_rx,
            drops,
        }
    }

    fn of(shown: &Shown) -> Self {
        let sum = |counter: fn(&crate::udco::Peer) -> u64| shown.peers().map(counter).sum();
        let mut drops = BTreeMap::new();
        for (reason, count) in shown.devices.iter().flat_map(|device| &device.drops) {
            *drops.entry(reason.clone()).or_default() += count;
        }
        Self {
            link_rx: sum(|peer| peer.link.rx_packets),
            link_tx: sum(|peer| peer.link.tx_packets),
            vpn_rx: sum(|peer| peer.vpn.rx_packets),
            drops,
        }
    }
}
