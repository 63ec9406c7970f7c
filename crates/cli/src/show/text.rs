//! The state as text.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use udco_state::{KernelDevice, Key, Keys, Loss, Mode, Mss, Peer, Traffic};

use crate::output;
use crate::rates::{self, Rate, Rates, Sides, Whose};
use crate::state::{self, Device};
use crate::style::{Line, Style};
use crate::survey::{Engine, Survey};
use crate::units::{self, noun};

/// Clears a terminal, and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// How many peers of a device are listed while they are watched.
const BUSIEST: usize = 10;

/// Prints states.
pub(super) struct Printer {
    style: Style,
    /// If the state is watched.
    rates: Option<Rates>,
    /// Of each worker, by the socket of its engine and its number.
    loads: Rates<(String, usize), f64>,
}

/// Prints a line as what it is, with the arguments of `format!`; returns from the function with an error if that fails.
macro_rules! styled {
    ($printer:expr, $line:expr, $($argument:tt)*) => {
        output::write_in($printer.style.colour($line), format_args!($($argument)*))?
    };
}

impl Printer {
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            rates: None,
            loads: Rates::default(),
        }
    }

    /// One that prints again and again, with rates.
    pub(super) fn of_watch(style: Style) -> Self {
        Self {
            rates: Some(Rates::default()),
            ..Self::new(style)
        }
    }

    /// Begins to print a state: of a watch, each in the place of the one before.
    pub(super) fn begin(&mut self, now: Instant) -> Result<()> {
        let Some(rates) = &mut self.rates else {
            return Ok(());
        };
        let is_first = rates.begin(now);
        self.loads.begin(now);
        if self.style.is_human {
            output::text(CLEAR)?;
        } else if !is_first {
            styled!(self, Line::Plain, "");
        }
        Ok(())
    }

    /// Prints a survey, or one peer of each device in it.
    pub(super) fn print(&mut self, survey: &Survey<'_>, peer: Option<u32>) -> Result<()> {
        if survey.devices() == 0 {
            styled!(self, Line::Plain, "{}", survey.no_devices());
        }
        let has_several = survey.engines.len() > 1;
        for engine in &survey.engines {
            if has_several || self.rates.is_some() {
                self.engine(engine)?;
            }
            let socket = engine.socket.display().to_string();
            for device in &engine.state.devices {
                self.device(device, Some(&socket), peer)?;
            }
        }
        let mut kernel = survey.kernel.iter();
        kernel.try_for_each(|device| self.kernel_device(device, peer))
    }

    fn engine(&mut self, engine: &Engine<'_>) -> Result<()> {
        let (socket, state) = (engine.socket.display(), &engine.state);
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(state.started);
        let since = SystemTime::now().duration_since(started);
        let since = match since {
            Ok(since) if state.started > 0 => format!(", started {} ago", units::time(since)),
            _ => String::new(),
        };
        let spent = state.worker_cpu_seconds.iter().enumerate();
        let loads = spent.map(|(worker, spent)| {
            let load = self.loads.of((socket.to_string(), worker), *spent);
            load.map_or_else(|| "-".to_owned(), units::percent)
        });
        let loads: Vec<_> = loads.collect();
        let loads = match self.rates.is_some() && !loads.is_empty() {
            true => format!(" ({} busy)", loads.join(", ")),
            false => String::new(),
        };
        let (pid, workers) = (state.pid, state.workers);
        styled!(
            self,
            Line::Detail,
            "engine {socket}: process {pid}, {workers} {}{loads}{since}",
            noun(workers as u64, "worker")
        );
        Ok(())
    }

    /// Prints a device of the engine with this socket, with one peer or all.
    pub(super) fn device(
        &mut self,
        device: &Device<'_>,
        socket: Option<&str>,
        only: Option<u32>,
    ) -> Result<()> {
        let mut peers = state::peers(device)?;
        let elsewhere = match state::is_here(device) {
            true => String::new(),
            false => format!(", in namespace {}", device.netns),
        };
        styled!(
            self,
            Line::Heading,
            "{} ({}, {}{elsewhere}), {} {}, {} {} sent in fragments",
            device.name,
            device.mode.name(),
            device.api.name(),
            peers.len(),
            noun(peers.len() as u64, "peer"),
            device.fragmented,
            noun(device.fragmented, "datagram")
        );
        let whose = |peer| Whose {
            engine: socket.map(str::to_owned),
            ifindex: device.ifindex,
            netns: device.netns,
            peer,
        };
        if let Some(id) = only {
            peers.retain(|peer| peer.id == id);
        }
        let rates: Vec<_> = peers
            .iter()
            .map(|peer| {
                let sides = Sides {
                    vpn: peer.vpn,
                    link: peer.link,
                };
                self.rates.as_mut()?.of(whose(Some(peer.id)), sides)
            })
            .collect();
        let mut peers: Vec<_> = peers.into_iter().zip(rates).collect();
        let count = peers.len();
        if self.rates.is_some() {
            let busy = |rate: &Option<[Rate; 2]>| rate.map_or(0.0, |[_, link]| link.bytes());
            peers.sort_by(|(_, one), (_, other)| busy(other).total_cmp(&busy(one)));
            peers.truncate(BUSIEST);
        }
        for (peer, rate) in &peers {
            let name = device.common_names.get(&peer.id);
            self.peer(peer, name.map(String::as_str), *rate)?;
        }
        let more = count - peers.len();
        if more > 0 {
            styled!(
                self,
                Line::Detail,
                "  and {more} more {}",
                noun(more as u64, "peer")
            );
        }
        if only.is_some() {
            return Ok(());
        }
        if let Some(totals) = device.totals.as_ref().filter(|_| device.mode == Mode::Mp) {
            let sides = Sides {
                vpn: totals.vpn,
                link: totals.link,
            };
            let rate = self.rates.as_mut().and_then(|it| it.of(whose(None), sides));
            styled!(self, Line::Plain, "  all peers, and those that have ended");
            self.sides(&sides, rate)?;
            self.loss(totals.loss)?;
        }
        let in_use: Vec<_> = device.offloads.in_use().collect();
        let queues = device.offloads.queues;
        styled!(
            self,
            Line::Detail,
            "  offloads {}; queues {queues}",
            in_use.join(" ")
        );
        for (reason, count) in &device.drops {
            styled!(
                self,
                Line::Drop,
                "  dropped  {:>12}  {reason}",
                self.style.count(*count)
            );
        }
        Ok(())
    }

    /// Prints a device of the kernel's own driver, with one peer or all.
    pub(super) fn kernel_device(&mut self, device: &KernelDevice, only: Option<u32>) -> Result<()> {
        let (name, mode, driver) = (&device.name, device.mode.name(), device.driver.name());
        let Some(peers) = &device.peers else {
            styled!(
                self,
                Line::Heading,
                "{name} ({mode}, ovpn, driver: {driver})"
            );
            return Ok(());
        };
        styled!(
            self,
            Line::Heading,
            "{name} ({mode}, ovpn, driver: {driver}), {} {}",
            peers.len(),
            noun(peers.len() as u64, "peer")
        );
        for peer in peers
            .iter()
            .filter(|peer| only.is_none_or(|id| peer.id == id))
        {
            let whose = Whose {
                engine: None,
                ifindex: device.ifindex,
                netns: 0,
                peer: Some(peer.id),
            };
            let sides = Sides {
                vpn: peer.vpn,
                link: peer.link,
            };
            let rate = self.rates.as_mut().and_then(|it| it.of(whose, sides));
            self.address(
                peer.id,
                None,
                peer.remote,
                [peer.vpn4.map(IpAddr::V4), peer.vpn6.map(IpAddr::V6)],
            )?;
            self.keys(&peer.keys)?;
            self.sides(&sides, rate)?;
        }
        Ok(())
    }

    fn peer(&self, peer: &Peer, name: Option<&str>, rate: Option<[Rate; 2]>) -> Result<()> {
        self.address(
            peer.id,
            name,
            peer.remote,
            [peer.vpn4.map(IpAddr::V4), peer.vpn6.map(IpAddr::V6)],
        )?;
        if let (Some(mtu), Some(mss)) = (peer.path_mtu, &peer.mss) {
            let Mss { ipv4, ipv6 } = mss;
            styled!(
                self,
                Line::Detail,
                "    path  MTU {mtu}, MSS inside {ipv4} (IPv6 {ipv6})"
            );
        }
        self.keys(&peer.keys)?;
        let sides = Sides {
            vpn: peer.vpn,
            link: peer.link,
        };
        self.sides(&sides, rate)?;
        self.loss(peer.loss)
    }

    fn address(
        &self,
        id: u32,
        name: Option<&str>,
        remote: Option<SocketAddr>,
        vpn: [Option<IpAddr>; 2],
    ) -> Result<()> {
        let addresses = vpn.iter().flatten().map(ToString::to_string);
        let addresses = addresses.collect::<Vec<_>>().join(", ");
        let remote = remote.map_or_else(|| "-".to_owned(), |it| it.to_string());
        let name = name.map_or_else(String::new, |name| format!(" ({name})"));
        let line = format!("  peer {id}{name} at {remote} {addresses}");
        styled!(self, Line::Plain, "{}", line.trim_end());
        Ok(())
    }

    fn keys(&self, keys: &Keys) -> Result<()> {
        let (primary, secondary) = (key(&keys.primary), key(&keys.secondary));
        styled!(
            self,
            Line::Detail,
            "    keys  primary {primary}, secondary {secondary}"
        );
        Ok(())
    }

    fn sides(&self, sides: &Sides, rate: Option<[Rate; 2]>) -> Result<()> {
        let (vpn, link) = (
            traffic(self.style, &sides.vpn),
            traffic(self.style, &sides.link),
        );
        styled!(self, Line::Plain, "    vpn   {vpn}");
        if let Some([vpn, _]) = &rate {
            styled!(self, Line::Plain, "          {}", rates_of(vpn));
        }
        styled!(self, Line::Plain, "    link  {link}");
        if let Some([_, link]) = &rate {
            styled!(self, Line::Plain, "          {}", rates_of(link));
        }
        Ok(())
    }

    fn loss(&self, of: Option<Loss>) -> Result<()> {
        if let Some(lost) = of.and_then(|loss| self.style.loss(loss)) {
            styled!(self, Line::Plain, "    lost  {lost}");
        }
        Ok(())
    }
}

