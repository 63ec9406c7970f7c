//! What the user has chosen. Pure.

use super::model::{Model, PeerRow};
use super::order::{self, Order};
use crate::rates::Whose;

/// The longest filter.
const FILTER: usize = 64;

/// The choices.
#[derive(Debug, Default)]
pub(super) struct Controls {
    pub(super) page: Page,
    pub(super) order: Order,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    /// Only this device.
    pub(super) device: Option<Whose>,
    /// The peer that the cursor is on. It stays on it wherever it goes in the list.
    pub(super) chosen: Option<Whose>,
    /// Which of those that have had its id.
    turn: u64,
    /// The row of the cursor, in case that peer goes.
    row: usize,
    /// The first row on the screen, and how many fit.
    offset: usize,
    room: usize,
}

/// What is on the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Page {
    #[default]
    Peers,
    /// The same, while the filter is typed.
    Filter,
    /// One peer.
    Details,
}

/// A move of the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

impl Controls {
    /// The peers to be listed.
    pub(super) fn peers<'m>(&self, model: &'m Model) -> Vec<&'m PeerRow> {
        let rows = model.peers.iter().filter(|row| {
            let device = self.device.as_ref();
            device.is_none_or(|device| row.whose.is_of(device)) && order::matches(row, &self.filter)
        });
        let mut rows: Vec<_> = rows.collect();
        self.order.sort(&mut rows, self.is_reversed);
        rows
    }

    /// Moves the cursor.
    pub(super) fn step(&mut self, step: Step, model: &Model) {
        let peers = self.peers(model);
        let Some(last) = peers.len().checked_sub(1) else {
            return;
        };
        let at = self.position(&peers);
        // Nobody is chosen yet, or the one who was is gone: its row is another's.
        let row = at.unwrap_or(self.row);
        let page = self.room.max(1);
        let to = match step {
            Step::Up => row.saturating_sub(1),
            Step::Down if at.is_none() => row,
            Step::Down => row + 1,
            Step::PageUp => row.saturating_sub(page),
            Step::PageDown => row + page,
            Step::First => 0,
            Step::Last => last,
        };
        self.row = to.min(last);
        if let Some(row) = peers.get(self.row) {
            self.choose(row);
        }
    }

    /// Puts the cursor on a peer.
    pub(super) fn choose(&mut self, row: &PeerRow) {
        (self.chosen, self.turn) = (Some(row.whose.clone()), row.turn);
    }

    /// Whether the cursor is on this peer.
    pub(super) fn is_on(&self, row: &PeerRow) -> bool {
        self.chosen.as_ref() == Some(&row.whose) && self.turn == row.turn
    }

    /// Shows the details of the chosen peer, or of the first.
    pub(super) fn open(&mut self, model: &Model) {
        let is_there = self.position(&self.peers(model)).is_some();
        if !is_there {
            self.step(Step::Down, model);
        }
        if self.chosen.is_some() {
            self.page = Page::Details;
        }
    }

    /// Only the next device; after the last, all.
    pub(super) fn next_device(&mut self, model: &Model) {
        let devices = model.devices.iter().map(|row| &row.whose);
        let mut rest = devices.skip_while(|it| self.device.as_ref().is_some_and(|at| at != *it));
        self.device = match self.device {
            None => rest.next().cloned(),
            Some(_) => rest.nth(1).cloned(),
        };
        self.offset = 0;
    }

    /// Adds a character to the filter.
    pub(super) fn type_in(&mut self, letter: char) {
        if self.filter.chars().count() < FILTER && !letter.is_control() {
            self.filter.push(letter);
        }
    }

    /// The row of the chosen peer.
    pub(super) fn position(&self, peers: &[&PeerRow]) -> Option<usize> {
        peers.iter().position(|row| self.is_on(row))
    }

    /// The first row to draw of a list of `len` rows, `room` of which fit on the screen: the cursor stays in view.
    pub(super) fn scroll(&mut self, at: Option<usize>, len: usize, room: usize) -> usize {
        self.room = room;
        if let Some(at) = at {
            self.row = at;
            self.offset = self.offset.min(at).max((at + 1).saturating_sub(room));
        }
        self.offset = self.offset.min(len.saturating_sub(room));
        self.offset
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::model::tests::{device, peer, sample, whose};
    use super::*;

    fn model(devices: &[(u32, &[u32])]) -> Model {
        let mut model = Model::default();
        look(&mut model, devices);
        model
    }

    /// The next sample.
    fn look(model: &mut Model, devices: &[(u32, &[u32])]) {
        let devices = devices.iter().map(|(ifindex, peers)| {
            let peers = peers.iter().map(|id| peer(*id, 0, 0));
            device(&format!("tun{ifindex}"), *ifindex, peers.collect())
        });
        model.take(sample(Instant::now(), devices.collect()));
    }

    #[test]
    fn the_cursor_stays_on_its_peer_and_then_in_its_row() {
        let mut controls = Controls::default();
        let mut peers = model(&[(3, &[1, 2, 3])]);
        for (step, peer) in [
            (Step::Down, 1),
            (Step::Down, 2),
            (Step::Last, 3),
            (Step::Down, 3),
            (Step::Up, 2),
        ] {
            controls.step(step, &peers);
            assert_eq!(controls.chosen, Some(whose(3, Some(peer))), "{step:?}");
        }
        look(&mut peers, &[(3, &[0, 1, 2, 3])]);
        assert_eq!(controls.position(&controls.peers(&peers)), Some(2));
        controls.scroll(Some(2), 4, 10);
        look(&mut peers, &[(3, &[0, 1, 3])]);
        assert_eq!(controls.position(&controls.peers(&peers)), None);
        controls.step(Step::Down, &peers);
        assert_eq!(controls.chosen, Some(whose(3, Some(3))), "in its row");
        controls.step(Step::Up, &model(&[]));
        assert_eq!(controls.chosen, Some(whose(3, Some(3))), "no list");
    }

    #[test]
    fn a_list_that_is_too_long_scrolls() {
        let mut controls = Controls::default();
        assert_eq!(controls.scroll(None, 50, 10), 0);
        assert_eq!(controls.scroll(Some(9), 50, 10), 0);
        assert_eq!(controls.scroll(Some(10), 50, 10), 1);
        assert_eq!(controls.scroll(Some(0), 50, 10), 0);
        assert_eq!(controls.scroll(Some(49), 50, 10), 40);
        assert_eq!(controls.scroll(Some(4), 5, 10), 0, "a shorter list");
        assert_eq!(controls.scroll(Some(4), 5, 0), 5, "no room at all");
        let all: Vec<u32> = (1..=50).collect();
        let many = model(&[(3, &all)]);
        controls.scroll(None, 50, 10);
        controls.step(Step::First, &many);
        controls.step(Step::PageDown, &many);
        assert_eq!(controls.chosen, Some(whose(3, Some(11))));
        controls.step(Step::PageUp, &many);
        assert_eq!(controls.chosen, Some(whose(3, Some(1))));
    }

    #[test]
    fn devices_come_round() {
        let mut controls = Controls::default();
        let two = model(&[(3, &[1]), (4, &[1, 2])]);
        let listed = |controls: &Controls| controls.peers(&two).len();
        assert_eq!(listed(&controls), 3);
        for (ifindex, peers) in [(Some(3), 1), (Some(4), 2), (None, 3)] {
            controls.next_device(&two);
            let device = ifindex.map(|it| whose(it, None));
            assert_eq!((&controls.device, listed(&controls)), (&device, peers));
        }
        controls.device = Some(whose(9, None));
        controls.next_device(&two);
        assert_eq!(controls.device, None, "that one has gone");
    }

    #[test]
    fn details_are_those_of_the_first_if_none_is_chosen() {
        let mut controls = Controls::default();
        controls.open(&model(&[]));
        assert_eq!(controls.page, Page::Peers, "no peer to look into");
        controls.open(&model(&[(3, &[4, 5])]));
        assert_eq!(controls.page, Page::Details);
        assert_eq!(controls.chosen, Some(whose(3, Some(4))));
    }
}
