//! A kernel's two queues and its table of flows, hosts that send, and an engine that delivers and reads in between.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::flow::key;
use super::*;

/// A UDP packet of a flow, in one of its directions.
fn packet(flow: u8, len: usize, back: bool) -> Vec<u8> {
    let mut packet = vec![0; len.max(28)];
    (packet[0], packet[9]) = (0x45, 17);
    let ends = [[10, 8, 0, 1, 4, flow], [10, 8, 0, flow, 9, 7]];
    let (from, to) = if back {
        (ends[1], ends[0])
    } else {
        (ends[0], ends[1])
    };
    packet[12..16].copy_from_slice(&from[..4]);
    packet[16..20].copy_from_slice(&to[..4]);
    packet[20..22].copy_from_slice(&from[4..]);
    packet[22..24].copy_from_slice(&to[4..]);
    packet
}

/// Flows of the model.
const FLOWS: usize = 6;

struct Model {
    steering: Steering,
    now: Time,
    /// The kernel's queues, with flow, number and length of each packet.
    queues: [VecDeque<(usize, u64, usize)>; 2],
    /// Where the kernel puts flows that it does not know.
    hashes: [Class; FLOWS],
    /// Where it has those that it knows, and since when.
    places: [Option<(Class, Time)>; FLOWS],
    sent: [u64; FLOWS],
    /// The number of each flow's last packet.
    seen: [u64; FLOWS],
    reads: Reads,
    /// What is being delivered.
    heading: Option<(usize, Heading)>,
    /// Its flow was known before.
    is_known: bool,
    /// The reader is about to read.
    chosen: Option<(Class, Precedence)>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The host sends packets.
    Send(usize, usize, usize),
    /// The engine looks where to deliver a packet of a flow; or delivers it, which the host answers at once, or does not.
    Deliver(usize, bool),
    /// The engine chooses a queue; or reads it, and handles the packet; or does something else for a while.
    Read(Class),
    Rest,
    /// Milliseconds pass.
    Pass(u64),
}

impl Model {
    fn new(hashes: [Class; FLOWS]) -> Self {
        Self {
            // The table has room for all flows.
            steering: Steering::new(8, true),
            now: Time::from_millis(1_000),
            queues: Default::default(),
            hashes,
            places: [None; FLOWS],
            sent: [0; FLOWS],
            seen: [0; FLOWS],
            reads: Reads::default(),
            heading: None,
            is_known: false,
            chosen: None,
        }
    }

    fn deliver(&mut self, flow: usize, is_answered: bool) {
        let Some((flow, heading)) = self.heading.take() else {
            // Nothing is promised for a flow that may be in either queue, while one is being read.
            let delivered = self.places[flow].map(|(_, at)| self.now.as_millis() - at.as_millis());
            self.is_known = delivered.is_some_and(|age| age < 2_000);
            if self.chosen.is_none() || self.is_known {
                let packet = packet(flow as u8, 28, true);
                self.heading = Some((flow, self.steering.steer(&packet, self.now)));
            }
            return;
        };
        // What a new flow sends meanwhile may be overtaken.
        if is_answered && self.is_known {
            self.send(flow, 1, 100);
        }
        self.places[flow] = Some((heading.to, self.now));
        if is_answered {
            self.send(flow, 1, 100);
        }
        self.steering.delivered(&heading, false, self.now);
    }

    /// As the engine reads: two steps, between which packets may be sent and delivered.
    fn read(&mut self, wanted: Class) {
        let Some((from, order)) = self.chosen.take() else {
            self.chosen = self
                .steering
                .next(|order| Some(order.first().unwrap_or(wanted)));
            return;
        };
        let Some((flow, number, len)) = self.queues[from as usize].pop_front() else {
            self.steering.was_empty(from, order);
            return;
        };
        let packet = packet(flow as u8, len, false);
        self.steering
            .was_read(&mut self.reads, (from, order), &packet, self.now);
        let seen = core::mem::replace(&mut self.seen[flow], number);
        assert!(
            number > seen,
            "packet {number} of flow {flow} came after {seen}"
        );
    }

