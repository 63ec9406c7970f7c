//! The journal's message ids: one for each kind of log line that an operator may act on.
//!
//! `journalctl MESSAGE_ID=…` finds such lines whatever their wording, and `journalctl -x` explains them, with a cure,
//! from the catalog in packaging/systemd/udco.catalog. An id never changes, and is never reused for something else.

/// A device's packets go through the engine.
pub const OFFLOAD_ACTIVE: &str = "91e01962e926460086e977f38301c3b2";
/// OpenVPN has chosen its own data path.
pub const OFFLOAD_INACTIVE: &str = "53a9ad35b9024eb4856ed53b5e277299";
/// udco cannot serve this OpenVPN, which uses its own data path.
pub const OFFLOAD_UNAVAILABLE: &str = "ba24e5f38fc54300b00536a5317fbb06";
/// An engine is waiting, and no program has connected.
pub const NO_CLIENT: &str = "1433e4f380ab4a2cb44dfa9fd86faceb";
/// OpenVPN has lost its engine.
pub const ENGINE_ENDED: &str = "29b8e6e16fbb4e76a4627f0a4dc133ed";
/// An engine did not answer OpenVPN in time.
pub const ENGINE_SILENT: &str = "e28de672303a40e3bacd29164b4191cb";
/// An engine has ended itself because of a bug.
pub const ENGINE_BUG: &str = "1ab80175c77b45268d2ed61e43fa328f";
/// The engine of several tunnels was told to end.
pub const DAEMON_ENDED: &str = "d22281c46582457ba75486278ed0f9c0";
/// A device is left without an engine, on purpose.
pub const DEVICE_STAYS: &str = "5044c7ace8f8456bb9fad75ce01e879e";
/// A device left by a killed run takes the packets of this start.
pub const DEVICE_IN_THE_WAY: &str = "cdb1b536712b4437b28a9b22b7799cdc";
/// A device taken over has routes that this run has not set.
pub const ROUTES_LEFT: &str = "8e98596edc224cb1ba3b55777f4e9305";
/// Somebody has deleted a device.
pub const DEVICE_DELETED: &str = "04810187320d49d49f0ddab62fae7673";
/// OpenVPN requested a name that an existing interface has.
pub const INTERFACE_EXISTS: &str = "c741584ad75e4363b702e4b235678cb0";
/// A peer was silent for longer than its timeout.
pub const PEER_EXPIRED: &str = "293241a81ada424ab1ae2882a04077f9";
/// Two peers have the same key.
pub const KEY_REUSED: &str = "35e9db160014454d964ce9aab9a3a611";
/// A key is nearly used up.
pub const REKEY_DUE: &str = "c501a02cebf8434f91c10eef6afcfe12";
/// A limit allows fewer workers than wanted.
pub const FEW_THREADS: &str = "a0d0e28dc50a4cd39979806a70dba487";
/// A user has reached the limit on clients.
pub const CLIENT_LIMIT: &str = "5e94ef9cec79418fb97b33dda9210c5c";
/// A user may not use this engine.
pub const ACCESS_DENIED: &str = "d5ac3efc9872455c98f6dd471cd3367e";
/// The preload library and the engine are from different releases.
pub const VERSIONS_DIFFER: &str = "f4399122c3f74d2db5fa15637d451ece";
/// A server pushes compression, which OpenVPN refuses with offload.
pub const COMPRESSION_PUSHED: &str = "cc56e82470134e9382fdc569a03b0b2b";
/// The kernel refuses packets in large pieces.
pub const SEGMENTATION_REFUSED: &str = "5b065b0a513c49d1b291bb9964d50c8c";
/// A layer of the engine's confinement is missing.
pub const NOT_CONFINED: &str = "5636821c9b8243bdb284e82cfe37690e";
/// An option is given that has no effect with offload.
pub const OPTION_WITHOUT_EFFECT: &str = "1b593e39d97241a489a20756fd542f34";
