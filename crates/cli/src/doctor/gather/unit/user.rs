//! The user as whom systemd starts a unit.

use std::path::{Path, PathBuf};

use super::Properties;
use super::environment::DIRECTORIES;
use crate::doctor::facts::{Rights, Starter};
use crate::doctor::gather::access::Account;
use crate::preloading::Identity;

impl Properties {
    /// The user that systemd starts it as.
    pub(in crate::doctor::gather) fn identity(&self) -> Identity {
        let (user, group) = (self.user(), self.one("Group"));
        let group = Some(group).filter(|group| !group.is_empty());
        let known = match user {
            "" => None,
            user => crate::user::find(user, group).ok(),
        };
        known.map_or(Identity { uid: 0, gid: 0 }, |it| Identity {
            uid: it.uid,
            gid: it.gid,
        })
    }

    /// The user as whom systemd starts it, and the directories that it makes for this user; `None` for one that may use all
    /// files, or that exists only while the unit runs.
    pub(in crate::doctor::gather) fn account(&self) -> Option<(Account, Vec<PathBuf>)> {
        let user = self.user();
        let has_all = self.one("AmbientCapabilities").contains("cap_dac_");
        if matches!(user, "" | "root" | "0") || self.one("DynamicUser") == "yes" || has_all {
            return None;
        }
        let group = Some(self.one("Group")).filter(|group| !group.is_empty());
        let more: Vec<_> = self.one("SupplementaryGroups").split_whitespace().collect();
        let account = Account::of(user, group, &more)?;
        let mut own = Vec::new();
        for (property, base, _) in DIRECTORIES {
            let names = self.one(property).split_whitespace();
            own.extend(names.map(|name| Path::new(base).join(name)));
        }
        Some((account, own))
    }

    pub(in crate::doctor::gather) fn starter(&self) -> Starter {
        let user = self.user();
        let is_root = matches!(user, "" | "root" | "0");
        // Root gets all that is in the bounding set, others what is ambient.
        let set = if is_root {
            "CapabilityBoundingSet"
        } else {
            "AmbientCapabilities"
        };
        let has = |name: &str| self.one(set).split_whitespace().any(|it| it == name);
        let is_known = self.all.contains_key(set) && !self.is_privileged();
        Starter {
            is_root,
            rights: is_known.then(|| Rights {
                net_admin: has("cap_net_admin"),
                setpcap: has("cap_setpcap"),
            }),
        }
    }
}
