//! A model of a worker, and of what reaches it: how it gathers packets, and what that costs beside yields always.

mod traffic;

use std::time::Duration;

use self::traffic::{MICROSECOND, MILLISECOND, SECOND, Traffic};
use super::{Coalescing, Gather, INTERVAL, Moved, PAUSE};

/// What the worker's steps cost, in nanoseconds of its processor time.
#[derive(Clone, Copy)]
struct Machine {
    look: u64,
    wake_up: u64,
    timer: u64,
    turn: u64,
    packet: u64,
}

const MACHINE: Machine = Machine {
    look: 400,
    wake_up: 6_000,
    timer: 5_000,
    turn: 3_000,
    packet: 1_500,
};

/// What a worker has done.
#[derive(Debug, Default)]
struct Outcome {
    packets: u64,
    spent: u64,
    /// How often it gathered in each way; to throttle is to pause.
    yields: u64,
    pauses: u64,
    sleeps: u64,
    waited: u64,
}

impl Outcome {
    fn cost(&self) -> f64 {
        self.spent as f64 / self.packets as f64
    }

    const fn times(&self) -> u64 {
        self.yields + self.pauses + self.sleeps
    }
}

/// Runs a worker for this many seconds; `choose` says how it gathers.
fn run(
    machine: Machine,
    mut traffic: Traffic,
    seconds: u64,
    mut choose: impl FnMut(u64, Moved, u64) -> Gather,
) -> Outcome {
    let (mut outcome, mut now, mut moved) = (Outcome::default(), 0, Moved::default());
    while now < seconds * SECOND {
        let due = traffic.next;
        let ready = traffic.take(now);
        if ready > 0 {
            let work = machine.turn + ready * machine.packet;
            outcome.spent += work;
            outcome.waited = outcome.waited.max(now.saturating_sub(due));
            now += work;
            outcome.packets += ready;
            moved.packets += ready;
            moved.bytes += ready * traffic.len;
            traffic.answered(now);
        }
        let gather = choose(now, moved, outcome.spent);
        match gather {
            Gather::Yield => outcome.yields += 1,
            Gather::Delay | Gather::Throttle => outcome.pauses += 1,
            Gather::Nothing => outcome.sleeps += 1,
        }
        let looks = if gather == Gather::Yield { 4 } else { 0 };
        now += looks * machine.look;
        outcome.spent += looks * machine.look;
        let since = now;
        if now < traffic.next {
            now = traffic.next + machine.wake_up / 2;
            outcome.spent += machine.wake_up;
        }
        if let Some(delay) = gather.delay(Duration::from_nanos(now - since)) {
            now += delay.as_nanos() as u64 + machine.timer;
            outcome.spent += machine.timer + machine.look;
        }
    }
    outcome
}

/// A worker that goes on from one kind of traffic to the next: returns what it did during each.
fn phases() -> impl FnMut(Traffic, u64) -> Outcome {
    let mut coalescing = Coalescing::from(0);
    let mut total = (Moved::default(), 0, 0);
    move |traffic, seconds| {
        let (moved, spent, began) = total;
        run(MACHINE, traffic, seconds, |now, own, used| {
            total = (moved.plus(own), spent + used, began + now);
            coalescing.gather(total.2, total.0, || total.1)
        })
    }
}

/// With this choice, and with yields always.
fn both(machine: Machine, traffic: fn() -> Traffic) -> [Outcome; 2] {
    let mut coalescing = Coalescing::from(0);
    let chosen = run(machine, traffic(), 20, |now, moved, spent| {
        coalescing.gather(now, moved, || spent)
    });
    [chosen, run(machine, traffic(), 20, |_, _, _| Gather::Yield)]
}

