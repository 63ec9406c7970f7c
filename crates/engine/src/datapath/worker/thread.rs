//! The thread of a worker: it reads the clock, waits, and sleeps.

use std::io;
use std::time::Duration;

use udco_sys::{clock, epoll};

use super::running::Running;
use crate::datapath::coalesce::{self, Gather};
use crate::device::registration::SECOND;
use crate::io::Moment;
use crate::linux::{Linux, now};

/// How many times a worker polls before it sleeps. 2 made a TCP stream up to 8 % faster for the same processor time per
/// GiB; 16 gained nothing more and took a little more processor time.
const POLLS: usize = 2;

/// Events of one wait.
const EVENTS: usize = 64;

impl Running<Linux> {
    pub(super) fn run(&mut self) {
        coalesce::prepare();
        let mut events = epoll::Events::with_capacity(EVENTS);
        let mut time = now();
        loop {
            let timeout = self.timeout(time);
            let waited = self.wait(&mut events, time, timeout);
            time = now();
            match waited {
                // A wait without a timeout ends with an event, with a signal, or after a pause with nothing left.
                Ok(0) => {
                    self.retry(time);
                    time = now();
                }
                Ok(_) => {}
                Err(error) => {
                    if self.go_without_waiting(&error) {
                        return;
                    }
                    time = now();
                }
            }
            self.wake_rested(time);
            for event in events.iter() {
                if self.handle(event, time) {
                    return;
                }
                time = now();
            }
            self.take_stock(time);
        }
    }

    /// Waits for events, at most for the time given, and returns how many there are. All were handled at this `time`.
    ///
    /// Packets arrive in bursts, and a turn for each is dear: some accumulate before it sleeps, or once it is awake (see
    /// [`crate::datapath::coalesce`]).
    fn wait(
        &mut self,
        events: &mut epoll::Events,
        time: Moment,
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let moved = self.transmitter.moved().plus(self.receiver.moved());
        let spent = clock::spent_by_this_thread;
        let gather = self.coalescing.gather(time.as_nanos(), moved, spent);
        let mut since = time;
        if gather == Gather::Yield {
            for _ in 0..POLLS {
                let ready = self.shared.set.poller.wait(events, Some(Duration::ZERO))?;
                if ready > 0 {
                    return Ok(ready);
                }
                rustix::thread::sched_yield();
                let began = since;
                since = now();
                if !self.coalescing.yielded(began.as_nanos(), since.as_nanos()) {
                    break;
                }
            }
        }
        let mut ready = self.shared.set.poller.wait(events, timeout)?;
        let mut slept = now().since(since);
        if let Some(delay) = gather.delay(slept)
            && may_wait(events)
        {
            std::thread::sleep(delay);
            // Once more, since other sources may have packets by now, too.
            ready = self.shared.set.poller.wait(events, Some(Duration::ZERO))?;
            // To pause is to sleep, for the choice of a worker: this one could do more.
            slept = now().since(since);
        }
        self.load
            .slept(u64::try_from(slept.as_nanos()).unwrap_or(u64::MAX));
        Ok(ready)
    }

    /// Waiting has failed: after a pause, tries everything as if it were ready. Returns whether to stop.
    fn go_without_waiting(&mut self, error: &io::Error) -> bool {
        let pause = self.waits.failed(now());
        if let Some(times) = pause.line {
            tracing::error!("waiting for packets failed: {error}{times}; retrying");
        }
        std::thread::sleep(pause.length);
        let now = now();
        if self.obey(now) {
            return true;
        }
        self.try_all(now);
        false
    }
}

/// Whether these events may be left alone for a while, and asked for again. Not those of a full list, which the kernel would
/// follow up with others, nor hand-offs: another worker has gathered them, and their rings are short.
fn may_wait(events: &epoll::Events) -> bool {
    let mut events = events.iter();
    (1..EVENTS).contains(&events.len()) && !events.any(|event| event.token & SECOND != 0)
}
