//! Both ends of the streams inside a session.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use anyhow::{Result, ensure};

use super::payload::{Digest, Payload};

/// Accepts streams one after the other and answers each with its length and hash.
pub(crate) fn sink(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening");
    for stream in listener.incoming() {
        let mut stream = stream?;
        // The source reports a broken stream.
        std::thread::spawn(move || -> Result<()> {
            let (mut digest, mut buffer) = (Digest::default(), vec![0; 65_536]);
            loop {
                match stream.read(&mut buffer)? {
                    0 => break,
                    length => digest.add(&buffer[..length]),
                }
            }
            Ok(stream.write_all(digest.summary().as_bytes())?)
        });
    }
    Ok(())
}

/// Sends a stream and compares the answer.
pub(crate) fn source(address: SocketAddr, seed: u64, length: u64) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let (mut payload, mut digest) = (Payload::new(seed, length), Digest::default());
    let mut buffer = vec![0; 16_384];
    loop {
        let piece = payload.fill(&mut buffer);
        if piece.is_empty() {
            break;
        }
        digest.add(piece);
        stream.write_all(piece)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    let sent = digest.summary();
    ensure!(answer == sent, "sent {sent:?}, received {answer:?}");
    Ok(())
}