#[test]
fn single_packets_that_follow_each_other_fast_are_gathered() {
    // 300 Mbit/s, evenly spread.
    let [chosen, yields] = both(MACHINE, || Traffic::bursts(1_400, 1, 36 * MICROSECOND));
    assert!(chosen.pauses * 10 > chosen.times() * 9, "{chosen:?}");
    assert!(
        chosen.cost() < 0.75 * yields.cost(),
        "{chosen:?} {yields:?}"
    );
    let most = INTERVAL.as_nanos() as u64 + MACHINE.wake_up + MACHINE.timer;
    assert!(chosen.waited <= most, "{chosen:?}");
}

#[test]
fn single_packets_keep_a_worker_busy_without_gathering() {
    // TCP at full rate from a peer that sends datagrams one by one.
    let [chosen, yields] = both(MACHINE, || Traffic::bursts(1_400, 1, 16 * MICROSECOND));
    let busy = yields.spent as f64 / (20 * SECOND) as f64;
    assert!(busy > 0.5, "{busy} {yields:?}");
    assert!(chosen.pauses * 10 > chosen.times() * 8, "{chosen:?}");
    assert!(chosen.cost() < 0.6 * yields.cost(), "{chosen:?} {yields:?}");
}

#[test]
fn where_a_timer_is_dear_nothing_pauses() {
    let machine = Machine {
        timer: 60_000,
        ..MACHINE
    };
    let [chosen, yields] = both(machine, || Traffic::bursts(1_400, 1, 36 * MICROSECOND));
    assert!(chosen.pauses * 20 < chosen.times(), "{chosen:?}");
    assert!(
        chosen.cost() < 1.02 * yields.cost(),
        "{chosen:?} {yields:?}"
    );
}

/// The host takes the processor away now and then, and the thread's clock goes on.
#[test]
fn spans_that_cost_more_by_chance_do_not_decide() {
    let (mut coalescing, mut stolen, mut at) = (Coalescing::from(0), 0, 0);
    let chosen = run(
        MACHINE,
        Traffic::bursts(1_400, 1, 36 * MICROSECOND),
        20,
        |now, moved, spent| {
            // 12 of 110 ms: a span of five or so, each time another.
            if now >= at {
                at = now + 110 * MILLISECOND;
                stolen += 12 * MILLISECOND;
            }
            coalescing.gather(now, moved, || spent + stolen)
        },
    );
    assert!(chosen.pauses * 10 > chosen.times() * 7, "{chosen:?}");
}

#[test]
fn questions_that_wait_for_answers_are_not_delayed() {
    for askers in [
        || Traffic::questions(1, 30 * MICROSECOND),
        // With pauses, too few come for a trial.
        || Traffic::questions(1, 120 * MICROSECOND),
        || Traffic::questions(1, 180 * MICROSECOND),
        || Traffic::questions(1, 220 * MICROSECOND),
        || Traffic::questions(16, 200 * MICROSECOND),
        // More than 100,000 a second.
        || Traffic::questions(64, 200 * MICROSECOND),
    ] {
        let [chosen, yields] = both(MACHINE, askers);
        assert!(chosen.pauses * 25 < chosen.times(), "{chosen:?}");
        let rate = chosen.packets as f64 / yields.packets as f64;
        assert!(rate > 0.985, "{rate} {chosen:?} {yields:?}");
    }
}

#[test]
fn bursts_of_a_sender_that_paces_itself_cost_no_more() {
    // 100 and 300 Mbit/s, and voice.
    for traffic in [
        || Traffic::bursts(1_400, 9, MILLISECOND),
        || Traffic::bursts(1_400, 27, MILLISECOND),
        || Traffic::bursts(200, 12, MILLISECOND),
    ] {
        let [chosen, yields] = both(MACHINE, traffic);
        assert!(
            chosen.cost() < 1.02 * yields.cost(),
            "{chosen:?} {yields:?}"
        );
    }
}

