//! What each user has in an engine, and how much of it at most: one hostile user costs the others nothing (faults D3).
//!
//! Root and the engine's own user are not counted. All programs of another user share one account.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::getuid;

use crate::sync::lock;

/// Of what there is a bound. docs/threat-model.md has the numbers, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Programs, each with a thread and 64 KiB of buffers.
    Connections,
    /// Channels, each with a socket.
    Channels,
    /// Devices, each with its routes.
    Devices,
    /// Transport sockets, each with up to 224 KiB over TCP.
    Sockets,
    /// Bytes of answers and notifications that a program has not read.
    WaitingBytes,
}

impl Kind {
    const COUNT: usize = 5;

    /// The most of it that a user has.
    const fn bound(self) -> usize {
        match self {
            Self::Connections => 32,
            Self::Channels => 64,
            Self::Devices => 8,
            Self::Sockets => 128,
            Self::WaitingBytes => 4 << 20,
        }
    }
}

/// The most peers of a user.
const PEERS: usize = 4096;

/// The most routes that are mirrored for each of a user's devices: it may make more in a namespace of its own.
const ROUTES: usize = 4096;

/// The most bytes that wait for the programs of root and of the engine's own user.
const OWN_WAITING: usize = 256 << 20;

/// How many lines of the log a user may cause in [`WINDOW`].
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// Accounts that are kept although their users have nothing: the lines of the log that they caused count on.
const KEPT: usize = 1024;

/// The accounts of all users.
#[derive(Default)]
pub(crate) struct Accounts(Mutex<HashMap<u32, Arc<Account>>>);

/// What a user has.
pub(crate) struct Account {
    uid: u32,
    is_bounded: bool,
    used: [AtomicUsize; Kind::COUNT],
    lines: LineBudget,
    showing: Mutex<()>,
}

/// One thing of a user's; given back when dropped.
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
            showing: Mutex::default(),
        });
        all.insert(uid, Arc::clone(&account));
        account
    }
}

/// Root and the engine's own user, who can end the engine anyway.
pub(crate) fn is_privileged(uid: u32) -> bool {
    uid == 0 || uid == getuid().as_raw()
}

impl Account {
    /// One thing more; `None` if the user has as many as it may.
    pub(crate) fn charge(self: &Arc<Self>, kind: Kind) -> Option<Charge> {
        self.add(kind, 1).then(|| Charge {
            account: Arc::clone(self),
            kind,
        })
    }

    /// So much more; `false` if that is too much, and nothing has changed.
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

    /// So much less.
    pub(crate) fn subtract(&self, kind: Kind, amount: usize) {
        self.used[kind as usize].fetch_sub(amount, Ordering::Relaxed);
    }

    /// Whether it is that of a tenant: neither root nor the engine's own user.
    pub(crate) const fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    /// The most peers that all of the user's devices have together.
    pub(crate) const fn most_peers(&self) -> usize {
        if self.is_bounded { PEERS } else { usize::MAX }
    }

    /// The most routes that are mirrored for a device of the user's.
    pub(crate) const fn most_routes(&self) -> usize {
        if self.is_bounded { ROUTES } else { usize::MAX }
    }

    /// Has a line that the user's programs have caused written, unless there were too many.
    pub(crate) fn line(&self, write: impl FnOnce()) {
        if !self.is_bounded {
            return write();
        }
        let uid = self.uid;
        self.lines.write(Instant::now(), write, |left_out| {
            tracing::warn!("{left_out} more lines about programs of user {uid} were suppressed");
        });
    }

    /// Does what takes memory for as long as it takes, for one program of the user at a time.
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

/// So many lines in a while; how many were left out is said in the next while.
#[derive(Debug, Default)]
pub(crate) struct LineBudget(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    begin: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl LineBudget {
    /// Has a line written if there is room for it, after the number of those that were left out.
    pub(crate) fn write(&self, now: Instant, write: impl FnOnce(), tell: impl FnOnce(u64)) {
        let mut window = lock(&self.0);
        let is_over = window
            .begin
            .is_none_or(|begin| now.duration_since(begin) >= WINDOW);
        let mut left_out = 0;
        if is_over {
            left_out = window.left_out;
            *window = Window {
                begin: Some(now),
                ..Window::default()
            };
        }
        if window.written >= LINES {
            window.left_out += 1;
            return;
        }
        window.written += 1;
        drop(window);
        if left_out > 0 {
            tell(left_out);
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
    fn a_user_has_so_much_and_no_more_until_something_is_given_back() {
        let accounts = Accounts::default();
        let account = accounts.of(STRANGER);
        let mut charges: Vec<_> = (0..8)
            .map(|_| account.charge(Kind::Devices).unwrap())
            .collect();
        // By whatever program: it is the same account.
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
    fn lines_beyond_the_budget_are_counted_and_told_once() {
        let (budget, begin) = (LineBudget::default(), Instant::now());
        let (written, told) = (Cell::new(0), Cell::new(0));
        let write = |now| {
            budget.write(
                now,
                || written.set(written.get() + 1),
                |left_out| told.set(told.get() + left_out),
            );
        };
        (0..1000).for_each(|_| write(begin));
        assert_eq!((written.get(), told.get()), (LINES, 0));
        write(begin + WINDOW);
        assert_eq!(
            (written.get(), told.get()),
            (LINES + 1, 1000 - u64::from(LINES))
        );
        write(begin + WINDOW);
        assert_eq!(told.get(), 1000 - u64::from(LINES), "once");
    }
}
