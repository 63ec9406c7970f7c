//! TCP as the outer transport: rekeys under load change no byte, a client that does not read costs the others nothing,
//! a closed connection is made anew.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{
    CONNECT, Endpoint, Host, Launch, Pair, Proto, Signal, Star, Version, addresses as at, connect,
    eventually,
};

/// Port of [`numbers`] inside the tunnel.
const PORT: u16 = 7007;

/// Tells [`numbers`] what to do: `listen ADDRESS` or `send ADDRESS SECONDS`.
const TASK: &str = "UDCO_TEST_NUMBERS";

#[test]
fn rekeys_of_2_6_change_no_byte_of_a_stream() -> Result<()> {
    rekey_beside_a_stream(Version::V26, Proto::Tcp4, 30)
}

#[test]
fn rekeys_of_2_7_change_no_byte_of_a_stream() -> Result<()> {
    rekey_beside_a_stream(Version::V27, Proto::Tcp6, 15)
}

/// Control packets of a handshake every 3 s share a saturated stream with the data (promises F4).
fn rekey_beside_a_stream(version: Version, proto: Proto, seconds: u32) -> Result<()> {
    if !version.is_here_or_skip() {
        return Ok(());
    }
    let pair = Pair::new()?;
    let (server, client) = connect(
        pair.server(proto)
            .version(version)
            .launch(Launch::Udco)
            .line("reneg-sec 3"),
        pair.client(proto)
            .version(version)
            .launch(Launch::Udco)
            .line("reneg-sec 3"),
    )?;
    let upwards = check_numbers(&pair.server, at::INNER_SERVER, &pair.client, seconds)?;
    let downwards = check_numbers(&pair.client, at::INNER_CLIENT6, &pair.server, seconds)?;
    for (sender, receiver) in [upwards, downwards] {
        let [sent, received] = [sender, receiver].map(Child::wait_with_output);
        let (sent, received) = (sent?, received?);
        let said = |output: &std::process::Output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines()
                .find_map(|line| line.split_once("numbers: "))
                .map(|(_, bytes)| bytes.to_owned())
        };
        ensure!(
            sent.status.success() && received.status.success() && said(&sent) == said(&received),
            "sent {sent:?}, received {received:?}"
        );
        println!("{:?} bytes", said(&received));
    }
    for end in [&server, &client] {
        let rekeys = end.log().matches("Control Channel: TLSv1").count() as u32;
        ensure!(rekeys >= seconds / 5, "{rekeys} rekeys in {seconds} s");
        require_no_framing_error(end)?;
        end.require_authentic()?;
    }
    client.stop()?;
    server.stop()
}

/// One of three clients stops to read (promises F3).
#[test]
fn a_client_that_does_not_read_costs_the_others_nothing() -> Result<()> {
    let star = Star::new(3)?;
    let mut server = star
        .server()
        .proto(Proto::Tcp4)
        .launch(Launch::Udco)
        .spawn()?;
    server.wait_connected(CONNECT)?;
    let mut clients = (0..3)
        .map(|index| star.client(index).proto(Proto::Tcp4).spawn())
        .collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        client.wait_connected(CONNECT)?;
    }
    server.require_offload()?;
    let inner: Vec<String> = clients.iter().map(inner_address).collect::<Result<_>>()?;
    for address in &inner {
        Ping::to(address).all_answered(&star.server)?;
    }
    let memory = resident_bytes(&server)?;
    clients[0].openvpn()?.signal(Signal::STOP)?;
    // More than all buffers on the way hold.
    let flood = Ping::to(&inner[0])
        .count(6_000)
        .size(1_400)
        .interval(Duration::from_millis(2))
        .start(&star.server);
    thread::sleep(Duration::from_secs(2));
    let others = Ping::to(&inner[1]).count(100).all_answered(&star.server)?;
    println!("the others' pings: median {:?} ms", others.median_ms());
    let load = Stream::to(&inner[2])
        .seconds(3)
        .run(&star.server, &star.clients[2])?;
    ensure!(load.bits_per_second > 5e6, "{load:?}");
    let grown = resident_bytes(&server)?.saturating_sub(memory);
    ensure!(grown < 8 << 20, "a stuck client costs {grown} bytes");
    flood.join().map_err(|_| anyhow::anyhow!("panicked"))??;
    clients[0].openvpn()?.signal(Signal::CONT)?;
    answers(&star.server, &inner[0])?;
    require_no_framing_error(&server)?;
    server.require_authentic()
}

