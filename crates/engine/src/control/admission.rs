//! The connections that an engine serves at a time, each on a thread of its own.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use udco_sys::seqpacket::{Connection, Credentials};

use crate::Engine;
use crate::control::account::{Kind, is_privileged};

/// The most connections at a time (promises G6): one for each program, none for its peers. Those of root and of the engine's
/// own user have places of their own, which nobody else takes (faults D3).
const MAX_OF_USERS: usize = 96;
const MAX_PRIVILEGED: usize = 64;

/// Held by each session of a program that a dispenser has handed a connection: when the last one is dropped, none of
/// them is left.
pub(crate) type Lease = Sender<Infallible>;

/// How many there are.
#[derive(Default)]
pub(crate) struct Sessions {
    privileged: Arc<AtomicUsize>,
    of_users: Arc<AtomicUsize>,
}

/// A connection's place among those there are; given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Engine {
    /// Serves a connection on a thread of its own, if there is room for one more.
    pub(crate) fn admit(
        self: &Arc<Self>,
        connection: Connection,
        caller: &Credentials,
        lease: Option<Lease>,
    ) {
        let (pid, uid) = (caller.pid, caller.uid);
        let account = self.accounts().of(uid);
        let (places, most) = match is_privileged(uid) {
            true => (&self.sessions().privileged, MAX_PRIVILEGED),
            false => (&self.sessions().of_users, MAX_OF_USERS),
        };
        let place = Place::take(places, most);
        let (Some(place), Some(charge)) = (place, account.charge(Kind::Connections)) else {
            account.line(|| {
                tracing::warn!(
                    "process {pid} is refused: user {uid} has as many programs connected as there is room for"
                );
            });
            return;
        };
        let engine = Arc::clone(self);
        let serve = move || {
            let _held = (place, charge);
            if let Err(error) = engine.serve_caller(connection, lease) {
                account.line(|| tracing::warn!("process {pid}: {error}"));
            }
        };
        let started = std::thread::Builder::new()
            .name("udco-connection".into())
            .spawn(serve);
        if let Err(error) = started {
            tracing::error!("cannot serve process {pid}: {error}");
        }
    }
}

impl Place {
    fn take(places: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let place = Self(Arc::clone(places));
        (places.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
