use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use super::Streams;
use crate::chaos::Weather;
use crate::chaos::payload::Payload;

/// A stream through a relay in this weather: what was sent, what arrived, and the relay.
fn through(weather: Weather, length: u64) -> (Vec<u8>, std::io::Result<Vec<u8>>, Streams) {
    let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let (listener, server) = (listen(), listen());
    let address = listener.local_addr().expect("bound");
    let streams = Streams::start(listener, server.local_addr().expect("bound"), 5);
    streams.set_weather(weather);
    let mut client = TcpStream::connect(address).expect("the relay");
    let (mut accepted, _) = server.accept().expect("the relay connects");
    let mut sent = vec![0; length as usize];
    let _ = Payload::new(9, length).fill(&mut sent);
    let copy = sent.clone();
    let sender = std::thread::spawn(move || {
        // A reset stream breaks here too.
        let _ = client.write_all(&copy);
        let _ = client.shutdown(Shutdown::Write);
        client
    });
    let mut received = Vec::new();
    let result = accepted.read_to_end(&mut received).map(|_| received);
    drop(sender.join());
    (sent, result, streams)
}

#[test]
fn a_stream_in_other_pieces_and_with_stalls_is_the_same_stream() {
    let weather = Weather {
        segment: 100,
        stall: 0.01,
        stall_ms: 1,
        ..Weather::CALM
    };
    let (sent, received, streams) = through(weather, 100_000);
    assert!(received.expect("a whole stream") == sent);
    let counters = streams.counters();
    assert_eq!((counters.connections, counters.bytes), (1, 100_000));
    assert!((1_500..3_000).contains(&counters.writes), "{counters:?}");
    assert!((1..100).contains(&counters.stalls), "{counters:?}");
}

#[test]
fn a_reset_stream_is_an_error_for_its_reader() {
    let weather = Weather {
        reset: 1.0,
        ..Weather::CALM
    };
    let (_, received, streams) = through(weather, 1000);
    assert!(received.is_err(), "an orderly end");
    assert_eq!(streams.counters().resets, 1);
}
