//! Whether a shared engine answers, and serves the unit's user. The engine says so itself, to a thread that becomes this
//! user.

use std::path::Path;

use rustix::process::geteuid;

use super::access::Account;
use super::packaged;
use crate::client::{Client, Trouble};
use crate::doctor::facts::{DAEMON_SOCKET, EngineTrouble, SharedEngine, Stranger};
use crate::preloading::Identity;

pub(super) fn look(socket: &Path, who: Identity, account: Option<&Account>) -> SharedEngine {
    let found = |trouble| SharedEngine {
        socket: socket.to_owned(),
        trouble,
    };
    let denied = |account: &Account, at: &Path| {
        found(Some(EngineTrouble::Denied(Stranger {
            user: account.name.clone(),
            is_dynamic: account.is_dynamic,
            admission: account.admission(),
            at: at.to_owned(),
            daemon_options: (socket == Path::new(DAEMON_SOCKET))
                .then(packaged::daemon_options)
                .flatten(),
        })))
    };
    // Before it connects: a daemon logs whom it refuses.
    if let Some((account, at)) = account.and_then(|it| Some((it, it.refused_writing(socket)?))) {
        return denied(account, &at);
    }
    let Err(error) = Client::connect(socket) else {
        let as_user = account.and_then(|it| it.answers(|| Client::connect(socket).is_ok()));
        return match account.filter(|_| as_user == Some(false)) {
            Some(account) => denied(account, socket),
            None => found(None),
        };
    };
    // That another user may not use it says nothing about the unit's.
    let is_other = geteuid().as_raw() != who.uid;
    let is_unknown = is_other && error.downcast_ref() == Some(&Trouble::Denied);
    let words = format!("{error:#}");
    let trouble = match error.downcast_ref() {
        Some(Trouble::Silent | Trouble::Full) => EngineTrouble::Stalled(words),
        _ => EngineTrouble::Silent(words),
    };
    found((!is_unknown).then_some(trouble))
}
