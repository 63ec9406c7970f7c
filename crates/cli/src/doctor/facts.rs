//! The facts from which findings follow. `gather` collects them, the checks read nothing else, so that a test can make up
//! any machine.

mod engine;
mod files;
mod machine;
mod network;
mod running;
mod settings;

pub(super) use engine::{DAEMON_SOCKET, EngineTrouble, SharedEngine, Stranger};
pub(super) use files::{Certificate, Clients, Denied, FileState, NamedFile, Need};
pub(super) use machine::{Kernel, KernelDriver, Limits, Machine, Rights, Starter, Tun};
pub(super) use network::{DefaultRoute, Link, Network, Serves};
pub(super) use running::{Cause, DataPath, Engine, OpenVpn, Running, Silent};
pub(super) use settings::{Ignored, PACKAGED, Place, RefusedOptions, SETTINGS, Useless};

use std::path::PathBuf;

use udco_options::{Reading, Series};

use crate::preloading::Obstacle;

/// Everything that the checks may look at.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) subject: Subject,
    /// The options of the OpenVPN that is examined; `None` for the machine alone.
    pub(super) reading: Option<Reading>,
    pub(super) launch: Launch,
    pub(super) unit: Option<Unit>,
    /// What of the package's settings is ignored, where they matter.
    pub(super) ignored: Vec<Ignored>,
    /// Options that udco refuses, there or in the unit's command.
    pub(super) refused: Vec<RefusedOptions>,
    pub(super) machine: Machine,
    pub(super) starter: Starter,
    pub(super) limits: Limits,
    /// The files that the options name.
    pub(super) files: Vec<NamedFile>,
    /// Those of them, and others, that a unit's user may not use.
    pub(super) denied: Vec<Denied>,
    /// What `client-config-dir` has for clients.
    pub(super) clients: Option<Clients>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) network: Network,
    pub(super) running: Running,
}

impl Facts {
    /// OpenVPN is started without udco, and the kernel's own driver moves its packets.
    pub(super) fn has_kernel_offload(&self) -> bool {
        self.launch.way == Way::Plain && self.machine.kernel.driver != KernelDriver::Absent
    }
}

/// What is examined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// This machine, for any OpenVPN.
    Machine,
    /// `udco run -- openvpn --config FILE`.
    Config(PathBuf),
    /// A unit of systemd.
    Unit(String),
}

/// How OpenVPN is started.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) way: Way,
    /// This program.
    pub(super) udco: PathBuf,
    /// OpenVPN's executable; `None` if it cannot be found.
    pub(super) openvpn: Option<PathBuf>,
    /// The release that it prints; `None` if it prints none.
    pub(super) release: Option<Release>,
    /// The preload library, or why it cannot be found.
    pub(super) library: Result<PathBuf, String>,
    /// Why OpenVPN would not load it.
    pub(super) obstacle: Option<Obstacle>,
    /// The shared engine that it is to use.
    pub(super) engine: Option<SharedEngine>,
}

/// What stands before OpenVPN in its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// `udco run`.
    Run,
    /// `LD_PRELOAD`, set by a service manager.
    Preload,
    /// Nothing of udco.
    Plain,
}

/// A release of OpenVPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Release(pub(super) u32, pub(super) u32);

impl Release {
    /// The series whose rules hold for it; `None` before there was offload.
    pub(super) const fn series(self) -> Option<Series> {
        match self {
            Self(0 | 1, _) | Self(2, 0..=5) => None,
            Self(2, 6) => Some(Series::V26),
            Self(..) => Some(Series::V27),
        }
    }
}

/// What systemd knows of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// There is no `systemctl`, or it reaches no systemd.
    NoSystemd(String),
    /// Not a unit that systemd could load.
    NotFound,
    /// Its command starts no OpenVPN that could be seen.
    NoOpenVpn {
        command: String,
    },
    Loaded(Loaded),
}

/// A unit that starts OpenVPN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Loaded {
    /// Its command, as one line, without what stands before it.
    pub(super) command: String,
    /// `-`, `+` and the like.
    pub(super) prefixes: String,
    /// With quotation marks where a unit's file needs them.
    pub(super) is_exact: bool,
    /// Its main process, if it runs.
    pub(super) main: Option<u32>,
    /// `/dev/net/tun` is not among the devices it may use.
    pub(super) denies_tun: bool,
    /// Address families of sockets that it may not open, of those that are needed.
    pub(super) denied_families: Vec<&'static str>,
}
