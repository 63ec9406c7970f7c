//! The user that a daemon runs as.

use anyhow::{Context, Result, ensure};
use nix::unistd::{Group, User};
use udco_sys::confinement;

/// What the kernel takes for "as it is": a daemon that became this user would stay root.
const UNCHANGED: u32 = u32::MAX;

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
    ensure!(uid != UNCHANGED, "--user {user}: no such user");
    ensure!(
        gid != UNCHANGED,
        "--group {}: no such group",
        group.unwrap_or_default()
    );
    Ok(confinement::User { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_or_a_number_that_the_kernel_takes_for_one() {
        for (user, group, found) in [
            ("root", None, (0, 0)),
            ("0", Some("7"), (0, 7)),
            ("4294967294", Some("7"), (4_294_967_294, 7)),
        ] {
            let user = find(user, group).unwrap();
            assert_eq!((user.uid, user.gid), found);
        }
        for (user, group, words) in [
            ("no-such-user", None, "--user no-such-user"),
            ("", None, "--user : no such user"),
            ("4294967295", Some("0"), "--user 4294967295: no such user"),
            ("4294967296", Some("0"), "--user 4294967296: no such user"),
            ("0", Some("4294967295"), "--group 4294967295: no such group"),
            ("0", Some("no-such-group"), "--group no-such-group"),
        ] {
            let refused = find(user, group).unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
        }
    }
}
