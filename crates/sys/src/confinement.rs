//! Confinement: the rights that an engine gives up before it reads its first packet. From then on it can open nothing,
//! connect to nothing and start nothing, and only root can inspect it (SECURITY.md).
//!
//! The layers overlap on purpose: where a kernel or a container lacks one, the others hold, and a log line says so.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod calls;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod filter;

use std::fmt;
use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus,
    Scope,
};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{chdir, umask};
use rustix::thread::{
    CapabilitiesSecureBits as Bits, CapabilitySet, CapabilitySets, Gid, Uid,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use rustix::time::{ClockId, clock_gettime};

use crate::process::forbid_core_dumps;

/// The newest Landlock ABI to request; an older kernel applies as much of it as it supports.
const LANDLOCK: ABI = ABI::V6;

/// How the kernel treats a system call that is not in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unforeseen {
    /// It fails with `EPERM`.
    Fails,
    /// It kills the process with SIGSYS: for tests, which must find calls that the table lacks.
    Ends,
}

/// A user to run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Its uid.
    pub uid: u32,
    /// Its only gid.
    pub gid: u32,
}

/// A layer that is unavailable, with the reason.
#[derive(Debug)]
pub struct Lack {
    layer: &'static str,
    reason: String,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the engine runs without {}: {}", self.layer, self.reason)
    }
}

/// Switches to another user, which drops the capabilities of root. Call it before [`enter`], while there is only one
/// thread.
///
/// # Errors
/// If this process lacks the privilege.
pub fn become_user(user: User) -> io::Result<()> {
    // To the kernel this number means "unchanged", so the call would succeed.
    if [user.uid, user.gid].contains(&u32::MAX) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Confines the calling thread and all threads that it starts from now on: call it while this is the only thread.
/// Returns the layers that are unavailable.
#[must_use]
pub fn enter(unforeseen: Unforeseen) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let mut layer = |layer, outcome: Result<(), String>| {
        if let Err(reason) = outcome {
            lacks.push(Lack { layer, reason });
        }
    };
    // The C library's first clock read uses calls that are refused later.
    let _ = clock_gettime(ClockId::Monotonic);
    let _ = umask(Mode::RWXG | Mode::RWXO);
    layer("`/` as its working directory", chdir("/").map_err(text));
    layer(
        "protection from core dumps and debuggers",
        forbid_core_dumps().map_err(text),
    );
    layer(
        "dropping its capabilities",
        drop_capabilities().map_err(text),
    );
    layer("no_new_privs", set_no_new_privs(true).map_err(text));
    layer("Landlock", landlock());
    layer("a system call filter", filter_calls(unforeseen));
    lacks
}

/// Empties the five capability sets, and keeps them empty.
fn drop_capabilities() -> rustix::io::Result<()> {
    // An unprivileged engine may not shrink the bounding set, and need not: under no_new_privs it can gain nothing from
    // it.
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // The kernel has no more capabilities, or this engine is unprivileged.
            Err(_) => break,
        }
    }
    let _ = set_capabilities_secure_bits(
        Bits::NO_ROOT
            | Bits::NO_ROOT_LOCKED
            | Bits::NO_SETUID_FIXUP
            | Bits::NO_SETUID_FIXUP_LOCKED
            | Bits::KEEP_CAPS_LOCKED
            | Bits::NO_CAP_AMBIENT_RAISE
            | Bits::NO_CAP_AMBIENT_RAISE_LOCKED,
    );
    match clear_ambient_capability_set() {
        // The kernel predates ambient capabilities.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error),
    }
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )
}

/// Files, TCP ports, other processes' sockets and signals: nothing is allowed, without exception.
fn landlock() -> Result<(), String> {
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|rules| rules.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|error| error.to_string())?;
    match restricted.ruleset {
        // Older kernels restrict only files, which matter most.
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => {
            Err("it needs Linux 5.13 or newer, started with landlock in `lsm=`".to_owned())
        }
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn filter_calls(unforeseen: Unforeseen) -> Result<(), String> {
    filter::apply(unforeseen)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn filter_calls(_: Unforeseen) -> Result<(), String> {
    Err(format!("there is none for {}", std::env::consts::ARCH))
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}