/// A slot's key: its id, its cipher and its age, or `-`.
pub(crate) fn key(key: &Option<Key>) -> String {
    let Some(key) = key else {
        return "-".to_owned();
    };
    let age = key.age.map(|age| units::time(Duration::from_secs(age)));
    let age = age.map_or_else(String::new, |age| format!(", {age} old"));
    format!("{} ({}{age})", key.key_id, key.cipher)
}

fn traffic(style: Style, traffic: &Traffic) -> String {
    format!(
        "received {} in {} {}, sent {} in {} {}",
        style.bytes(traffic.rx_bytes),
        style.count(traffic.rx_packets),
        noun(traffic.rx_packets, "packet"),
        style.bytes(traffic.tx_bytes),
        style.count(traffic.tx_packets),
        noun(traffic.tx_packets, "packet")
    )
}

fn rates_of(rate: &Rate) -> String {
    let received = rates::words(rate.rx_bytes, rate.rx_packets);
    let sent = rates::words(rate.tx_bytes, rate.tx_packets);
    format!("receives {received}; sends {sent}")
}

/// Prints the counters of the transport or the device, with all digits.
pub(crate) fn print_traffic(indent: &str, name: &str, counters: &Traffic) -> Result<()> {
    let counters = traffic(Style::PLAIN, counters);
    output::write(format_args!("{indent}{name:<5} {counters}"))
}
