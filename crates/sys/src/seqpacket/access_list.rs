//! Access control for a socket file by its ACL: refused users do not even reach the engine (faults D3).

use std::io;
use std::path::Path;

use rustix::fs::{Gid, Mode, XattrFlags, chmod, chown, setxattr};
use rustix::io::Errno;

/// `POSIX_ACL_XATTR_VERSION` and the tags of `<linux/posix_acl.h>`.
const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NOBODY: u32 = u32::MAX;

/// Connecting requires write permission.
const READ_WRITE: u16 = 6;

/// Grants these users and groups access to a file, and denies it to all others but its owner.
pub(super) fn restrict(path: &Path, uids: &[u32], gids: &[u32]) -> io::Result<()> {
    chmod(path, Mode::from_raw_mode(0o600))?;
    if uids.is_empty() && gids.is_empty() {
        return Ok(());
    }
    let list = access_list(uids, gids);
    match setxattr(path, "system.posix_acl_access", &list, XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => match (uids, gids) {
            // A single group needs no list.
            ([], [gid]) => {
                chown(path, None, Some(Gid::from_raw(*gid)))?;
                Ok(chmod(path, Mode::from_raw_mode(0o660))?)
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        },
        result => Ok(result?),
    }
}

/// The list in the kernel's format: sorted, little-endian.
fn access_list(uids: &[u32], gids: &[u32]) -> Vec<u8> {
    let sorted = |ids: &[u32]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let mut entries = vec![(USER_OBJ, READ_WRITE, NOBODY)];
    entries.extend(sorted(uids).into_iter().map(|uid| (USER, READ_WRITE, uid)));
    entries.push((GROUP_OBJ, 0, NOBODY));
    entries.extend(sorted(gids).into_iter().map(|gid| (GROUP, READ_WRITE, gid)));
    entries.extend([(MASK, READ_WRITE, NOBODY), (OTHER, 0, NOBODY)]);
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&rights.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::seqpacket::Listener;

    #[test]
    fn only_the_named_users_and_groups_have_access() {
        let path = std::env::temp_dir().join(format!("udco-access-{}", std::process::id()));
        for (uids, gids, mode) in [
            (&[][..], &[][..], 0o600),
            (&[65_534, 7, 7], &[9], 0o660),
            (&[], &[9], 0o660),
        ] {
            let listening = match Listener::listen_for(&path, uids, gids) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    crate::namespace::skip("no access lists in the temporary directory");
                    return;
                }
                listening => listening.unwrap(),
            };
            let found = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(found, mode, "{uids:?} {gids:?}");
            drop(listening);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
