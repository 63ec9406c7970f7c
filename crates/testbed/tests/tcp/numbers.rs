//! A stream of numbers, each of which must arrive unchanged.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use udco_testbed::Host;

use crate::task;

/// The port inside the tunnel.
const PORT: u16 = 7007;

/// Starts a stream of numbers to an address of `receiver`; returns sender and receiver.
pub(crate) fn send(
    receiver: &Host,
    address: &str,
    sender: &Host,
    seconds: u32,
) -> Result<(Child, Child)> {
    let address = match address.contains(':') {
        true => format!("[{address}]:{PORT}"),
        false => format!("{address}:{PORT}"),
    };
    let start = |host: &Host, words: String| -> Result<Child> {
        let mut command = task(host, &words)?;
        Ok(command.stdout(Stdio::piped()).spawn()?)
    };
    let listening = start(receiver, format!("numbers listen {address}"))?;
    let sending = start(sender, format!("numbers send {address} {seconds}"))?;
    Ok((sending, listening))
}

/// Either end: `listen ADDRESS` or `send ADDRESS SECONDS`.
pub(crate) fn program(words: &[&str]) -> Result<()> {
    let mut bytes = 0_u64;
    let mut block = [0; 8 * 1024];
    match *words {
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
        _ => anyhow::bail!("no such task: {words:?}"),
    }
    println!("numbers: {bytes}");
    Ok(())
}

/// A number that does not predict its neighbours.
fn mixed(at: u64) -> u64 {
    let mixed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}
