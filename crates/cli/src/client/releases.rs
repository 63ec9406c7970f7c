//! Engines of other releases: one that has said so is not asked again while its socket is the same, since each question is a
//! line in its log.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use udco_ipc::OtherVersion;

/// What tells a socket file from the next one at its path: device, inode, and when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct File(u64, u64, (i64, i64));

/// Engines of other releases, by their paths.
static OTHERS: Mutex<Option<HashMap<PathBuf, (File, OtherVersion)>>> = Mutex::new(None);

impl File {
    /// The file that is there now, or that a link there names.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let found = path.metadata().ok()?;
        let made = (found.ctime(), found.ctime_nsec());
        Some(Self(found.dev(), found.ino(), made))
    }
}

/// The release of the engine behind this file, if it has said that it is another one.
pub(super) fn other(path: &Path, file: Option<File>) -> Option<OtherVersion> {
    let all = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
    let (known, other) = *all.as_ref()?.get(path)?;
    (Some(known) == file).then_some(other)
}

/// Remembers what the engine behind this file has said.
pub(super) fn remember(path: &Path, file: Option<File>, other: OtherVersion) {
    if let Some(file) = file {
        let mut all = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.get_or_insert_default();
        all.insert(path.to_owned(), (file, other));
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use udco_ipc::{MAX_MESSAGE, ToClient, ToEngine, VERSION};
    use udco_sys::seqpacket::Listener;

    use crate::client::Client;

    /// An engine of the next release at this path, which counts the greetings of so many connections.
    fn engine(path: &std::path::Path, connections: usize) -> thread::JoinHandle<usize> {
        let _ = std::fs::remove_file(path);
        let listener = Listener::listen(path, 0o600).unwrap();
        let serve = move |_| {
            let client = loop {
                match listener.accept() {
                    Ok(client) => break client,
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            };
            let mut buffer = vec![0; MAX_MESSAGE];
            let limit = Duration::from_secs(20);
            let len = client.receive_within(&mut buffer, limit).unwrap().len;
            if len == 0 {
                return 0;
            }
            let (seq, _) = ToEngine::decode(&buffer[..len]).unwrap();
            let version = VERSION + 1;
            let welcome = ToClient::Welcome { version };
            let len = welcome.encode(seq, &mut buffer).unwrap();
            client.send(&buffer[..len], &[]).unwrap();
            1
        };
        thread::spawn(move || (0..connections).map(serve).sum())
    }

    #[test]
    fn an_engine_of_another_release_is_greeted_once_and_its_successor_again() {
        let name = format!("udco-releases-{}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        for _ in 0..2 {
            let engine = engine(&path, 3);
            for _ in 0..3 {
                let Err(refused) = Client::connect(&path) else {
                    panic!("served by an engine of another release");
                };
                let text = format!("{refused:#}");
                assert!(text.contains("newer release"), "{text}");
                assert!(text.contains(&*path.to_string_lossy()), "{text}");
            }
            assert_eq!(engine.join().unwrap(), 1);
        }
        let _ = std::fs::remove_file(&path);
    }
}