    fn rest(&mut self) {
        if self.chosen.is_none() {
            self.steering.rest(&mut self.reads);
        }
    }

    /// Whichever goes first.
    fn read_all(&mut self) {
        if self.heading.is_some() {
            self.deliver(0, false);
        }
        while !self.queues.iter().all(VecDeque::is_empty) {
            for class in [Class::Sparse, Class::Bulk] {
                self.read(class);
                self.read(class);
            }
        }
    }

    /// Nothing waits when the kernel forgets its flow, which may go elsewhere then.
    fn pass(&mut self, milliseconds: u64) {
        let places = |model: &Self| [0, 1, 2, 3, 4, 5].map(|flow| model.place(flow).is_some());
        let (before, then) = (places(self), self.now);
        self.now = self.now.plus_millis(milliseconds);
        if places(self) != before {
            self.now = then;
            self.read_all();
            self.now = self.now.plus_millis(milliseconds);
        }
    }

    fn place(&self, flow: usize) -> Option<Class> {
        let (place, at) = self.places[flow]?;
        (self.now.as_millis() - at.as_millis() < 3_000).then_some(place)
    }

    fn send(&mut self, flow: usize, count: usize, len: usize) {
        let is_delivered = self
            .heading
            .as_ref()
            .is_some_and(|(other, _)| *other == flow);
        if is_delivered && !self.is_known {
            return;
        }
        let place = self.place(flow).unwrap_or(self.hashes[flow]);
        for _ in 0..count {
            self.sent[flow] += 1;
            let queue = &mut self.queues[place as usize];
            queue.push_back((flow, self.sent[flow], len));
        }
    }
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![Just(Class::Sparse), Just(Class::Bulk)]
}

