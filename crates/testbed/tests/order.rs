//! Packets of a flow arrive in order, even with more workers than cores (performance 6). `cargo xtask order` repeats
//! this with ten million.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use udco_testbed::measure::order::{self, Order, Sequence};
use udco_testbed::{Builder, Launch, Pair, Proto, addresses as at, connect, udco};

/// Both ends of the flows.
const PROGRAM: &str = env!("CARGO_BIN_EXE_udco-lab-end");

const PACKETS: u64 = 200_000;

/// A rate that an unoptimised engine sustains beside other tests.
const PER_SECOND: u64 = 60_000;

#[test]
fn no_packet_of_a_flow_overtakes_another() -> Result<()> {
    in_order(None)
}

#[test]
fn no_packet_of_a_flow_overtakes_another_with_four_workers() -> Result<()> {
    in_order(Some(4))
}

fn in_order(workers: Option<u16>) -> Result<()> {
    if udco::is_left_out("it is about the order in which udco sends") {
        return Ok(());
    }
    let sequence = order::through_udco(PROGRAM, PACKETS, PER_SECOND, workers)?;
    ensure!(sequence.sent >= PACKETS, "{sequence:?}");
    // A busy machine's losses say nothing about the order; too few packets would prove nothing.
    ensure!(sequence.received > PACKETS / 2, "{sequence:?}");
    is_in_order(sequence)
}

/// Under load a queue moves to its own worker, and back afterwards.
#[test]
fn no_packet_of_a_flow_overtakes_another_when_a_queue_changes_workers() -> Result<()> {
    // On a busy machine a wave may come too late, or too slowly, to move a queue.
    const MOST_WAVES: usize = 16;
    const MOVES: usize = 3;
    if udco::is_left_out("it is about the order in which udco sends") {
        return Ok(());
    }
    let pair = Pair::new()?;
    let udco = |builder: Builder| {
        let builder = builder.launch(Launch::Udco);
        builder.udco_options(&["--workers", "2", "--verbose"])
    };
    let (server, client) = connect(
        udco(pair.server(Proto::Udp4)),
        udco(pair.client(Proto::Udp4)),
    )?;
    let to = SocketAddr::new(at::INNER_SERVER.parse()?, 5998);
    let moves = || {
        let gave = |line: &str| client.log().matches(line).count();
        [
            gave("worker 1 hands a queue to worker 0"),
            gave("worker 0 hands a queue to worker 1"),
        ]
    };
    for _ in 0..MOST_WAVES {
        // More than half of a worker's capacity: losses don't matter here.
        let order = Order::to(to).packets(PACKETS / 4).per_second(400_000);
        let sequence = order.run(PROGRAM, &pair.client, &pair.server)?;
        ensure!(sequence.received > 0, "{sequence:?}");
        is_in_order(sequence)?;
        if moves().iter().all(|count| *count >= MOVES) {
            break;
        }
    }
    for end in [&server, &client] {
        end.require_authentic()?;
    }
    let moves = moves();
    ensure!(moves.iter().all(|count| *count >= MOVES), "{moves:?}");
    Ok(())
}

fn is_in_order(sequence: Sequence) -> Result<()> {
    println!("{sequence:?}");
    ensure!(
        sequence.reordered == 0 && sequence.repeated == 0,
        "{sequence:?}"
    );
    Ok(())
}
