//! What reaches a worker of the model: bursts, and questions that wait for their answers.

/// Nanoseconds.
pub(super) const MICROSECOND: u64 = 1_000;
pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;

/// Packets on their way to the worker.
pub(super) struct Traffic {
    /// The bytes of each.
    pub(super) len: u64,
    /// When the next one comes, and how many with it.
    pub(super) next: u64,
    kind: Kind,
    /// When 150 more come, every 100 ms, if they do.
    more: Option<u64>,
}

enum Kind {
    /// Bursts: how many packets each has, and the time from one to the next.
    Bursts(u64, u64),
    /// Questions: how many ask, and how long after an answer each asks again.
    Questions(u64, u64),
}

impl Traffic {
    pub(super) const fn bursts(len: u64, packets: u64, gap: u64) -> Self {
        Self {
            len,
            next: 0,
            kind: Kind::Bursts(packets, gap),
            more: None,
        }
    }

    /// Single packets, and bursts that are fast for a moment.
    pub(super) const fn with_bursts(gap: u64) -> Self {
        Self {
            more: Some(0),
            ..Self::bursts(1_400, 1, gap)
        }
    }

    pub(super) const fn questions(askers: u64, away: u64) -> Self {
        Self {
            len: 100,
            next: 0,
            kind: Kind::Questions(askers, away),
            more: None,
        }
    }

    /// The packets that are there now.
    pub(super) fn take(&mut self, now: u64) -> u64 {
        let mut more = 0;
        if let Some(next) = &mut self.more
            && now >= *next
        {
            more = 150;
            *next += 100 * MILLISECOND;
        }
        more + match self.kind {
            Kind::Bursts(packets, gap) => {
                let bursts = match now.checked_sub(self.next) {
                    Some(late) => late / gap + 1,
                    None => 0,
                };
                self.next += bursts * gap;
                bursts * packets
            }
            Kind::Questions(askers, _) if now >= self.next => askers,
            Kind::Questions(..) => 0,
        }
    }

    pub(super) const fn answered(&mut self, now: u64) {
        if let Kind::Questions(_, away) = self.kind {
            self.next = now + away;
        }
    }
}
