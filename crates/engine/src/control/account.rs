//! Resource accounting per user, with limits: one hostile user must not degrade service for the others (faults D3).
//!
//! Root and the engine's own user are not counted. All clients of any other user share one account.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::getuid;

use crate::sync::lock;

/// What is limited. docs/threat-model.md lists the numbers, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Client connections, each with a thread and 64 KiB of buffers.
    Connections,
    /// Channels, each with a socket.
    Channels,
    /// Devices, each with its routes.
    Devices,
    /// Transport sockets, each with up to 224 KiB over TCP.
    Sockets,
    /// Bytes of answers and notifications that a client has not read yet.
    WaitingBytes,
    /// Captures, each with up to 5 MiB of buffers.
    Captures,
}

impl Kind {
    const COUNT: usize = 6;

    /// The most that one user may have.
    const fn bound(self) -> usize {
        match self {
            Self::Connections => 32,
            Self::Channels => 64,
            Self::Devices => 8,
            Self::Sockets => 128,
            Self::WaitingBytes => 4 << 20,
            Self::Captures => 2,
        }
    }
}

/// The most peers that one user may have.
const PEERS: usize = 4096;

/// The most routes mirrored for each of a user's devices: in a namespace of its own, the user may create more.
const ROUTES: usize = 4096;

/// The most bytes queued for the clients of root and of the engine's own user.
const OWN_WAITING: usize = 256 << 20;

/// How many log lines a user may cause per [`WINDOW`].
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// How many lines in [`LONG_WINDOW`] are about one thing that is refused: a `udco top` or a collector of metrics asks again
/// and again.
const REPEATED: u32 = 1;
const LONG_WINDOW: Duration = Duration::from_secs(60);

/// How many such things are told apart.
const THINGS: usize = 16;

/// Idle accounts kept in the table, because the log lines that their users caused still count.
const KEPT: usize = 1024;

/// The accounts of all users.
#[derive(Default)]
pub(crate) struct Accounts(Mutex<HashMap<u32, Arc<Account>>>);

/// What one user has.
pub(crate) struct Account {
    uid: u32,
    is_bounded: bool,
    used: [AtomicUsize; Kind::COUNT],
    lines: LineBudget,
    repeated: Mutex<HashMap<String, Arc<LineBudget>>>,
    showing: Mutex<()>,
}

/// One charged item; credited back when dropped.
pub(crate) struct Charge {
    account: Arc<Account>,
    kind: Kind,
}

impl Accounts {
    /// The account of a user.
    pub(crate) fn of(&self, uid: u32) -> Arc<Account> {
        let mut all = lock(&self.0);
        if let Some(account) = all.get(&uid) {
            return Arc::clone(account);
        }
        if all.len() >= KEPT {
            all.retain(|_, account| Arc::strong_count(account) > 1);
        }
        let account = Arc::new(Account {
            uid,
            is_bounded: !is_privileged(uid),
            used: Default::default(),
            lines: LineBudget::default(),
            repeated: Mutex::default(),
            showing: Mutex::default(),
        });
        all.insert(uid, Arc::clone(&account));
        account
    }
}

/// Root and the engine's own user: either can stop the engine anyway.
pub(crate) fn is_privileged(uid: u32) -> bool {
    uid == 0 || uid == getuid().as_raw()
}

impl Account {
    /// Charges one item; `None` if the user is at its limit.
    pub(crate) fn charge(self: &Arc<Self>, kind: Kind) -> Option<Charge> {
        self.add(kind, 1).then(|| Charge {
            account: Arc::clone(self),
            kind,
        })
    }

    /// Charges `amount`; returns `false`, and changes nothing, if that exceeds the limit.
    pub(crate) fn add(&self, kind: Kind, amount: usize) -> bool {
        let bound = match kind {
            _ if self.is_bounded => kind.bound(),
            Kind::WaitingBytes => OWN_WAITING,
            _ => usize::MAX,
        };
        let used = &self.used[kind as usize];
        let add = |used: usize| used.checked_add(amount).filter(|sum| *sum <= bound);
        let relaxed = Ordering::Relaxed;
        used.fetch_update(relaxed, relaxed, add).is_ok()
    }

    /// Credits `amount`.
    pub(crate) fn subtract(&self, kind: Kind, amount: usize) {
        self.used[kind as usize].fetch_sub(amount, Ordering::Relaxed);
    }

    /// Whether this is a tenant's account: neither root's nor the engine's own user's.
    pub(crate) const fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    /// The most peers on all of the user's devices together.
    pub(crate) const fn most_peers(&self) -> usize {
        if self.is_bounded { PEERS } else { usize::MAX }
    }

    /// The most routes mirrored for one of the user's devices.
    pub(crate) const fn most_routes(&self) -> usize {
        if self.is_bounded { ROUTES } else { usize::MAX }
    }

    /// Writes a log line that the user's clients caused, unless they have caused too many.
    pub(crate) fn line(&self, write: impl FnOnce()) {
        if !self.is_bounded {
            return write();
        }
        let uid = self.uid;
        self.lines.write(Instant::now(), write, |left_out| {
            tracing::warn!(
                uid,
                "{left_out} more lines about clients of user {uid} were suppressed"
            );
        });
    }

