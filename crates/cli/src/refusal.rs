//! Formats refusals for people.

use std::io;

use udco_ipc::NO_MEMORY;
use udco_netlink::Errno;
use udco_netlink::client::{Command, Failure};

/// The errno of a write beyond the limit.
const EFBIG: i32 = 27;

/// A driver's refusal of a request.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct Refusal {
    errno: Errno,
    words: String,
}

impl Refusal {
    /// The refusal of this command.
    pub(crate) fn new(command: &Command<'_>, failure: &Failure) -> Self {
        Self {
            errno: failure.errno,
            words: of(command, failure),
        }
    }

    /// Whether a driver has said that what was asked for is not there.
    pub(crate) fn is_absence(error: &anyhow::Error) -> bool {
        let refusal = error.downcast_ref::<Self>();
        refusal.is_some_and(|it| it.errno == Errno::ENOENT)
    }
}

/// The kernel's message, then the text of the errno: `cannot find peer with id 3 (No such file or directory)`.
pub(crate) fn words(failure: &Failure) -> String {
    let errno = errno_words(failure.errno.0);
    match (&failure.text, failure.missing) {
        (Some(text), _) => {
            let text = text.strip_prefix("ovpn: ").unwrap_or(text);
            format!("{text} ({errno})")
        }
        (None, Some(number)) => format!("attribute {number} is missing ({errno})"),
        (None, None) => errno,
    }
}

/// The same for the refusal of this command: the older API has no words of its own.
fn of(command: &Command<'_>, failure: &Failure) -> String {
    let words = words(failure);
    if failure.errno != Errno::ENOENT || failure.text.is_some() {
        return words;
    }
    let (id, key) = match command {
        Command::PeerSet(peer) => (peer.id, ""),
        Command::PeerGet(id) | Command::PeerDel(id) => (*id, ""),
        Command::KeyNew(key) => (key.peer, ", or its key"),
        Command::KeyGet(id, _) | Command::KeySwap(id) | Command::KeyDel(id, _) => {
            (*id, ", or its key")
        }
        Command::PeerNew(_) | Command::Peers => return words,
    };
    format!("cannot find peer with id {id}{key} ({words})")
}

/// Why an engine refuses a question of its own protocol.
pub(crate) fn of_engine(errno: i32) -> String {
    match Errno(errno) {
        Errno::ENOMEM => NO_MEMORY.to_owned(),
        Errno(EFBIG) => "the engine's limit on the size of files leaves no room for the answer: raise LimitFSIZE= (ulimit -f)"
            .to_owned(),
        _ => errno_words(errno),
    }
}

/// The text of an errno, without its number.
pub(crate) fn errno_words(errno: i32) -> String {
    io_words(&io::Error::from_raw_os_error(errno))
}

/// The text of an error of the system, without its number.
pub(crate) fn io_words(error: &io::Error) -> String {
    let words = error.to_string();
    match words.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_come_first() {
        let failure = |text: Option<&str>, missing| {
            words(&Failure {
                errno: Errno::EEXIST,
                text: text.map(str::to_owned),
                missing,
            })
        };
        assert_eq!(
            failure(
                Some("ovpn: cannot add new peer (id=1) to hashtable: -17"),
                None
            ),
            "cannot add new peer (id=1) to hashtable: -17 (File exists)"
        );
        assert_eq!(
            failure(None, Some(6)),
            "attribute 6 is missing (File exists)"
        );
        assert_eq!(failure(None, None), "File exists");
    }

    #[test]
    fn a_refusal_without_words_names_the_peer() {
        let refused = |command: &Command<'_>, text: Option<&str>| {
            let failure = Failure {
                errno: Errno::ENOENT,
                text: text.map(str::to_owned),
                missing: None,
            };
            of(command, &failure)
        };
        let none = "No such file or directory";
        assert_eq!(
            refused(&Command::PeerGet(9), None),
            format!("cannot find peer with id 9 ({none})")
        );
        assert_eq!(
            refused(&Command::KeySwap(9), None),
            format!("cannot find peer with id 9, or its key ({none})")
        );
        let own = refused(&Command::PeerGet(9), Some("ovpn: cannot find peer"));
        assert_eq!(own, format!("cannot find peer ({none})"));
    }
}
