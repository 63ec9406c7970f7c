//! What a unit's user may not use, of the files that OpenVPN needs. The kernel decides, asked by a thread that becomes this
//! user: groups and access control lists count.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::thread;

use nix::unistd::{self, Group};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use udco_options::Reading;

use crate::doctor::facts::{Denied, FileState, NamedFile, Need};

/// Options that name a file to write, and whether OpenVPN ends if it may not. OpenVPN 2.6.14 was started with each.
const WRITTEN: [(&str, bool); 6] = [
    ("status", true),
    ("writepid", true),
    ("replay-persist", true),
    ("ifconfig-pool-persist", false),
    ("log", false),
    ("log-append", false),
];

/// The last number of those that systemd gives to dynamic users: no file is likely to belong to it.
pub(super) const DYNAMIC: u32 = 65519;

/// A user of this machine.
pub(super) struct Account {
    pub(super) name: String,
    /// It exists only while the unit runs.
    pub(super) is_dynamic: bool,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Account {
    /// `None` if there is no such user or group.
    pub(super) fn of(user: &str, group: Option<&str>, supplementary: &[&str]) -> Option<Self> {
        let found = crate::user::find(user, group).ok()?;
        let known = unistd::User::from_uid(found.uid.into()).ok()??;
        let name = CString::new(known.name.as_str()).ok()?;
        let mut groups = unistd::getgrouplist(&name, found.gid.into()).ok()?;
        groups.extend(self::groups(supplementary)?);
        let gid = |gid: unistd::Gid| Gid::from_raw(gid.as_raw());
        Some(Self {
            name: known.name,
            is_dynamic: false,
            uid: Uid::from_raw(found.uid),
            gid: Gid::from_raw(found.gid),
            groups: groups.into_iter().map(gid).collect(),
        })
    }

    /// A user that systemd makes up when the unit starts; `None` if there is no such group.
    pub(super) fn dynamic(supplementary: &[&str]) -> Option<Self> {
        let groups = groups(supplementary)?.into_iter();
        Some(Self {
            name: String::new(),
            is_dynamic: true,
            uid: Uid::from_raw(DYNAMIC),
            gid: Gid::from_raw(DYNAMIC),
            groups: groups.map(|gid| Gid::from_raw(gid.as_raw())).collect(),
        })
    }

    /// The option of `udco daemon` that lets it in.
    pub(super) fn admission(&self) -> Option<String> {
        match self.is_dynamic {
            true => Some(format!("--allow-gid {}", self.groups.first()?.as_raw())),
            false => Some(format!("--allow-uid {}", self.uid.as_raw())),
        }
    }

    /// Answers a question as this user; `None` if this process may not become it.
    pub(super) fn answers<T: Send>(&self, question: impl FnOnce() -> T + Send) -> Option<T> {
        thread::scope(|scope| {
            let asked = thread::Builder::new().spawn_scoped(scope, || {
                self.take_over_thread().ok()?;
                Some(question())
            });
            asked.ok()?.join().ok().flatten()
        })
    }

    /// The first of these files, or the directory above it, that this user may not read.
    pub(super) fn refused_reading(&self, paths: &[PathBuf]) -> Option<PathBuf> {
        let paths: Vec<_> = paths.iter().map(|path| real(path)).collect();
        self.answers(|| paths.iter().find_map(|path| refusing(path, Need::Read)))?
    }

    /// The file, or the directory above it, that this user may not write to. A socket is connected to by writing.
    pub(super) fn refused_writing(&self, path: &Path) -> Option<PathBuf> {
        let path = real(path);
        self.answers(|| refusing(&path, Need::Write))?
    }

    /// These calls concern the calling thread alone.
    fn take_over_thread(&self) -> rustix::io::Result<()> {
        if geteuid() == self.uid {
            return Ok(());
        }
        set_thread_groups(&self.groups)?;
        set_thread_res_gid(self.gid, self.gid, self.gid)?;
        set_thread_res_uid(self.uid, self.uid, self.uid)
    }
}

fn groups(names: &[&str]) -> Option<Vec<unistd::Gid>> {
    let gid = |name: &&str| Some(Group::from_name(name).ok()??.gid);
    names.iter().map(gid).collect()
}

/// A file, and what for.
struct Needed {
    option: String,
    path: PathBuf,
    need: Need,
    is_vital: bool,
}

/// The files that this user may not use, of the configurations that were read, those that options name to be read, and those
/// to be written outside of the unit's `own` directories, which systemd makes for the user.
pub(super) fn denied(
    account: &Account,
    configurations: &[PathBuf],
    reading: &Reading,
    files: &[NamedFile],
    own: &[PathBuf],
) -> Vec<Denied> {
    let configurations = configurations
        .iter()
        .map(|path| ("configuration".to_owned(), path));
    let readable = files
        .iter()
        .filter(|it| matches!(it.state, FileState::Good(_)));
    let named = readable.map(|it| (it.option.clone(), &it.path));
    let read = configurations.chain(named).map(|(option, path)| Needed {
        option,
        path: real(path),
        need: Need::Read,
        is_vital: true,
    });
    let is_own = |it: &Needed| own.iter().any(|own| it.path.starts_with(own));
    let written = written(reading).into_iter().filter(|it| !is_own(it));
    let needed: Vec<_> = read.chain(written).collect();
    let refused = account.answers(|| {
        let refused = needed.into_iter().filter_map(|needed| {
            let at = refusing(&needed.path, needed.need)?;
            Some((needed, at))
        });
        refused.collect::<Vec<_>>()
    });
    let denied = |(needed, at): (Needed, PathBuf)| Denied {
        user: account.name.clone(),
        is_dynamic: account.is_dynamic,
        option: needed.option,
        path: needed.path,
        at,
        need: needed.need,
        is_vital: needed.is_vital,
    };
    refused
        .unwrap_or_default()
        .into_iter()
        .map(denied)
        .collect()
}

fn written(reading: &Reading) -> Vec<Needed> {
    let settings = &reading.settings;
    // Below another root, other names hold.
    if settings.iter().any(|it| it.name == "chroot") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (name, is_vital) in WRITTEN {
        let setting = settings.iter().rfind(|it| it.name == name);
        if let Some((setting, file)) = setting.and_then(|it| Some((it, it.arguments.first()?))) {
            found.push(Needed {
                option: setting.to_string(),
                path: real(&reading.directory.join(file)),
                need: Need::Write,
                is_vital,
            });
        }
    }
    // OpenVPN replaces the socket, so that its directory counts, unless it connects to another program's.
    let connects = settings.iter().any(|it| it.name == "management-client");
    let management = settings
        .iter()
        .rfind(|it| it.name == "management" && !connects);
    if let Some(setting) = management.filter(|it| it.argument(1) == Some("unix")) {
        let socket = setting
            .arguments
            .first()
            .map(|it| reading.directory.join(it));
        let directory = socket.as_deref().and_then(Path::parent).map(real);
        found.extend(directory.map(|path| Needed {
            option: setting.to_string(),
            path,
            need: Need::Write,
            is_vital: true,
        }));
    }
    found
}

/// The path behind symbolic links: what is above it decides. The file itself may be missing.
fn real(path: &Path) -> PathBuf {
    let beside = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    let real = path.canonicalize().ok().or_else(beside);
    real.unwrap_or_else(|| path.to_owned())
}

/// The file, or the directory above it, that refuses this thread.
fn refusing(path: &Path, need: Need) -> Option<PathBuf> {
    let refuses =
        |path: &Path, access| accessat(CWD, path, access, AtFlags::empty()) == Err(Errno::ACCESS);
    let above: Vec<_> = path.ancestors().skip(1).collect();
    let closed = above.iter().rev().find(|it| refuses(it, Access::EXEC_OK));
    if let Some(closed) = closed {
        return Some((*closed).to_owned());
    }
    let (at, access) = match need {
        Need::Read => (path, Access::READ_OK),
        Need::Write if path.exists() => (path, Access::WRITE_OK),
        Need::Write => (path.parent()?, Access::WRITE_OK),
    };
    refuses(at, access).then(|| at.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{self, Write as _};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_kernel_says_what_another_user_may_not_use() {
        // Only root may become another user.
        let nobody = Account::of("nobody", None, &[]).filter(|_| geteuid().is_root());
        let Some(nobody) = nobody else {
            let _ = writeln!(io::stdout(), "SKIPPED: needs root, and a user `nobody`");
            return;
        };
        let name = format!("udco-doctor-access-{}", std::process::id());
        let directory = real(&std::env::temp_dir()).join(name);
        let make = |name: &str, mode: u32| {
            let path = directory.join(name);
            match name.ends_with('/') {
                true => fs::create_dir_all(&path).unwrap(),
                false => fs::write(&path, "text").unwrap(),
            }
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        make("open/", 0o755);
        make("free/", 0o777);
        make("closed/", 0o755);
        make("closed/file", 0o644);
        make("closed/", 0o700);
        make("open/public", 0o644);
        make("open/private", 0o640);
        fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();
        for (file, need, at) in [
            ("open/public", Need::Read, None),
            ("open/private", Need::Read, Some("open/private")),
            ("closed/file", Need::Read, Some("closed")),
            ("open/missing", Need::Read, None),
            ("open/public", Need::Write, Some("open/public")),
            ("open/missing", Need::Write, Some("open")),
            ("free/missing", Need::Write, None),
            ("missing/missing", Need::Write, None),
        ] {
            let path = directory.join(file);
            let refused = nobody.answers(|| refusing(&path, need)).unwrap();
            assert_eq!(refused, at.map(|at| directory.join(at)), "{file} {need:?}");
        }
        assert!(geteuid().is_root(), "only the thread became another user");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_written_is_found() {
        let files = |_: &Path| {
            let text =
                "status s.log 10\nstatus /run/s.log\nwritepid p\nmanagement /run/m/m unix\nlog l\n";
            Ok(text.as_bytes().to_vec())
        };
        let of = |more: &str| {
            let words = ["--config", "c", more].map(Into::into);
            let reading = udco_options::read(&words, Path::new("/no/such"), files);
            let found = written(&reading).into_iter();
            found
                .map(|it| (it.path.to_string_lossy().into_owned(), it.is_vital))
                .collect::<Vec<_>>()
        };
        let wanted = [
            ("/run/s.log", true),
            ("/no/such/p", true),
            ("/no/such/l", false),
            ("/run/m", true),
        ];
        assert_eq!(
            of("--client"),
            wanted.map(|(path, vital)| (path.to_owned(), vital))
        );
        assert_eq!(of("--chroot"), []);
        let client = of("--management-client");
        assert!(client.iter().all(|(path, _)| path != "/run/m"));
    }
}
