//! The user that a daemon runs as.

use anyhow::{Context, Result};
use nix::unistd::{Group, User};
use udco_sys::confinement;

/// The user with this name or number, with the given group, or else the user's own.
///
/// # Errors
/// If there is no such user or group.
pub(crate) fn find(user: &str, group: Option<&str>) -> Result<confinement::User> {
    let known = match user.parse::<u32>() {
        Ok(uid) => User::from_uid(uid.into())?,
        Err(_) => User::from_name(user)?,
    };
    let gid = match group {
        Some(group) => match group.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => Group::from_name(group)?
                .with_context(|| format!("--group {group}: no such group"))?
                .gid
                .as_raw(),
        },
        None => known
            .as_ref()
            .with_context(|| format!("--user {user}: no such user"))?
            .gid
            .as_raw(),
    };
    let uid = match known {
        Some(known) => known.uid.as_raw(),
        // With a group given, a number need not be in the user database.
        None => user
            .parse()
            .with_context(|| format!("--user {user}: no such user"))?,
    };
    Ok(confinement::User { uid, gid })
}
