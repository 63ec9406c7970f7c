//! One subject on one link: its figures, and one measurement.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use udco_testbed::Pair;
use udco_testbed::measure::{
    Flood, Ledger, Ping, Stream, begin_with, begin_without_pacing, peak_memory,
};

use super::figure::{Figure, Part};
use super::link::Link;
use super::subject::{Subject, Tunnel};
use super::vpn::Program;

/// The result of one measurement.
pub(crate) type Sample = BTreeMap<Figure, f64>;

/// The same for all, whatever the machine's default, which a new network namespace may not permit.
const CONGESTION: &str = "cubic";

/// Echo requests of a series, 10 ms apart: closer ones keep ping itself busy (performance 5.3).
const ECHOES: u32 = 200;

/// A stream is at full speed after this time.
const RAMP: Duration = Duration::from_millis(700);

/// A subject on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Cell {
    pub(crate) subject: Subject,
    pub(crate) link: Link,
}

/// All cells of one run.
pub(crate) fn all() -> impl Iterator<Item = Cell> {
    use Subject::{
        Fastd, Nebula, NoTunnel, NoTunnelNoGso, Openvpn, OpenvpnTuned, OpenvpnTunedChacha,
        OpenvpnTunedTcp, Tinc, Udco, UdcoChacha, UdcoClient, UdcoCrowded, UdcoServer, UdcoTcp,
        UdcoTcpBbr, UdcoTcpCubic, WireguardGo,
    };
    let veth = [
        NoTunnel,
        NoTunnelNoGso,
        Openvpn,
        OpenvpnTuned,
        OpenvpnTunedChacha,
        WireguardGo,
        Nebula,
        Tinc,
        Fastd,
        Udco,
        UdcoChacha,
        UdcoCrowded,
        OpenvpnTunedTcp,
        UdcoTcp,
        UdcoTcpCubic,
        UdcoTcpBbr,
        UdcoServer,
        UdcoClient,
    ];
    let nic = [OpenvpnTuned, WireguardGo, Udco];
    let on = |link, subjects: &[Subject]| {
        let cells = subjects.iter().map(move |&subject| Cell { subject, link });
        cells.collect::<Vec<_>>()
    };
    on(Link::Veth, &veth)
        .into_iter()
        .chain(on(Link::Nic, &nic))
        .chain(on(Link::NicNoGro, &nic))
}

/// The common settings of all measurements.
#[derive(Debug)]
pub(crate) struct Method<'a> {
    pub(crate) parts: &'a [Part],
    /// Duration of each stream and flood.
    pub(crate) seconds: u32,
    /// This program, whose command `lab-end` generates UDP traffic.
    pub(crate) program: &'a str,
    pub(crate) programs: &'a [Program],
    /// The `udco` binary, if not the newest build.
    pub(crate) udco: Option<&'a Path>,
    /// IPv6, outside the tunnel and inside.
    pub(crate) ipv6: bool,
}

impl Cell {
    pub(crate) fn title(self) -> String {
        format!("{}, {}", self.subject.title(), self.link.title())
    }

    /// Whether to measure all figures, or only those for the table of links and the targets.
    const fn is_full(self) -> bool {
        use Subject::{
            Fastd, Nebula, OpenvpnTunedChacha, Tinc, UdcoChacha, UdcoClient, UdcoCrowded,
            UdcoServer,
        };
        matches!(self.link, Link::Veth)
            && !matches!(
                self.subject,
                OpenvpnTunedChacha
                    | UdcoChacha
                    | UdcoCrowded
                    | UdcoServer
                    | UdcoClient
                    | Nebula
                    | Tinc
                    | Fastd
            )
    }

    /// As [`Self::measure`], and reports how long it took, or why it failed.
    pub(crate) fn try_to_measure(self, method: &Method<'_>) -> Option<Sample> {
        let begin = Instant::now();
        let sample = self.measure(method);
        let seconds = begin.elapsed().as_secs_f64();
        match &sample {
            Ok(_) => eprintln!("    {} ({seconds:.0} s)", self.title()),
            Err(error) => eprintln!("    {}: FAILED: {error:#}", self.title()),
        }
        sample.ok()
    }