    /// Writes a line `about` clients that are refused and ask again, unless there was one not long ago.
    pub(crate) fn repeated_line(&self, about: &str, now: Instant, write: impl FnOnce()) {
        let budget = {
            let mut all = lock(&self.repeated);
            let about = match all.len() < THINGS || all.contains_key(about) {
                true => about,
                false => "",
            };
            let new = || Arc::new(LineBudget::new(REPEATED, LONG_WINDOW));
            Arc::clone(all.entry(about.to_owned()).or_insert_with(new))
        };
        budget.write(
            now,
            || self.line(write),
            |left_out| {
                self.line(|| tracing::warn!("{left_out} more lines about {about} were left out"));
            },
        );
    }

    /// Runs memory-hungry `work` for one client of this user at a time.
    pub(crate) fn one_at_a_time<R>(&self, work: impl FnOnce() -> R) -> R {
        let _turn = self.is_bounded.then(|| lock(&self.showing));
        work()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.subtract(self.kind, 1);
    }
}

/// A limited number of lines per window; the next window reports how many were suppressed.
#[derive(Debug)]
pub(crate) struct LineBudget {
    most: u32,
    length: Duration,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    begin: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Default for LineBudget {
    fn default() -> Self {
        Self::new(LINES, WINDOW)
    }
}

impl LineBudget {
    /// So many lines in a window of this length.
    fn new(most: u32, length: Duration) -> Self {
        Self {
            most,
            length,
            window: Mutex::default(),
        }
    }

    /// Writes a line if the budget allows it, after reporting how many were suppressed.
    pub(crate) fn write(&self, now: Instant, write: impl FnOnce(), report: impl FnOnce(u64)) {
        let mut window = lock(&self.window);
        let is_over = window
            .begin
            .is_none_or(|begin| now.duration_since(begin) >= self.length);
        let mut left_out = 0;
        if is_over {
            left_out = window.left_out;
            *window = Window {
                begin: Some(now),
                ..Window::default()
            };
        }
        if window.written >= self.most {
            window.left_out += 1;
            return;
        }
        window.written += 1;
        drop(window);
        if left_out > 0 {
            report(left_out);
        }
        write();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Neither root nor the user of this process.
    const STRANGER: u32 = 4_000_000_001;

    #[test]
    fn a_user_is_limited_until_it_gives_something_back() {
        let accounts = Accounts::default();
        let account = accounts.of(STRANGER);
        let mut charges: Vec<_> = (0..8)
            .map(|_| account.charge(Kind::Devices).unwrap())
            .collect();
        // Whichever client asks, it is the same account.
        assert!(accounts.of(STRANGER).charge(Kind::Devices).is_none());
        assert!(accounts.of(STRANGER + 1).charge(Kind::Devices).is_some());
        charges.pop();
        assert!(account.charge(Kind::Devices).is_some());
        assert!(account.add(Kind::WaitingBytes, 4 << 20));
        assert!(!account.add(Kind::WaitingBytes, 1));
        assert!(!account.add(Kind::WaitingBytes, usize::MAX));
        account.subtract(Kind::WaitingBytes, 1);
        assert!(account.add(Kind::WaitingBytes, 1));
    }

    #[test]
    fn root_and_the_engines_own_user_are_not_counted() {
        for uid in [0, getuid().as_raw()] {
            let account = Accounts::default().of(uid);
            let charges: Vec<_> = (0..1000).map(|_| account.charge(Kind::Devices)).collect();
            assert!(charges.iter().all(Option::is_some));
            assert_eq!(account.most_peers(), usize::MAX);
        }
    }

    #[test]
    fn what_asks_each_second_and_is_refused_has_a_line_a_minute() {
        for uid in [0, STRANGER] {
            let account = Accounts::default().of(uid);
            let begin = Instant::now();
            let written = Cell::new(0);
            for second in 0..150 {
                let now = begin + Duration::from_secs(second);
                account.repeated_line("udco", now, || written.set(written.get() + 1));
            }
            assert_eq!(written.get(), 3);
            // Something else is news.
            account.repeated_line("openvpn", begin, || written.set(written.get() + 1));
            assert_eq!(written.get(), 4);
        }
    }

    #[test]
    fn lines_beyond_the_budget_are_counted_and_reported_once() {
        let (budget, begin) = (LineBudget::default(), Instant::now());
        let (written, reported) = (Cell::new(0), Cell::new(0));
        let write = |now| {
            budget.write(
                now,
                || written.set(written.get() + 1),
                |left_out| reported.set(reported.get() + left_out),
            );
        };
        (0..1000).for_each(|_| write(begin));
        assert_eq!((written.get(), reported.get()), (LINES, 0));
        write(begin + WINDOW);
        assert_eq!(
            (written.get(), reported.get()),
            (LINES + 1, 1000 - u64::from(LINES))
        );
        write(begin + WINDOW);
        assert_eq!(reported.get(), 1000 - u64::from(LINES), "once");
    }
}