fn step() -> impl Strategy<Value = Step> {
    let flow = 0..FLOWS;
    let length = prop_oneof![Just(60), Just(1_400), Just(4_000)];
    prop_oneof![
        3 => (flow.clone(), 1..8_usize, length).prop_map(|(flow, count, len)| Step::Send(flow, count, len)),
        6 => (flow, any::<bool>()).prop_map(|(flow, is_answered)| Step::Deliver(flow, is_answered)),
        24 => class().prop_map(Step::Read),
        2 => Just(Step::Rest),
        1 => prop_oneof![9 => 1..60_u64, 1 => 2_000..3_500_u64].prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_packet_overtakes_one_of_its_flow(
        hashes in prop::array::uniform6(class()),
        steps in prop::collection::vec(step(), 1..600),
    ) {
        let mut model = Model::new(hashes);
        for step in steps {
            match step {
                Step::Send(flow, count, len) => model.send(flow, count, len),
                Step::Deliver(flow, is_answered) => model.deliver(flow, is_answered),
                Step::Read(class) => model.read(class),
                Step::Rest => model.rest(),
                Step::Pass(milliseconds) => model.pass(milliseconds),
            }
        }
        model.read_all();
    }
}

fn read_packet(steering: &Steering, from: (Class, Precedence), packet: &[u8], now: Time) {
    let mut reads = Reads::default();
    steering.was_read(&mut reads, from, packet, now);
    steering.rest(&mut reads);
}

fn deliver(steering: &Steering, packet: &[u8], now: Time) -> Class {
    let heading = steering.steer(packet, now);
    steering.delivered(&heading, false, now);
    heading.to
}

#[test]
fn a_stream_becomes_bulk_and_a_ping_beside_it_stays_sparse() {
    let steering = Steering::new(1, true);
    let time = |millis: u64| Time::from_millis(5_000 + millis);
    let read = |from, flow, len, now| {
        let order = steering.orders.now();
        read_packet(&steering, (from, order), &packet(flow, len, false), now);
    };
    let empty = |queue| steering.was_empty(queue, steering.orders.now());
    assert_eq!(
        deliver(&steering, &packet(2, 84, true), time(0)),
        Class::Sparse
    );
    empty(Class::Bulk);
    for millis in 0..300 {
        read(Class::Bulk, 1, 60_000, time(millis));
        if millis % 50 == 0 {
            read(Class::Sparse, 2, 84, time(millis));
        }
        empty(Class::Sparse);
    }
    assert_eq!(
        deliver(&steering, &packet(1, 60, true), time(300)),
        Class::Bulk
    );
    assert_eq!(
        deliver(&steering, &packet(2, 84, true), time(300)),
        Class::Sparse
    );
    empty(Class::Sparse);
    // One in the bulk queue stays there while it is full of the stream, and leaves it once it is empty.
    read(Class::Bulk, 3, 84, time(300));
    assert_eq!(
        deliver(&steering, &packet(3, 84, true), time(301)),
        Class::Bulk
    );
    empty(Class::Sparse);
    empty(Class::Bulk);
    assert_eq!(
        deliver(&steering, &packet(3, 84, true), time(302)),
        Class::Sparse
    );
    assert_eq!(steering.orders.now().first(), Some(Class::Bulk));
    empty(Class::Bulk);
    // The stream has ended.
    assert_eq!(
        deliver(&steering, &packet(1, 60, true), time(600)),
        Class::Sparse
    );
}

#[test]
fn a_new_connection_is_sparse_at_once() {
    let steering = Steering::new(1, true);
    let now = Time::from_millis(5_000);
    for _ in 0..FEW {
        let packet = packet(1, 60_000, false);
        read_packet(
            &steering,
            (Class::Bulk, steering.orders.now()),
            &packet,
            now,
        );
    }
    let mut answer = packet(2, 60, true);
    answer[9] = 6;
    assert_eq!(deliver(&steering, &answer, now), Class::Bulk);
    answer[20 + 13] = 0x12;
    assert_eq!(deliver(&steering, &answer, now), Class::Sparse);
    answer[20 + 13] = 0x10;
    assert_eq!(deliver(&steering, &answer, now), Class::Sparse);
}

#[test]
fn fragments_and_tunnels_are_bulk() {
    let steering = Steering::new(1, true);
    let now = Time::from_millis(1_000);
    let mut fragment = packet(1, 60, true);
    fragment[6] = 0x20;
    assert_eq!(deliver(&steering, &fragment, now), Class::Bulk);
    let mut tunnel = packet(1, 60, true);
    tunnel[9] = 47;
    assert_eq!(deliver(&steering, &tunnel, now), Class::Bulk);
    assert_eq!(deliver(&steering, &[], now), Class::Bulk);
}

#[test]
fn the_table_has_room_for_the_model_s_flows() {
    let hash = |flow: usize| key(&packet(flow as u8, 28, false), 8, true).unwrap().hash;
    let mut sets = [0; table::SETS];
    for flow in 0..FLOWS {
        sets[hash(flow) as usize % table::SETS] += 1;
    }
    assert!(sets.iter().all(|flows| *flows <= table::WAYS));
}

#[test]
fn both_directions_are_one_flow() {
    for flow in 0..=255 {
        let [one, other] = [false, true].map(|back| key(&packet(flow, 28, back), 1, true));
        assert!(one.is_some() && one == other);
        assert_ne!(one, key(&packet(flow.wrapping_add(1), 28, false), 1, true));
    }
    let mut forth = vec![0; 60];
    (forth[0], forth[6]) = (0x60, 6);
    forth[8..24].copy_from_slice(&[1; 16]);
    forth[24..40].copy_from_slice(&[2; 16]);
    (forth[41], forth[43]) = (5, 6);
    let mut back = forth.clone();
    back[8..24].copy_from_slice(&[2; 16]);
    back[24..40].copy_from_slice(&[1; 16]);
    (back[41], back[43]) = (6, 5);
    assert_eq!(key(&forth, 1, true), key(&back, 1, true));
}
