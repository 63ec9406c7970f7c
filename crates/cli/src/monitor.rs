//! `udco monitor`: prints events of peers as they happen, with their time.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use udco_netlink::{Api, Notification};
use udco_state::KernelDevice;

use crate::client::{Channel, Client, Driver, Event, wait};
use crate::output::{self, NobodyReads};
use crate::state::{self, EngineState};
use crate::{engines, interface, kernel, notification, runtime_dir};

/// How often to look for new engines and devices.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Show events of this device only [default: all in this network namespace].
    #[arg(value_parser = interface::argument)]
    device: Option<String>,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    /// Listen to the engine on this socket only [default: all engines and the kernel's own driver, including those that
    /// come later].
    #[arg(long, value_name = "PATH")]
    engine: Option<PathBuf>,
}

/// Something whose events are received.
struct Listened {
    source: Source,
    channel: Channel,
}

/// Where events come from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// The engine with this socket.
    Engine(PathBuf),
    /// The kernel's own driver, as long as it has a device here: asking for its family without one would load the
    /// module.
    Kernel,
}

/// Prints the events.
struct Output<'a> {
    arguments: &'a Arguments,
    /// Names of devices: the interface may be gone when its notification arrives.
    names: HashMap<u32, String>,
}

/// Prints until the last engine has ended, and the kernel's own driver has no device here.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (engines, failures) = match &arguments.engine {
        Some(path) => (vec![(path.clone(), Client::connect(path)?)], Vec::new()),
        None => engines::all(),
    };
    engines::complain(&failures);
    let mut devices = match &arguments.engine {
        Some(_) => Vec::new(),
        None => kernel::links(),
    };
    if engines.is_empty() && devices.is_empty() {
        bail!(match failures.is_empty() {
            true => engines::NO_ENGINE,
            false => "no engine answers",
        });
    }
    let mut output = Output {
        arguments,
        names: HashMap::new(),
    };
    let mut listened = Vec::new();
    for (path, client) in engines {
        listened.push(output.listen(path, client)?);
    }
    if !devices.is_empty() {
        listened.push(output.listen_to_kernel(&devices)?);
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
            let known: Vec<_> = listened.iter().map(|it| it.source.clone()).collect();
            let new = runtime_dir::sockets().into_iter();
            for path in new.filter(|path| !known.contains(&Source::Engine(path.clone()))) {
                // One that does not answer is not an engine, or is about to end.
                if let Ok(client) = Client::connect(&path) {
                    listened.extend(output.listen(path, client));
                }
            }
            devices = kernel::links();
            match listened.iter().position(|it| it.source == Source::Kernel) {
                None if !devices.is_empty() => listened.extend(output.listen_to_kernel(&devices)),
                Some(at) if devices.is_empty() => {
                    let mut gone = listened.remove(at);
                    output.drain(&mut gone)?;
                    output.end(&gone)?;
                }
                _ => output.learn_kernel_names(&devices),
            }
        }
    }
    Ok(())
}

impl Output<'_> {
    fn listen(&mut self, path: PathBuf, mut client: Client) -> Result<Listened> {
        self.learn_names(&state::read(&client.state()?)?);
        let mut channel = Channel::open(Driver::Engine(client), &[Api::Ovpn, Api::DcoV2])?;
        channel.join()?;
        let object = json!({ "event": "listening", "engine": path });
        let line = format!("listening to the engine at {}", path.display());
        self.print(&line, object)?;
        Ok(Listened {
            source: Source::Engine(path),
            channel,
        })
    }

    fn listen_to_kernel(&mut self, devices: &[KernelDevice]) -> Result<Listened> {
        self.learn_kernel_names(devices);
        let mut channel = Channel::open(Driver::Kernel, &[Api::Ovpn])?;
        channel.join()?;
        let object = json!({ "event": "listening", "driver": "kernel" });
        self.print("listening to the kernel's driver", object)?;
        Ok(Listened {
            source: Source::Kernel,
            channel,
        })
    }

    /// Remembers the names of the devices of the kernel's driver.
    fn learn_kernel_names(&mut self, devices: &[KernelDevice]) {
        for device in devices {
            self.names.insert(device.ifindex, device.name.clone());
        }
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
            notification::object(&name, notification),
        )
    }

    fn end(&self, engine: &Listened) -> Result<()> {
        let (line, object) = match &engine.source {
            Source::Engine(path) => (
                format!("the engine at {} has ended", path.display()),
                json!({ "event": "engine-ended", "engine": path }),
            ),
            Source::Kernel => (
                "the kernel's driver has no device left here".to_owned(),
                json!({ "event": "devices-gone", "driver": "kernel" }),
            ),
        };
        self.print(&line, object)
    }

    fn print(&self, line: &str, mut object: Value) -> Result<()> {
        let time = udco_sys::lines::utc_now();
        let line = format!("{time} {line}");
        object["time"] = time.into();
        notification::print(self.arguments.json, &line, &object)
    }
}
