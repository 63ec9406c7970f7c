//! The facts from which findings follow. `gather` collects them, the checks read nothing else, so that a test can make up
//! any machine.

use std::path::PathBuf;

use udco_options::{Reading, Series, Setting};

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
    /// The shared engine that it is to use, and why that does not answer.
    pub(super) engine_trouble: Option<(PathBuf, String)>,
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

/// What OpenVPN's units start once the package is installed.
pub(super) const PACKAGED: &str = "/usr/lib/udco/run-openvpn";

/// The package's settings.
pub(super) const SETTINGS: &str = "/etc/default/udco";

/// Something in the package's settings that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ignored {
    pub(super) line: Option<usize>,
    pub(super) why: Useless,
}

/// Why it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Useless {
    /// The whole file cannot be read.
    Unreadable(String),
    /// A line that sets something else.
    Name(String),
    /// The value of this setting is not plain.
    Value(&'static str),
    TooLong,
    /// A word in `UDCO_DISABLE` that is taken for `all`, but is not.
    Unit(String),
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

/// The machine.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) tun: Tun,
    pub(super) kernel: Kernel,
    /// Seconds since 1970.
    pub(super) now: i64,
    /// `udco doctor` runs as root, and sees everything.
    pub(super) is_seen_by_root: bool,
}

/// `/dev/net/tun`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tun {
    Usable,
    Missing,
    /// It is there, but the kernel has no driver behind it.
    NoDriver,
    /// This user may not open it.
    Denied,
    /// Opening it fails for another reason.
    Broken(String),
}

/// The kernel.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) release: (u32, u32),
    pub(super) has_landlock: bool,
    pub(super) has_seccomp: bool,
    /// The driver that OpenVPN of this machine would ask for.
    pub(super) driver: KernelDriver,
}

/// The kernel's own driver for offload, `ovpn` or `ovpn-dco-v2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KernelDriver {
    Absent,
    /// A module that is loaded when it is asked for.
    Loadable(&'static str),
    Loaded(&'static str),
}

/// The user that starts OpenVPN.
#[derive(Clone, Debug)]
pub(super) struct Starter {
    pub(super) is_root: bool,
    /// Capabilities that it has, of those that matter; `None` if nobody knows before it starts.
    pub(super) rights: Option<Rights>,
}

/// Capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) net_admin: bool,
    pub(super) setpcap: bool,
}

/// Limits of OpenVPN and its engine; `None` for no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) open_files: Option<u64>,
    /// Processes of the user; `None` for root, too, unless that is a container's.
    pub(super) processes: Option<u64>,
    /// Threads of the unit, or of the control group.
    pub(super) tasks: Option<u64>,
    /// Cores, which is how many workers an engine has.
    pub(super) cores: u64,
}

/// A file that an option names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedFile {
    /// The option with its place, `key (client.conf:3)`.
    pub(super) option: String,
    pub(super) path: PathBuf,
    /// Nobody but its owner should read it.
    pub(super) is_secret: bool,
    pub(super) state: FileState,
    /// There is a file of that name beside the configuration.
    pub(super) beside: Option<PathBuf>,
}

/// What became of looking at a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileState {
    Missing,
    /// This user may not read it.
    Denied,
    Unreadable(String),
    Empty,
    /// Its mode bits.
    Good(u32),
}

/// A file that OpenVPN needs, and may not use as its unit's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) user: String,
    /// systemd makes it up when the unit starts: it has no name yet.
    pub(super) is_dynamic: bool,
    /// The option with its place.
    pub(super) option: String,
    pub(super) path: PathBuf,
    /// The file, or the directory above it, that refuses.
    pub(super) at: PathBuf,
    pub(super) need: Need,
    /// OpenVPN does not run without it.
    pub(super) is_vital: bool,
}

/// What a file is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Read,
    /// It may be missing.
    Write,
}

/// The files of `client-config-dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clients {
    /// The option with its place.
    pub(super) option: String,
    /// The directory itself.
    pub(super) directory: PathBuf,
    /// The user as whom OpenVPN runs, and the file or directory that refuses it.
    pub(super) denied: Option<(String, PathBuf)>,
    /// The options of all files.
    pub(super) settings: Vec<Setting>,
}

/// The validity of a certificate, in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// The option with its place.
    pub(super) option: String,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

/// Links, routes and settings of this network namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    pub(super) links: Vec<Link>,
    /// IPv4 default routes.
    pub(super) defaults: Vec<DefaultRoute>,
    /// Those of IPv6, one for each next hop.
    pub(super) defaults6: Vec<DefaultRoute>,
    /// `net.ipv4.ip_forward`; `None` if unknown.
    pub(super) forwards4: Option<bool>,
    /// `net.ipv6.conf.all.forwarding`.
    pub(super) forwards6: Option<bool>,
    /// Interfaces whose reverse-path filter is strict.
    pub(super) strict: Vec<String>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) serves: Serves,
}

/// What serves an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serves {
    /// An engine.
    Engine,
    /// An engine that does not answer this user.
    Silent,
    /// An engine that has been killed, or its OpenVPN.
    Nothing,
    /// The kernel's own driver.
    Driver,
    /// Something that has nothing to do with offload.
    Other,
}

/// A default route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DefaultRoute {
    pub(super) device: String,
    pub(super) metric: u32,
}

/// What runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    pub(super) engines: Vec<Engine>,
    /// What `udco show` has to say about engines that do not answer.
    pub(super) silent: Vec<String>,
    pub(super) openvpns: Vec<OpenVpn>,
    /// The one that is examined, by its index in `openvpns`.
    pub(super) examined: Option<usize>,
}

/// An engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Engine {
    pub(super) pid: u32,
    /// Its devices, as `tun0 (mp, 3 peers)`.
    pub(super) devices: Vec<String>,
}

/// An OpenVPN process of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpenVpn {
    pub(super) pid: u32,
    /// Its arguments, as one line.
    pub(super) command: String,
    pub(super) path: DataPath,
}

/// What moves an OpenVPN's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DataPath {
    /// This user may not look.
    Unknown,
    /// Itself: it holds this device; whether it has the preload library.
    Own { device: String, is_preloaded: bool },
    /// It has the preload library, and no device of its own: an engine, unless it has no tunnel yet.
    Engine,
    /// Neither: the kernel's driver, or it has no tunnel yet.
    NoDevice,
}
