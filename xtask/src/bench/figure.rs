//! The figures of a subject.

use clap::ValueEnum;
use serde::Serialize;

/// A part of the benchmark that can run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// TCP streams, with their processor time and memory.
    Tcp,
    /// Floods of small and large datagrams.
    Udp,
    /// Round trips, idle and beside a TCP stream.
    Rtt,
}

/// One figure of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// One TCP stream from client to server, bits per second.
    Tcp1Up,
    /// The same from server to client.
    Tcp1Down,
    /// Four TCP streams from client to server, bits per second.
    Tcp4Up,
    /// The same from server to client.
    Tcp4Down,
    /// 64-byte datagrams received per second.
    Udp64,
    /// Share of them that was lost.
    Udp64Loss,
    /// 1,350-byte datagrams received per second: the largest round number that fits WireGuard's MTU of 1,420.
    Udp1350,
    /// Share of them that was lost.
    Udp1350Loss,
    /// Median round trip in an idle tunnel, milliseconds.
    RttIdleP50,
    /// 99th percentile of the same.
    RttIdleP99,
    /// Median round trip beside a TCP stream, milliseconds.
    RttLoadedP50,
    /// 99th percentile of the same.
    RttLoadedP99,
    /// During `Tcp1Up`: processor seconds per GiB, the tunnel's processes in user mode.
    CpuUser,
    /// The tunnel's processes in the kernel.
    CpuSystem,
    /// All kernel threads.
    CpuKernel,
    /// The sum of the three above.
    CpuTunnel,
    /// The whole machine, including both ends of the stream and everything else.
    CpuMachine,
    /// Peak resident memory of the tunnel's processes, of both ends, bytes.
    Memory,
}

impl Figure {
    /// The figures in tables, in order.
    pub(crate) const SHOWN: [Self; 16] = [
        Self::Tcp1Up,
        Self::Tcp1Down,
        Self::Tcp4Up,
        Self::Tcp4Down,
        Self::Udp64,
        Self::Udp64Loss,
        Self::Udp1350,
        Self::Udp1350Loss,
        Self::RttIdleP50,
        Self::RttIdleP99,
        Self::RttLoadedP50,
        Self::RttLoadedP99,
        Self::CpuUser,
        Self::CpuTunnel,
        Self::CpuMachine,
        Self::Memory,
    ];

    /// Its caption.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Tcp1Up => "TCP, 1 stream up",
            Self::Tcp1Down => "TCP, 1 stream down",
            Self::Tcp4Up => "TCP, 4 streams up",
            Self::Tcp4Down => "TCP, 4 streams down",
            Self::Udp64 => "UDP 64 B, received",
            Self::Udp64Loss => "UDP 64 B, lost",
            Self::Udp1350 => "UDP 1,350 B, received",
            Self::Udp1350Loss => "UDP 1,350 B, lost",
            Self::RttIdleP50 => "RTT idle, median",
            Self::RttIdleP99 => "RTT idle, 99 %",
            Self::RttLoadedP50 => "RTT beside TCP, median",
            Self::RttLoadedP99 => "RTT beside TCP, 99 %",
            Self::CpuUser => "CPU, tunnel in user mode",
            Self::CpuSystem => "CPU, tunnel in the kernel",
            Self::CpuKernel => "CPU, kernel's threads",
            Self::CpuTunnel => "CPU, tunnel and kernel's threads",
            Self::CpuMachine => "CPU, whole machine",
            Self::Memory => "memory at most, both ends",
        }
    }

    /// The unit that [`Self::show`] uses.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Tcp1Up | Self::Tcp1Down | Self::Tcp4Up | Self::Tcp4Down => "Gbit/s",
            Self::Udp64 | Self::Udp1350 => "1000/s",
            Self::Udp64Loss | Self::Udp1350Loss => "%",
            Self::RttIdleP50 | Self::RttIdleP99 | Self::RttLoadedP50 | Self::RttLoadedP99 => "ms",
            Self::CpuUser
            | Self::CpuSystem
            | Self::CpuKernel
            | Self::CpuTunnel
            | Self::CpuMachine => "s/GiB",
            Self::Memory => "MiB",
        }
    }

    /// The value in its unit.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Tcp1Up | Self::Tcp1Down | Self::Tcp4Up | Self::Tcp4Down => {
                format!("{:.2}", value / 1e9)
            }
            Self::Udp64 | Self::Udp1350 => format!("{:.0}", value / 1e3),
            Self::Udp64Loss | Self::Udp1350Loss => format!("{:.1}", value * 100.0),
            Self::Memory => format!("{:.1}", value / f64::from(1 << 20)),
            Self::CpuUser
            | Self::CpuSystem
            | Self::CpuKernel
            | Self::CpuTunnel
            | Self::CpuMachine => {
                format!("{value:.2}")
            }
            _ => format!("{value:.3}"),
        }
    }

    /// Whether its ratio is meaningful.
    pub(crate) const fn has_ratio(self) -> bool {
        !matches!(self, Self::Udp64Loss | Self::Udp1350Loss)
    }
}
