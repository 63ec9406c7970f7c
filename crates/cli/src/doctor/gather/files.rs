//! The files that options name.

use std::io::{Error, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use udco_options::{INLINE, Origin, Reading, Setting};

use super::certificate::validities;
use crate::doctor::facts::{Certificate, FileState, NamedFile};
use crate::regular;

/// The largest file to look for certificates in.
const MAX_CERTIFICATES: u64 = 4 << 20;

/// Options whose first argument is a file, and whether it is a secret.
const NAMING: [(&str, bool); 13] = [
    ("ca", false),
    ("cert", false),
    ("extra-certs", false),
    ("dh", false),
    ("key", true),
    ("pkcs12", true),
    ("secret", true),
    ("tls-auth", true),
    ("tls-crypt", true),
    ("tls-crypt-v2", true),
    ("auth-user-pass", true),
    ("askpass", true),
    ("crl-verify", false),
];

/// The files, and the certificates in them and in the configuration.
pub(super) fn look(reading: &Reading, start: &Path) -> (Vec<NamedFile>, Vec<Certificate>) {
    let mut files = Vec::new();
    let mut certificates: Vec<Certificate> = reading
        .certificates
        .iter()
        .flat_map(|inline| {
            let option = format!("{} ({})", inline.name, inline.origin);
            of_text(&option, &inline.text)
        })
        .collect();
    for (setting, is_secret) in named(&reading.settings) {
        let Some(argument) = setting.arguments.first() else {
            continue;
        };
        let path = reading.directory.join(argument);
        let option = setting.to_string();
        let state = state(&path);
        if matches!(state, FileState::Good(_))
            && matches!(setting.name.as_str(), "ca" | "cert" | "extra-certs")
        {
            certificates.extend(of_text(&option, &contents(&path)));
        }
        files.push(NamedFile {
            beside: (state == FileState::Missing)
                .then(|| beside(setting, start, Path::new(argument)))
                .flatten(),
            option,
            path,
            is_secret,
            state,
        });
    }
    (files, certificates)
}

/// Each option in effect that names a file.
fn named(settings: &[Setting]) -> Vec<(&Setting, bool)> {
    let has_chroot = settings.iter().any(|it| it.name == "chroot");
    let mut found = Vec::new();
    for (name, is_secret) in NAMING {
        // OpenVPN reads this list again and again, below the new root.
        if name == "crl-verify" && has_chroot {
            continue;
        }
        let Some(setting) = settings.iter().rfind(|it| it.name == name) else {
            continue;
        };
        let is_file = |word: &&str| !matches!(*word, INLINE | "none" | "stdin");
        let is_directory = setting.argument(1) == Some("dir");
        if setting.argument(0).as_ref().is_some_and(is_file) && !is_directory {
            found.push((setting, is_secret));
        }
    }
    found
}

fn state(path: &Path) -> FileState {
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) => return state_of(&error),
    };
    // A pipe would lose what is read from it, and its mode says nothing.
    if !found.is_file() {
        let is_read = !found.is_dir();
        return match is_read {
            true => FileState::Good(0o600),
            false => FileState::Unreadable("it is a directory".to_owned()),
        };
    }
    match regular::open(path) {
        Err(error) => state_of(&error),
        Ok(_) if found.len() == 0 => FileState::Empty,
        Ok(_) => FileState::Good(found.mode() & 0o7777),
    }
}

/// What a failure says.
pub(super) fn state_of(error: &Error) -> FileState {
    match error.kind() {
        ErrorKind::NotFound => FileState::Missing,
        ErrorKind::PermissionDenied => FileState::Denied,
        _ => FileState::Unreadable(crate::refusal::io_words(error)),
    }
}

/// A file of this name in the directory of the configuration that names it.
fn beside(setting: &Setting, start: &Path, name: &Path) -> Option<PathBuf> {
    let Origin::File(config, _) = &setting.origin else {
        return None;
    };
    let path = start.join(config).parent()?.join(name);
    path.is_file().then(|| path.canonicalize().ok()).flatten()
}

fn contents(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = regular::open(path) {
        let _ = file.take(MAX_CERTIFICATES).read_to_end(&mut bytes);
    }
    bytes
}

fn of_text(option: &str, text: &[u8]) -> Vec<Certificate> {
    let found = validities(text).into_iter();
    found
        .map(|(not_before, not_after)| Certificate {
            option: option.to_owned(),
            not_before,
            not_after,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_not_opened() {
        let name = format!("udco-doctor-pipe-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        regular::make_fifo(&path);
        assert_eq!(state(&path), FileState::Good(0o600));
        assert_eq!(contents(&path), b"");
        std::fs::remove_file(&path).unwrap();
    }
}
