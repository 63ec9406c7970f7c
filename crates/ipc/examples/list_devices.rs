//! Lists the devices of an engine: a whole client of the protocol. `cargo run --example list_devices -- SOCKET`

use std::error::Error;
use std::io::{ErrorKind, Read, Seek};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use udco_ipc::client::{self, Beside, Conversation, Greeted, Host, Lost};
use udco_ipc::{MAX_MESSAGE, ToClient, ToEngine};
use udco_state::{Device, EngineState};
use udco_sys::seqpacket::Connection;

type Failure = Box<dyn Error>;

/// The system calls of a client that has nothing an engine could need.
struct Lister<'a> {
    connection: Connection,
    conversation: Conversation,
    /// The file that goes beside the request.
    file: Option<&'a std::fs::File>,
}

impl Host for Lister<'_> {
    type Error = Failure;
    type Time = Instant;

    fn conversation(&mut self) -> Result<&mut Conversation, Failure> {
        Ok(&mut self.conversation)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn send(
        &mut self,
        seq: u32,
        message: &ToEngine<'_>,
        _beside: Beside,
        _until: Instant,
    ) -> Result<(), Failure> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let len = message.encode(seq, &mut bytes).map_err(|_| "too long")?;
        let fds: Vec<_> = self.file.iter().map(AsFd::as_fd).collect();
        let message = bytes.get(..len).unwrap_or_default();
        Ok(self.connection.send(message, &fds)?)
    }

    fn receive(&mut self, into: &mut [u8], until: Instant) -> Result<Option<usize>, Failure> {
        let left = until.saturating_duration_since(Instant::now());
        match self.connection.receive_within(into, left) {
            Ok(received) => Ok(Some(received.len)),
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn main() -> Result<(), Failure> {
    let path = std::env::args_os().nth(1);
    let path = path.ok_or("name the socket of an engine, e.g. /run/udco/engine.sock")?;
    let mut file = udco_sys::process::memory_file("devices")?;
    let mut buffer = vec![0; MAX_MESSAGE];
    let mut lister = Lister {
        connection: Connection::connect(Path::new(&path))?,
        conversation: Conversation::new(Duration::from_secs(3)),
        file: None,
    };
    match client::greet(
        &mut lister,
        std::process::id(),
        b"list_devices",
        &mut buffer,
    )? {
        Greeted::Welcome => {}
        other => return Err(format!("the engine is from another release: {other:?}").into()),
    }
    // The engine writes its state to a file that the client provides.
    let written = file.try_clone()?;
    lister.file = Some(&written);
    match client::request(&mut lister, &ToEngine::Show, &mut buffer)? {
        ToClient::Done { errno: 0, .. } => {}
        _ => return Err(Lost::Nonsense.into()),
    }
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    let state: EngineState<Device<IgnoredAny>> = serde_json::from_str(&text)?;
    for device in &state.devices {
        let (mode, api) = (device.mode.name(), device.api.name());
        println!("{}\t{mode}\t{api}", device.name);
    }
    Ok(())
}
