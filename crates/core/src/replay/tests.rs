//! The window against a naive oracle that keeps every accepted id in a set.

use std::collections::HashSet;

use super::*;

/// The rule of dco-behaviour 5.7, taken literally.
#[derive(Clone, Default)]
struct Oracle {
    seen: HashSet<u32>,
    highest: u32,
    floor: u32,
    expiry: u64,
    accepted: u32,
}

impl Oracle {
    fn accept(&mut self, id: u32, size: u32, now: Time) -> bool {
        if id == 0 {
            return false;
        }
        if now.as_millis() >= self.expiry {
            self.floor = self.highest;
        }
        let in_window = id > self.highest || (self.highest - id < size && id > self.floor);
        if !in_window || !self.seen.insert(id) {
            return false;
        }
        self.highest = self.highest.max(id);
        self.expiry = now.as_millis() + 30_000;
        self.accepted += 1;
        true
    }

    fn loss(&self) -> Loss {
        loss(self.highest, self.highest - self.accepted)
    }
}

fn loss(expected: u32, lost: u32) -> Loss {
    Loss {
        expected: expected.into(),
        lost: lost.into(),
    }
}

/// Small enough for its ring to wrap around within the ids tried.
type Small = Window<8, 3, 4>;

impl Clone for Small {
    fn clone(&self) -> Self {
        let copy = |from: &AtomicU64| AtomicU64::new(from.load(Ordering::Relaxed));
        Self {
            front: copy(&self.front),
            floor: AtomicU32::new(self.floor.load(Ordering::Relaxed)),
            expiry: copy(&self.expiry),
            ring: self.ring.each_ref().map(copy),
        }
    }
}

/// Walks all sequences of `left` more ids; the oracle is a bit set here, as the ids are small.
fn walk(window: &Small, seen: u32, highest: u32, left: u32, steps: &mut u64) {
    for id in 0..=17u32 {
        let next = window.clone();
        let accepted = next.accept(id, Time::from_millis(1)).is_ok();
        let expected = id != 0 && (id > highest || highest - id < 8) && seen & (1 << id) == 0;
        assert_eq!(accepted, expected, "id {id} after {seen:b}");
        *steps += 1;
        let (seen, highest) = if accepted {
            (seen | 1 << id, highest.max(id))
        } else {
            (seen, highest)
        };
        assert_eq!(next.loss(), loss(highest, highest - seen.count_ones()));
        if left > 1 {
            walk(&next, seen, highest, left - 1, steps);
        }
    }
}

#[test]
fn all_sequences_of_seven_ids_in_a_window_of_eight() {
    let mut steps = 0;
    walk(&Small::new(), 0, 0, 7, &mut steps);
    assert_eq!(steps, (1..=7).map(|length| 18u64.pow(length)).sum::<u64>());
}

/// A small generator: the test needs no crate and is reproducible.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn ten_million_random_steps_in_the_window_of_2048() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let window = ReplayWindow::new();
    let mut oracle = Oracle::default();
    let mut now = 0;
    for step in 0..10_000_000u32 {
        // Mostly near the front; at times far ahead or back, after an idle period, or near the last id.
        let reach = match random.below(1000) {
            0 => 5000,
            1..20 => 2100,
            _ => 64,
        };
        let front = if step == 5_000_000 {
            u32::MAX - 600_000
        } else {
            oracle.highest
        };
        let id = (u64::from(front) + random.below(reach + 8)).saturating_sub(random.below(reach));
        now += if random.below(100_000) == 0 {
            29_000 + random.below(3000)
        } else {
            random.below(3)
        };
        let (id, now) = (
            u32::try_from(id).unwrap_or(u32::MAX),
            Time::from_millis(now),
        );
        let newest = id > oracle.highest;
        let accepted = window.accept(id, now);
        assert_eq!(
            accepted.is_ok(),
            oracle.accept(id, 2048, now),
            "step {step}, id {id}"
        );
        if let Ok(fresh) = accepted {
            assert_eq!(fresh.newest, newest);
        }
        assert_eq!(window.loss(), oracle.loss(), "step {step}, id {id}");
        if step % 100_000 == 0 {
            let front = oracle.highest;
            oracle.seen.retain(|id| front - id < 4096);
        }
    }
}

#[test]
fn a_fresh_slot_accepts_what_comes_late() {
    let window = ReplayWindow::new();
    let now = Time::from_millis(5);
    assert_eq!(window.accept(5, now), Ok(Fresh { newest: true }));
    for id in 1..5 {
        assert_eq!(window.accept(id, now), Ok(Fresh { newest: false }));
        assert_eq!(window.accept(id, now), Err(Stale::Replay));
    }
    assert_eq!(window.accept(0, now), Err(Stale::Replay));
}

#[test]
fn a_gap_is_lost_until_a_late_packet_closes_it() {
    let window = ReplayWindow::new();
    let now = Time::from_millis(5);
    assert_eq!(window.loss(), Loss::NONE);
    for (id, is_accepted, expected) in [
        (2, true, loss(2, 1)),
        (6, true, loss(6, 4)),
        (4, true, loss(6, 3)),
        // Copies, and an id that is never sent.
        (4, false, loss(6, 3)),
        (6, false, loss(6, 3)),
        (0, false, loss(6, 3)),
        // From here on the window reaches back to 5.
        (2052, true, loss(2052, 2048)),
        (3, false, loss(2052, 2048)),
        (5, true, loss(2052, 2047)),
        (u32::MAX, true, loss(u32::MAX, u32::MAX - 6)),
    ] {
        assert_eq!(window.accept(id, now).is_ok(), is_accepted, "id {id}");
        assert_eq!(window.loss(), expected, "id {id}");
    }
}

#[test]
fn the_window_reaches_2047_ids_back() {
    let window = ReplayWindow::new();
    let now = Time::from_millis(0);
    assert!(window.accept(10_000, now).is_ok());
    assert_eq!(window.accept(10_000 - 2048, now), Err(Stale::TooOld));
    assert!(window.accept(10_000 - 2047, now).is_ok());
}

#[test]
fn after_thirty_idle_seconds_only_newer_ids_are_accepted() {
    let window = ReplayWindow::new();
    assert!(window.accept(100, Time::from_millis(0)).is_ok());
    assert!(window.accept(50, Time::from_millis(29_999)).is_ok());
    // Accepting 50 postponed the expiry.
    assert!(window.accept(51, Time::from_millis(59_998)).is_ok());
    assert_eq!(
        window.accept(52, Time::from_millis(89_998)),
        Err(Stale::TooOld)
    );
    assert!(window.accept(101, Time::from_millis(89_998)).is_ok());
    assert_eq!(
        window.accept(99, Time::from_millis(89_999)),
        Err(Stale::TooOld)
    );
}

#[test]
fn an_id_is_accepted_once_by_however_many_threads() {
    for _ in 0..20 {
        let window = ReplayWindow::new();
        let accepted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (1..=20_000)
                            .filter(|id| window.accept(*id, Time::from_millis(0)).is_ok())
                            .count()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        // A slow thread may find ids too old that a faster one has accepted; none is accepted twice.
        assert_eq!(accepted, 20_000);
        assert_eq!(window.loss(), loss(20_000, 0));
    }
}
