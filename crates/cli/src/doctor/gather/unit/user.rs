//! The user as whom systemd starts a unit.

use std::path::{Path, PathBuf};

use super::Properties;
use super::environment::DIRECTORIES;
use crate::doctor::facts::{Rights, Starter};
use crate::doctor::gather::access::{Account, DYNAMIC};
use crate::preloading::Identity;

impl Properties {
    /// The user that systemd starts it as.
    pub(in crate::doctor::gather) fn identity(&self) -> Identity {
        let (uid, gid) = match self.as_whom() {
            Whom::Root => (0, 0),
            Whom::Dynamic => (DYNAMIC, DYNAMIC),
            Whom::User(user, group) => {
                crate::user::find(user, group).map_or((0, 0), |it| (it.uid, it.gid))
            }
        };
        Identity { uid, gid }
    }

    /// The user as whom systemd starts it, and the directories that it makes for this user; `None` for one that may use all
    /// files.
    pub(in crate::doctor::gather) fn account(&self) -> Option<(Account, Vec<PathBuf>)> {
        let mut more: Vec<_> = self.one("SupplementaryGroups").split_whitespace().collect();
        let account = match self.as_whom() {
            _ if self.one("AmbientCapabilities").contains("cap_dac_") => None,
            Whom::Root => None,
            Whom::Dynamic => {
                // A group that exists already is the unit's.
                let group = Some(self.one("Group")).filter(|it| !it.is_empty());
                more.extend(group.filter(|it| crate::user::find("root", Some(it)).is_ok()));
                Account::dynamic(&more)
            }
            Whom::User(user, group) => Account::of(user, group, &more),
        }?;
        let mut own = Vec::new();
        for (property, base, _) in DIRECTORIES {
            let names = self.one(property).split_whitespace();
            own.extend(names.map(|name| Path::new(base).join(name)));
        }
        Some((account, own))
    }

    pub(in crate::doctor::gather) fn starter(&self) -> Starter {
        let is_root = matches!(self.as_whom(), Whom::Root);
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

    fn as_whom(&self) -> Whom<'_> {
        let group = Some(self.one("Group")).filter(|group| !group.is_empty());
        match self.one("User") {
            _ if self.stays_root() => Whom::Root,
            // `DynamicUser=` takes a user of this name, if there is one.
            user if self.one("DynamicUser") == "yes" && crate::user::find(user, group).is_err() => {
                Whom::Dynamic
            }
            "" | "root" | "0" => Whom::Root,
            user => Whom::User(user, group),
        }
    }
}

/// As whom a unit's command runs.
enum Whom<'a> {
    Root,
    /// A user that exists only while the unit runs.
    Dynamic,
    /// A user, and its group if that is given.
    User(&'a str, Option<&'a str>),
}
