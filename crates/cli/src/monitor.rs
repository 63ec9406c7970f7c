//! `udco monitor`: prints events of peers as they happen.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use udco_netlink::{Api, Notification};

use crate::client::{Channel, Client, Event, wait};
use crate::output::{self, NobodyReads};
use crate::state::{self, EngineState};
use crate::{engines, interface, notification, runtime_dir};

/// How often to look for new engines.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Show events of this device only [default: all in this network namespace].
    device: Option<String>,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    /// Listen to the engine on this socket only [default: all engines, including those started later].
    #[arg(long, value_name = "PATH")]
    engine: Option<PathBuf>,
}

/// An engine whose events are received.
struct Listened {
    path: PathBuf,
    channel: Channel,
}

/// Prints the events.
struct Output<'a> {
    arguments: &'a Arguments,
    /// Names of devices: the interface may be gone when its notification arrives.
    names: HashMap<u32, String>,
}

/// Prints until the last engine has ended.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (engines, failures) = match &arguments.engine {
        Some(path) => (vec![(path.clone(), Client::connect(path)?)], Vec::new()),
        None => engines::all(),
    };
    engines::complain(&failures);
    if engines.is_empty() {
        bail!(engines::NO_ENGINE);
    }
    let mut output = Output {
        arguments,
        names: HashMap::new(),
    };
    let mut listened = Vec::new();
    for (path, client) in engines {
        listened.push(output.listen(path, client)?);
    }
    while !listened.is_empty() {
        let fds: Vec<_> = listened.iter().map(|it| it.channel.as_fd()).collect();
        wait(&fds, Some(LOOK))?;
        if output::is_abandoned() {
            return Err(NobodyReads.into());
        }
        let mut ended = Vec::new();
        for (at, engine) in listened.iter_mut().enumerate() {
            if output.drain(engine)? {
                ended.push(at);
            }
        }
        for at in ended.into_iter().rev() {
            output.end(&listened.remove(at))?;
        }
        if arguments.engine.is_none() {
            let known: Vec<_> = listened.iter().map(|it| it.path.clone()).collect();
            let new = runtime_dir::sockets().into_iter();
            for path in new.filter(|path| !known.contains(path)) {
                // One that does not answer is not an engine, or is about to end.
                if let Ok(client) = Client::connect(&path) {
                    listened.extend(output.listen(path, client));
                }
            }
        }
    }
    Ok(())
}

impl Output<'_> {
    fn listen(&mut self, path: PathBuf, mut client: Client) -> Result<Listened> {
        self.learn_names(&state::read(&client.state()?)?);
        let mut channel = Channel::open(client, &[Api::Ovpn, Api::DcoV2])?;
        channel.join()?;
        let object = json!({ "event": "listening", "engine": path });
        let line = format!("listening to the engine at {}", path.display());
        self.print(&line, &object)?;
        Ok(Listened { path, channel })
    }

    /// Remembers an engine's devices in this namespace.
    fn learn_names(&mut self, state: &EngineState<'_>) {
        for device in &state.devices {
            if let Some(name) = interface::name(device.ifindex) {
                self.names.insert(device.ifindex, name);
            }
        }
    }

    /// Prints all pending events; returns whether the engine has ended.
    fn drain(&mut self, engine: &mut Listened) -> Result<bool> {
        loop {
            match engine.channel.receive()? {
                Event::Notification(notification) => self.notification(&notification)?,
                Event::Nothing => return Ok(false),
                Event::End => return Ok(true),
            }
        }
    }

    fn notification(&mut self, notification: &Notification) -> Result<()> {
        let ifindex = notification::ifindex(notification);
        if let Some(name) = interface::name(ifindex) {
            self.names.insert(ifindex, name);
        }
        let name = self.names.get(&ifindex).cloned();
        let name = name.unwrap_or_else(|| format!("if{ifindex}"));
        if self.arguments.device.as_ref().is_some_and(|it| *it != name) {
            return Ok(());
        }
        self.print(
            &notification::line(&name, notification),
            &notification::object(&name, notification),
        )
    }

    fn end(&self, engine: &Listened) -> Result<()> {
        let object = json!({ "event": "engine-ended", "engine": engine.path });
        let line = format!("the engine at {} has ended", engine.path.display());
        self.print(&line, &object)
    }

    fn print(&self, line: &str, object: &Value) -> Result<()> {
        notification::print(self.arguments.json, line, object)
    }
}
