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
    /// What `cargo xtask loads` measures, on all links: on request only.
    OneEnd,
}

impl Part {
    /// Those of a whole run, and of each cell.
    pub(crate) const OF_CELLS: [Self; 3] = [Self::Tcp, Self::Udp, Self::Rtt];
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
        self.caption().0
    }

    /// The unit that [`Self::show`] uses.
    pub(crate) const fn unit(self) -> &'static str {
        self.caption().1
    }

    /// The value in its unit.
    pub(crate) fn show(self, value: f64) -> String {
        let (_, _, scale, digits) = self.caption();
        format!("{:.digits$}", value * scale)
    }

    /// Caption, unit, its factor, and the digits behind the point.
    const fn caption(self) -> (&'static str, &'static str, f64, usize) {
        const GBIT: f64 = 1e-9;
        const MIB: f64 = 1.0 / (1 << 20) as f64;
        match self {
            Self::Tcp1Up => ("TCP, 1 stream up", "Gbit/s", GBIT, 2),
            Self::Tcp1Down => ("TCP, 1 stream down", "Gbit/s", GBIT, 2),
            Self::Tcp4Up => ("TCP, 4 streams up", "Gbit/s", GBIT, 2),
            Self::Tcp4Down => ("TCP, 4 streams down", "Gbit/s", GBIT, 2),
            Self::Udp64 => ("UDP 64 B, received", "1000/s", 1e-3, 0),
            Self::Udp64Loss => ("UDP 64 B, lost", "%", 100.0, 1),
            Self::Udp1350 => ("UDP 1,350 B, received", "1000/s", 1e-3, 0),
            Self::Udp1350Loss => ("UDP 1,350 B, lost", "%", 100.0, 1),
            Self::RttIdleP50 => ("RTT idle, median", "ms", 1.0, 3),
            Self::RttIdleP99 => ("RTT idle, 99 %", "ms", 1.0, 3),
            Self::RttLoadedP50 => ("RTT beside TCP, median", "ms", 1.0, 3),
            Self::RttLoadedP99 => ("RTT beside TCP, 99 %", "ms", 1.0, 3),
            Self::CpuUser => ("CPU, tunnel in user mode", "s/GiB", 1.0, 2),
            Self::CpuSystem => ("CPU, tunnel in the kernel", "s/GiB", 1.0, 2),
            Self::CpuKernel => ("CPU, kernel's threads", "s/GiB", 1.0, 2),
            Self::CpuTunnel => ("CPU, tunnel and kernel's threads", "s/GiB", 1.0, 2),
            Self::CpuMachine => ("CPU, whole machine", "s/GiB", 1.0, 2),
            Self::Memory => ("memory at most, both ends", "MiB", MIB, 1),
        }
    }

    /// Whether its ratio is meaningful.
    pub(crate) const fn has_ratio(self) -> bool {
        !matches!(self, Self::Udp64Loss | Self::Udp1350Loss)
    }
}
