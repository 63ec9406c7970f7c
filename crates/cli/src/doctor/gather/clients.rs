//! `client-config-dir`: its files, and whether OpenVPN may read them once it runs.

use std::fs;
use std::path::{Path, PathBuf};

use udco_options::{Reading, Setting, read};

use super::access::Account;
use crate::doctor::facts::{Clients, FileState, NamedFile};
use crate::openvpn_options;

/// How many files to look at.
const MAX_FILES: usize = 1000;

/// The file of clients that have none of their own.
const DEFAULT: &str = "DEFAULT";

/// The directory, as a file that an option names, and what is in it. Below another root, other names hold.
pub(super) fn look(reading: &Reading, unit: Option<&Account>) -> Option<(NamedFile, Clients)> {
    let settings = &reading.settings;
    let last = |name: &str| settings.iter().rfind(|it| it.name == name);
    let setting = last("client-config-dir").filter(|_| last("chroot").is_none())?;
    let path = reading.directory.join(setting.arguments.first()?);
    let option = setting.to_string();
    let (files, state) = match fs::read_dir(&path) {
        Ok(entries) => {
            let paths = entries.flatten().map(|entry| entry.path());
            // An editor's, say: a common name may begin with a dot, but hardly does.
            let is_hidden = |path: &Path| {
                path.file_name()
                    .is_some_and(|it| it.as_encoded_bytes().starts_with(b"."))
            };
            let files = paths
                .filter(|path| path.is_file() && !is_hidden(path))
                .take(MAX_FILES);
            let mut files: Vec<_> = files.collect();
            files.sort();
            (files, FileState::Good(0))
        }
        Err(error) => (Vec::new(), super::files::state_of(&error)),
    };
    // It becomes this user before the first client comes, and stays in the group that it has, unless it is given one.
    let name = |name: &str| last(name)?.argument(0);
    let becomes = name("user").and_then(|it| Account::of(it, name("group").or(Some("0")), &[]));
    let account = becomes.as_ref().or(unit);
    let clients = Clients {
        option: option.clone(),
        directory: path.clone(),
        denied: account.and_then(|it| denied(it, &path, &files)),
        files: files.iter().map(|file| options(file)).collect(),
    };
    let directory = NamedFile {
        option,
        path,
        is_secret: false,
        state,
        beside: None,
    };
    Some((directory, clients))
}

/// The user, and the file or directory that refuses it.
fn denied(account: &Account, directory: &Path, files: &[PathBuf]) -> Option<(String, PathBuf)> {
    let mut paths = files.to_vec();
    paths.push(directory.join(DEFAULT));
    let at = account.refused_reading(&paths)?;
    Some((account.name.clone(), at))
}

fn options(file: &Path) -> Vec<Setting> {
    let open = |path: &Path| openvpn_options::open(path).map_err(|error| error.to_string());
    read(&[file.into()], Path::new(""), open).settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_a_file_that_must_be_there() {
        let reading = |directory: &str| {
            let text = format!("client-config-dir {directory}\n");
            let open = |_: &Path| Ok(text.clone().into_bytes());
            read(&["c".into()], Path::new("/"), open)
        };
        let state = |directory: &str| look(&reading(directory), None).unwrap().0.state;
        assert_eq!(state("/no/such/directory"), FileState::Missing);
        assert_eq!(
            state("/proc/self/status"),
            FileState::Unreadable("Not a directory".into())
        );
        let directory =
            std::env::temp_dir().join(format!("udco-doctor-ccd-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        for (name, text) in [
            ("b", "disable\n"),
            ("a", "iroute 10.1.0.0 255.255.0.0\npush \"x\"\n"),
        ] {
            fs::write(directory.join(name), text).unwrap();
        }
        let (file, found) = look(&reading(&directory.to_string_lossy()), None).unwrap();
        assert_eq!(file.state, FileState::Good(0));
        let names: Vec<_> = found
            .files
            .iter()
            .flatten()
            .map(|it| it.name.as_str())
            .collect();
        assert_eq!(names, ["iroute", "push", "disable"]);
        fs::remove_dir_all(&directory).unwrap();
        let none = read(&["--client".into()], Path::new("/"), |_| Ok(Vec::new()));
        assert!(look(&none, None).is_none());
    }
}
