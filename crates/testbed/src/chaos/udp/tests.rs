use std::net::UdpSocket;
use std::time::Duration;

use super::Datagrams;
use crate::chaos::{Tally, Weather};

/// A client, a relay with this weather, and a server, on loopback.
struct Line {
    client: UdpSocket,
    relay: Datagrams,
    server: UdpSocket,
}

impl Line {
    fn new(weather: Weather) -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        let server = UdpSocket::bind(any).expect("a port");
        server.set_nonblocking(true).expect("a socket");
        let mut relay = Datagrams::new(any, server.local_addr().expect("bound"), 5).expect("ports");
        relay.set_weather(weather);
        let client = UdpSocket::bind(any).expect("a port");
        let listener = relay.sockets().next().expect("a listener");
        client
            .connect(listener.local_addr().expect("bound"))
            .expect("the relay");
        client.set_nonblocking(true).expect("a socket");
        Self {
            client,
            relay,
            server,
        }
    }

    /// Sends 1,000 datagrams with this first byte and a number, and returns those that arrive.
    fn send(&mut self, first: u8) -> Vec<Vec<u8>> {
        let mut arrived = Vec::new();
        for number in 0..1000_u16 {
            let [high, low] = number.to_be_bytes();
            self.client.send(&[first, high, low, 0]).expect("sent");
            self.relay.run().expect("relayed");
            self.collect(&mut arrived);
        }
        while self.tally().waiting > 0 {
            std::thread::sleep(Duration::from_millis(1));
            self.relay.run().expect("relayed");
            self.collect(&mut arrived);
        }
        arrived
    }

    fn collect(&self, arrived: &mut Vec<Vec<u8>>) {
        let mut buffer = [0; 64];
        while let Ok(length) = self.server.recv(&mut buffer) {
            arrived.push(buffer[..length].to_vec());
        }
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.relay.report(&mut tally);
        tally
    }
}

const STORM: Weather = Weather {
    loss: 0.2,
    duplicate: 0.1,
    corrupt: 0.1,
    ..Weather::CALM
};

#[test]
fn calm_changes_nothing_and_answers_find_their_way_back() {
    let mut line = Line::new(Weather::CALM);
    let arrived = line.send(0x48);
    assert_eq!(arrived.len(), 1000);
    assert!(arrived.is_sorted());
    let up = line.tally().up;
    assert_eq!((up.data_in, up.data_out), (1000, 1000));

    let speaks_for_client = line.relay.sockets().nth(1).expect("a client");
    let address = speaks_for_client.local_addr().expect("bound");
    line.server.send_to(b"answer", address).expect("sent");
    line.relay.run().expect("relayed");
    let mut buffer = [0; 64];
    assert_eq!(line.client.recv(&mut buffer).expect("an answer"), 6);
    assert_eq!(line.tally().down.other_out, 1);
}

#[test]
fn a_storm_is_the_same_for_the_same_seed_and_adds_up() {
    let (mut one, mut two) = (Line::new(STORM), Line::new(STORM));
    let arrived = one.send(0x48);
    assert_eq!(arrived, two.send(0x48));
    assert_eq!(one.tally(), two.tally());
    let up = one.tally().up;
    assert!(up.is_balanced(), "{up:?}");
    assert!((150..250).contains(&up.lost), "{up:?}");
    assert!((50..120).contains(&up.duplicated), "{up:?}");
    assert!((50..130).contains(&up.corrupted), "{up:?}");
    let out = up.data_out + up.data_v1_out + up.other_out;
    assert_eq!(out, arrived.len() as u64);
}

#[test]
fn held_datagrams_are_overtaken_and_arrive() {
    let mut line = Line::new(Weather {
        reorder: 0.1,
        reorder_us: 2_000,
        ..Weather::CALM
    });
    let mut arrived = line.send(0x4f);
    assert!(!arrived.is_sorted());
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived.len(), 1000);
}

#[test]
fn control_packets_are_spared_unless_wanted_and_a_cut_takes_all() {
    let mut line = Line::new(STORM);
    assert_eq!(line.send(0x20).len(), 1000);
    line.relay.set_weather(Weather {
        hit_control: true,
        ..STORM
    });
    assert!(line.send(0x20).len() < 1000);
    line.relay.set_weather(Weather {
        cut: true,
        ..Weather::CALM
    });
    assert!(line.send(0x20).is_empty() && line.send(0x48).is_empty());
    assert_eq!(line.tally().up.cut, 2000);
}
