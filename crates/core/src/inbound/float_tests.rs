//! Which packets move a peer while its keys change: never one that may have been withheld (faults E1).

use super::*;
use crate::key::Key;
use crate::key_slots::Slot;
use crate::testing::{Toy, at, device, key, packet, record};
use crate::{Device, Routes};
use proptest::prelude::*;

/// Where the peer is at first, and where withheld packets are sent from.
const HOME: u16 = 1;
const ELSEWHERE: u16 = 666;

/// A peer of a device and its sending end.
struct Rig {
    device: Device<Toy, ()>,
    /// Secret and key id of each key of the peer, in the order in which it got them, and the last packet id sent.
    keys: Vec<(Key<Toy>, u32)>,
    now: Time,
}

impl Rig {
    fn new() -> Self {
        Self {
            device: device(&[1]),
            keys: vec![(key(0, 1), 0)],
            now: Time::from_millis(5000),
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now = Time::from_millis(self.now.as_millis() + milliseconds);
    }

    /// Installs another key in this slot, and at the peer.
    fn install(&mut self, slot: Slot) {
        let number = self.keys.len() as u8;
        let make = || key(number % 8, number + 1);
        self.device
            .install_key(PeerId::from(1), slot, make())
            .unwrap();
        self.keys.push((make(), 0));
    }

    fn seal(&mut self, key: usize) -> Vec<u8> {
        let (key, last) = &mut self.keys[key];
        *last += 1;
        record(
            key,
            PeerId::from(1),
            *last,
            &packet([10, 8, 0, 1], [10, 8, 0, 9]),
        )
    }

    /// Receives a packet, moves the peer if it floated, and returns whether the packet was accepted.
    fn receive(&mut self, record: &[u8], port: u16) -> bool {
        let mut record = record.to_vec();
        let routes = Routes::new(1);
        let origin = Origin {
            remote: at(port),
            local: None,
        };
        let view = View::new(self.device.mode(), self.device.peers(), &routes);
        let inbound = receive(&view, &mut record, origin, self.now);
        let (accepted, floated) = match inbound {
            Inbound::Data { floated, .. } => (true, floated),
            Inbound::Dropped { floated, .. } => (false, floated.map(|(_, endpoint)| endpoint)),
            Inbound::Control => (false, None),
        };
        if let Some(endpoint) = floated {
            // As the engine does: note it at once, then follow.
            let peer = self.device.peers().by_id(PeerId::from(1)).unwrap();
            peer.activity.note_endpoint(&endpoint);
            self.device.float(PeerId::from(1), endpoint);
        }
        accepted
    }

    fn send(&mut self, key: usize, port: u16) -> bool {
        let record = self.seal(key);
        self.receive(&record, port)
    }

    fn is_at(&self) -> u16 {
        let peer = self.device.peers().by_id(PeerId::from(1)).unwrap();
        peer.endpoint().unwrap().remote.port()
    }
}

#[test]
fn a_withheld_packet_of_the_old_key_moves_nobody_after_the_swap() {
    let mut rig = Rig::new();
    rig.send(0, HOME);
    let withheld = [rig.seal(0), rig.seal(0), rig.seal(0)];
    rig.install(Slot::Secondary);
    rig.device.swap_keys(PeerId::from(1)).unwrap();
    assert!(rig.send(1, HOME));
    for (later, withheld) in [0, 5_000, 20_000].into_iter().zip(&withheld) {
        rig.pass(later);
        assert!(rig.receive(withheld, ELSEWHERE), "it is authentic");
        assert_eq!(rig.is_at(), HOME, "after {later} ms");
    }
    rig.send(1, 7);
    assert_eq!(rig.is_at(), 7);
}

/// A server keeps the new key in its secondary slot for a long time, while the client is already sending with it.
#[test]
fn a_withheld_packet_of_the_primary_moves_nobody_once_the_new_key_is_in_use() {
    let mut rig = Rig::new();
    rig.send(0, HOME);
    let withheld = [rig.seal(0), rig.seal(0)];
    rig.install(Slot::Secondary);
    assert!(rig.send(1, HOME));
    for withheld in &withheld {
        rig.pass(5_000);
        assert!(rig.receive(withheld, ELSEWHERE));
        assert_eq!(rig.is_at(), HOME);
    }
}

#[test]
fn a_peer_that_moves_before_the_swap_is_followed_a_second_later() {
    let mut rig = Rig::new();
    rig.send(0, HOME);
    rig.install(Slot::Secondary);
    rig.pass(999);
    rig.send(1, 7);
    assert_eq!(rig.is_at(), HOME, "the primary was in use a moment ago");
    rig.pass(1);
    rig.send(1, 7);
    assert_eq!(rig.is_at(), 7);
}

#[test]
fn a_peer_that_goes_on_with_the_old_key_after_the_swap_is_followed() {
    let mut rig = Rig::new();
    rig.send(0, HOME);
    rig.install(Slot::Secondary);
    rig.device.swap_keys(PeerId::from(1)).unwrap();
    rig.send(0, 7);
    assert_eq!(rig.is_at(), 7);
    // The key is deleted but still opens late packets.
    let until = rig.now.plus_seconds(1);
    rig.device
        .retire_key(PeerId::from(1), Slot::Secondary, until)
        .unwrap();
    let withheld = rig.seal(0);
    rig.send(0, 8);
    assert_eq!(rig.is_at(), 8);
    rig.send(1, 8);
    assert!(!rig.receive(&withheld, ELSEWHERE) || rig.is_at() == 8);
    assert!(rig.send(0, ELSEWHERE), "it is still late data");
    assert_eq!(rig.is_at(), 8);
}

/// Keys installed by hand, the old one last.
#[test]
fn a_secondary_moves_nobody_beside_a_primary_in_use() {
    let mut rig = Rig::new();
    rig.send(0, HOME);
    rig.install(Slot::Secondary);
    assert!(rig.send(1, ELSEWHERE));
    assert_eq!(rig.is_at(), HOME);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The peer sends a packet with its newest key, from where it is; half of its packets are withheld.
    Send {
        withheld: bool,
    },
    /// The peer moves.
    Move,
    /// A withheld packet is released, from elsewhere.
    Release(usize),
    /// A new key in the secondary slot; later it becomes primary, and the old one is deleted.
    Rekey,
    Swap,
    Delete,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(|withheld| Step::Send { withheld }),
        1 => Just(Step::Move),
        3 => (0usize..64).prop_map(Step::Release),
        1 => Just(Step::Rekey),
        1 => Just(Step::Swap),
        1 => Just(Step::Delete),
        1 => (0u64..3000).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn what_was_withheld_never_moves_a_peer_after_a_newer_packet(
        steps in proptest::collection::vec(step(), 0..120)
    ) {
        let mut rig = Rig::new();
        let (mut home, mut withheld) = (HOME, Vec::new());
        // Key and packet id of the newest packet that arrived.
        let mut newest = (0, 0);
        for step in steps {
            let last = rig.keys.len() - 1;
            match step {
                Step::Send { withheld: true } => {
                    let record = rig.seal(last);
                    withheld.push((last, rig.keys[last].1, record));
                }
                Step::Send { withheld: false } => {
                    if rig.send(last, home) {
                        newest = (last, rig.keys[last].1);
                    }
                }
                Step::Move => home += 1,
                Step::Release(which) if !withheld.is_empty() => {
                    let (key, id, record) = withheld.swap_remove(which % withheld.len());
                    let before = rig.is_at();
                    let accepted = rig.receive(&record, ELSEWHERE);
                    if (key, id) < newest {
                        prop_assert_eq!(rig.is_at(), before);
                    } else if accepted {
                        // It is the newest packet, whichever way it came: no rule can tell the difference.
                        newest = (key, id);
                    }
                }
                // The key ids of a peer's keys differ.
                Step::Rekey if rig.keys.len() < 7 => rig.install(Slot::Secondary),
                Step::Swap => {
                    let peer = rig.device.peers().by_id(PeerId::from(1)).unwrap();
                    let newest_is_secondary = peer.keys.at(Slot::Secondary)
                        .is_some_and(|key| usize::from(key.id().value()) == last);
                    if newest_is_secondary {
                        rig.device.swap_keys(PeerId::from(1)).unwrap();
                    }
                }
                Step::Delete => {
                    let peer = rig.device.peers().by_id(PeerId::from(1)).unwrap();
                    let newest_is_primary = peer.keys.at(Slot::Primary)
                        .is_some_and(|key| usize::from(key.id().value()) == last);
                    if newest_is_primary {
                        let until = rig.now.plus_seconds(1);
                        rig.device.retire_key(PeerId::from(1), Slot::Secondary, until).unwrap();
                    }
                }
                Step::Pass(milliseconds) => rig.pass(milliseconds),
                Step::Release(_) | Step::Rekey => {}
            }
        }
        // The peer is followed to where it is once it has sent from there for a second.
        let last = rig.keys.len() - 1;
        rig.send(last, home);
        rig.pass(1000);
        prop_assert!(rig.send(last, home));
        prop_assert_eq!(rig.is_at(), home);
    }
}