/// The connection ends under the hands of the client's engine: OpenVPN is told, and comes back.
#[test]
fn a_closed_connection_is_made_anew() -> Result<()> {
    for version in [Version::V26, Version::V27] {
        if !version.is_here_or_skip() {
            continue;
        }
        let pair = Pair::new()?;
        let (server, mut client) = connect(
            pair.server(Proto::Tcp4)
                .version(version)
                .launch(Launch::Udco),
            pair.client(Proto::Tcp4)
                .version(version)
                .launch(Launch::Udco)
                .line("connect-retry 1"),
        )?;
        let echo = Ping::to(at::INNER_SERVER).run(&pair.client)?;
        if !echo.lost.is_empty() {
            for end in [&server, &client] {
                let devices = end.show()?.devices;
                let drops: Vec<_> = devices.iter().map(|device| &device.drops).collect();
                println!(
                    "{}: lost {:?}, dropped {drops:?}",
                    end.host().name(),
                    echo.lost
                );
            }
        }
        ensure!(echo.lost.is_empty(), "lost {:?}", echo.lost);
        server.sigusr1()?;
        client.wait_connected(CONNECT)?;
        answers(&pair.client, at::INNER_SERVER)?;
        client.stop()?;
        server.stop()?;
    }
    Ok(())
}

/// Waits until an address answers every ping of a few.
fn answers(from: &Host, address: &str) -> Result<()> {
    eventually("pings are answered again", Duration::from_secs(20), || {
        let echo = Ping::to(address).count(3).run(from)?;
        Ok(echo.lost.is_empty().then_some(()))
    })
}

fn resident_bytes(end: &Endpoint) -> Result<usize> {
    let pid = end.engine()?.pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kibibytes.context("no VmRSS")?.parse::<usize>()? << 10)
}

/// OpenVPN's words for a stream that it cannot follow any more.
fn require_no_framing_error(end: &Endpoint) -> Result<()> {
    let log = end.log();
    let words = ["Bad encapsulated packet length", "Connection reset"];
    let line = log
        .lines()
        .find(|line| words.iter().any(|it| line.contains(it)));
    ensure!(line.is_none(), "{}: {line:?}", end.host().name());
    Ok(())
}

fn inner_address(client: &Endpoint) -> Result<String> {
    let text = client
        .host()
        .run(&["ip", "-4", "-o", "address", "show", "tun0"])?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "inet");
    let address = words.nth(1).context("no address")?;
    Ok(address.split('/').next().unwrap_or_default().to_owned())
}

/// Starts a stream of numbers to an address of `receiver`; returns sender and receiver.
fn check_numbers(
    receiver: &Host,
    address: &str,
    sender: &Host,
    seconds: u32,
) -> Result<(Child, Child)> {
    let address = match address.contains(':') {
        true => format!("[{address}]:{PORT}"),
        false => format!("{address}:{PORT}"),
    };
    let start = |host: &Host, task: String| -> Result<Child> {
        let this = std::env::current_exe()?;
        let mut command: Command = host.command(&this.to_string_lossy());
        command
            .args(["--exact", "numbers", "--ignored", "--nocapture"])
            .env(TASK, task)
            .stdout(Stdio::piped());
        Ok(command.spawn()?)
    };
    let listening = start(receiver, format!("listen {address}"))?;
    let sending = start(sender, format!("send {address} {seconds}"))?;
    Ok((sending, listening))
}

/// The program at either end of a stream of numbers, each of which must come as it was sent.
#[test]
#[ignore = "started by the other tests"]
fn numbers() -> Result<()> {
    let task = std::env::var(TASK)?;
    let words: Vec<&str> = task.split(' ').collect();
    let mut bytes = 0_u64;
    let mut block = [0; 8 * 1024];
    match words[..] {
        ["listen", address] => {
            let (mut stream, _) = TcpListener::bind(address)?.accept()?;
            loop {
                let mut len = 0;
                while len < block.len() {
                    match stream.read(&mut block[len..])? {
                        0 => break,
                        read => len += read,
                    }
                }
                for (number, at) in block[..len].chunks_exact(8).zip(bytes / 8..) {
                    ensure!(number == mixed(at).to_le_bytes(), "number {at} is wrong");
                }
                bytes += len as u64;
                if len < block.len() {
                    break;
                }
            }
        }
        ["send", address, seconds] => {
            let end = Instant::now() + Duration::from_secs(seconds.parse()?);
            let mut stream = loop {
                match TcpStream::connect(address) {
                    Ok(stream) => break stream,
                    Err(error) if Instant::now() > end => return Err(error.into()),
                    Err(_) => thread::sleep(Duration::from_millis(50)),
                }
            };
            while Instant::now() < end {
                for (place, at) in block.chunks_exact_mut(8).zip(bytes / 8..) {
                    place.copy_from_slice(&mixed(at).to_le_bytes());
                }
                stream.write_all(&block)?;
                bytes += block.len() as u64;
            }
        }
        _ => anyhow::bail!("no such task: {task}"),
    }
    println!("numbers: {bytes}");
    Ok(())
}

/// A number that says little of its neighbours.
fn mixed(at: u64) -> u64 {
    let mixed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}