    /// Sets it up in a lab of its own and measures it once.
    ///
    /// # Errors
    /// If the tunnel doesn't come up, or a measurement yields nothing.
    pub(crate) fn measure(self, method: &Method<'_>) -> Result<Sample> {
        let pair = Pair::new()?;
        self.link.prepare(&pair)?;
        let hosts = [&pair.server, &pair.client];
        for host in hosts {
            begin_with(host, self.subject.congestion())?;
        }
        let (programs, ipv6) = (method.programs, method.ipv6);
        let tunnel = self.subject.start(&pair, programs, method.udco, ipv6)?;
        for host in hosts {
            begin_without_pacing(host)?;
        }
        let bench = Bench {
            pair: &pair,
            to: tunnel.server(ipv6),
            method,
            is_full: self.is_full(),
        };
        let mut sample = Sample::new();
        if method.parts.contains(&Part::Rtt) && self.is_full() {
            bench.round_trips(&mut sample).context("round trips")?;
        }
        if method.parts.contains(&Part::Tcp) {
            bench.streams(&mut sample).context("TCP")?;
        }
        if method.parts.contains(&Part::Udp) {
            bench.floods(&mut sample).context("UDP")?;
        }
        let memory = peak_memory(&pair.lab, &Tunnel::programs())?;
        if memory > 0 {
            sample.insert(Figure::Memory, memory as f64);
        }
        pair.lab.discard_logs();
        Ok(sample)
    }
}

/// A connected pair of hosts.
struct Bench<'a> {
    pair: &'a Pair,
    to: &'a str,
    method: &'a Method<'a>,
    is_full: bool,
}

impl Bench<'_> {
    fn round_trips(&self, sample: &mut Sample) -> Result<()> {
        self.echoes(Figure::RttIdleP50, Figure::RttIdleP99, sample)?;
        let echoes = Duration::from_millis(10 * u64::from(ECHOES));
        let seconds = (RAMP + echoes).as_secs_f64().ceil() as u32;
        let load = self
            .stream()
            .seconds(seconds)
            .start(&self.pair.client, &self.pair.server);
        thread::sleep(RAMP);
        let result = self.echoes(Figure::RttLoadedP50, Figure::RttLoadedP99, sample);
        let load = load.join();
        result?;
        load.map_err(|_panic| anyhow::anyhow!("the thread of the load panicked"))??;
        Ok(())
    }

    fn echoes(&self, middle: Figure, tail: Figure, sample: &mut Sample) -> Result<()> {
        let ping = Ping::to(self.to)
            .count(ECHOES)
            .interval(Duration::from_millis(10));
        let echo = ping.run(&self.pair.client)?;
        for (figure, share) in [(middle, 0.5), (tail, 0.99)] {
            let value = echo.quantile_ms(share).context("no echo came back")?;
            sample.insert(figure, value);
        }
        Ok(())
    }

    fn streams(&self, sample: &mut Sample) -> Result<()> {
        let (client, server) = (&self.pair.client, &self.pair.server);
        let one = self.stream();
        let programs = Tunnel::programs();
        let meters = || Ledger::read(&self.pair.lab, &programs);
        let before = meters()?;
        let up = one.run(client, server)?;
        let cost = meters()?.since(&before);
        sample.insert(Figure::Tcp1Up, up.bits_per_second);
        let gibibytes = up.bytes as f64 / f64::from(1 << 30);
        for (figure, seconds) in [
            (Figure::CpuUser, cost.user),
            (Figure::CpuSystem, cost.system),
            (Figure::CpuKernel, cost.kernel),
            (Figure::CpuTunnel, cost.user + cost.system + cost.kernel),
            (Figure::CpuMachine, cost.machine),
        ] {
            sample.insert(figure, seconds / gibibytes);
        }
        let down = one.clone().reverse().run(client, server)?;
        sample.insert(Figure::Tcp1Down, down.bits_per_second);
        if self.is_full {
            let four = one.parallel(4);
            let up = four.run(client, server)?;
            sample.insert(Figure::Tcp4Up, up.bits_per_second);
            let down = four.reverse().run(client, server)?;
            sample.insert(Figure::Tcp4Down, down.bits_per_second);
        }
        Ok(())
    }

    fn stream(&self) -> Stream {
        Stream::to(self.to)
            .seconds(self.method.seconds)
            .congestion(CONGESTION)
    }

    fn floods(&self, sample: &mut Sample) -> Result<()> {
        let mut flood = |size, rate, loss| -> Result<()> {
            let delivery = Flood::to(self.to)
                .size(size)
                .duration(Duration::from_secs(u64::from(self.method.seconds)))
                .run(self.method.program, &self.pair.client, &self.pair.server)?;
            sample.insert(rate, delivery.per_second());
            sample.insert(loss, delivery.loss());
            Ok(())
        };
        flood(64, Figure::Udp64, Figure::Udp64Loss)?;
        if self.is_full {
            flood(1350, Figure::Udp1350, Figure::Udp1350Loss)?;
        }
        Ok(())
    }
}
