//! The machine, who starts OpenVPN there, and its limits.

/// The machine.
#[derive(Clone, Debug)]
pub(in crate::doctor) struct Machine {
    pub(in crate::doctor) tun: Tun,
    pub(in crate::doctor) kernel: Kernel,
    /// Seconds since 1970.
    pub(in crate::doctor) now: i64,
    /// `udco doctor` runs as root, and sees everything.
    pub(in crate::doctor) is_seen_by_root: bool,
}

/// `/dev/net/tun`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Tun {
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
pub(in crate::doctor) struct Kernel {
    pub(in crate::doctor) release: (u32, u32),
    pub(in crate::doctor) has_landlock: bool,
    pub(in crate::doctor) has_seccomp: bool,
    /// The driver that OpenVPN of this machine would ask for.
    pub(in crate::doctor) driver: KernelDriver,
}

/// The kernel's own driver for offload, `ovpn` or `ovpn-dco-v2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum KernelDriver {
    Absent,
    /// A module that is loaded when it is asked for.
    Loadable(&'static str),
    Loaded(&'static str),
}

/// The user that starts OpenVPN.
#[derive(Clone, Debug)]
pub(in crate::doctor) struct Starter {
    pub(in crate::doctor) is_root: bool,
    /// Capabilities that it has, of those that matter; `None` if nobody knows before it starts.
    pub(in crate::doctor) rights: Option<Rights>,
}

/// Capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Rights {
    pub(in crate::doctor) net_admin: bool,
    pub(in crate::doctor) setpcap: bool,
}

/// Limits of OpenVPN and its engine; `None` for no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::doctor) struct Limits {
    pub(in crate::doctor) open_files: Option<u64>,
    /// Processes of the user; `None` for root, too, unless that is a container's.
    pub(in crate::doctor) processes: Option<u64>,
    /// Threads of the unit, or of the control group.
    pub(in crate::doctor) tasks: Option<u64>,
    /// Bytes that limits of addresses and of data leave to an engine.
    pub(in crate::doctor) memory: Option<u64>,
    /// Cores, which is how many workers an engine has.
    pub(in crate::doctor) cores: u64,
}
