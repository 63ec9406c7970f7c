//! Engines and OpenVPNs that run.

/// What runs.
#[derive(Clone, Debug, Default)]
pub(in crate::doctor) struct Running {
    pub(in crate::doctor) engines: Vec<Engine>,
    /// Engines that do not answer.
    pub(in crate::doctor) silent: Vec<Silent>,
    pub(in crate::doctor) openvpns: Vec<OpenVpn>,
    /// The one that is examined, by its index in `openvpns`.
    pub(in crate::doctor) examined: Option<usize>,
}

/// An engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Engine {
    pub(in crate::doctor) pid: u32,
    /// Its devices, as `tun0 (mp, 3 peers)`.
    pub(in crate::doctor) devices: Vec<String>,
}

/// An engine that does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Silent {
    /// Its process, if that is known.
    pub(in crate::doctor) pid: Option<u32>,
    /// What `udco show` has to say about it.
    pub(in crate::doctor) why: String,
    pub(in crate::doctor) cause: Cause,
}

/// Why an engine does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Cause {
    /// It is stopped, or hangs: its tunnels stand still.
    Stalled,
    /// Its socket is not seen here.
    Unseen,
    /// This user may not use it, or it is no engine of this version.
    Other,
}

/// An OpenVPN process of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct OpenVpn {
    pub(in crate::doctor) pid: u32,
    /// Its arguments, as one line.
    pub(in crate::doctor) command: String,
    pub(in crate::doctor) path: DataPath,
}

/// What moves an OpenVPN's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum DataPath {
    /// This user may not look.
    Unknown,
    /// Itself: it holds this device; whether it has the preload library.
    Own { device: String, is_preloaded: bool },
    /// It has the preload library, and no device of its own: an engine, unless it has no tunnel yet.
    Engine,
    /// Neither: the kernel's driver, or it has no tunnel yet.
    NoDevice,
}