#[test]
fn what_comes_slowly_or_in_runs_is_left_alone() {
    for traffic in [
        // ping, and a game's updates.
        || Traffic::bursts(100, 1, 10 * MILLISECOND),
        || Traffic::bursts(100, 1, MILLISECOND / 2),
        // Super-packets of a stream.
        || Traffic::bursts(60_000, 1, 80 * MICROSECOND),
    ] {
        let [chosen, _] = both(MACHINE, traffic);
        assert_eq!((chosen.pauses, chosen.sleeps), (0, 0), "{chosen:?}");
    }
}

#[test]
fn a_flood_is_gathered_from_its_first_milliseconds_on() {
    let flood = || Traffic::bursts(100, 1, 4 * MICROSECOND);
    let [chosen, _] = both(MACHINE, flood);
    let throttled = run(MACHINE, flood(), 20, |_, _, _| Gather::Throttle);
    assert!(
        chosen.cost() < 1.06 * throttled.cost(),
        "{chosen:?} {throttled:?}"
    );
    let mut coalescing = Coalescing::from(0);
    run(MACHINE, flood(), 1, |now, moved, spent| {
        let gather = coalescing.gather(now, moved, || spent);
        let is_at_its_begin = (2 * MILLISECOND..20 * MILLISECOND).contains(&now);
        assert!(!is_at_its_begin || gather == Gather::Throttle);
        gather
    });
}

#[test]
fn traffic_that_changes_is_judged_anew() {
    let mut phase = phases();
    let stream = phase(Traffic::bursts(1_400, 1, 36 * MICROSECOND), 5);
    assert!(stream.pauses * 10 > stream.times() * 8, "{stream:?}");
    // One question at a time: a pause gathers nothing, so the worker leaves them at once.
    let questions = phase(Traffic::questions(1, 60 * MICROSECOND), 5);
    assert!(questions.pauses * 15 < questions.times(), "{questions:?}");
    let slow = phase(Traffic::bursts(100, 1, 10 * MILLISECOND), 5);
    assert!(slow.pauses < 10 && slow.sleeps < 10, "{slow:?}");
}

#[test]
fn a_lull_in_a_trial_says_nothing() {
    for spans in 1..14 {
        let mut coalescing = Coalescing::from(0);
        let (mut now, mut moved) = (0, Moved::default());
        let mut turn = |packets, after| {
            now += after;
            moved.packets += packets;
            moved.bytes += packets * 1_400;
            // A twentieth of the time.
            coalescing.gather(now, moved, || now / 20)
        };
        for _ in 0..20 * spans + 5 {
            turn(5, MILLISECOND);
        }
        turn(5, SECOND);
        turn(300, MILLISECOND);
        assert_eq!(turn(1, MILLISECOND / 10), Gather::Throttle, "{spans}");
    }
}

/// Every 100 ms a burst is fast for a moment.
#[test]
fn bursts_do_not_keep_a_worker_in_trials() {
    let gap = 36 * MICROSECOND;
    let gathered = |timer, choose: &mut dyn FnMut(u64, Moved, u64) -> Gather| {
        let machine = Machine { timer, ..MACHINE };
        run(machine, Traffic::with_bursts(gap), 20, choose)
    };
    for (timer, most) in [(60_000, 1.02), (5_000, 0.75)] {
        let mut coalescing = Coalescing::from(0);
        let chosen = gathered(timer, &mut |now, moved, spent| {
            coalescing.gather(now, moved, || spent)
        });
        let yields = gathered(timer, &mut |_, _, _| Gather::Yield);
        let cost = chosen.cost() / yields.cost();
        assert!(cost < most, "{cost} {chosen:?} {yields:?}");
    }
}

#[test]
fn super_packets_end_a_choice_of_pauses() {
    let mut phase = phases();
    let singles = phase(Traffic::bursts(1_400, 1, 36 * MICROSECOND), 31);
    assert!(singles.pauses * 10 > singles.times() * 9, "{singles:?}");
    let stream = phase(Traffic::bursts(60_000, 1, 33 * MICROSECOND), 1);
    let two_spans = 40 * MILLISECOND / PAUSE.as_nanos() as u64;
    assert!(stream.pauses < two_spans, "{stream:?}");
}
