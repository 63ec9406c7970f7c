//! `udco monitor`: prints events of peers as they happen, with their time.

mod remembered;

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use udco_netlink::{Api, Notification};
use udco_state::KernelDevice;

use self::remembered::{Remembered, Whose};
use crate::client::{Channel, Client, Driver, Event, wait};
use crate::notification::Who;
use crate::output::{self, NobodyReads};
use crate::state::{self, EngineState};
use crate::survey::{self, Survey};
use crate::{common_names, engines, interface, kernel, notification, runtime_dir};

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
    peers: Remembered,
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
            engine.look(&devices);
            let has_ended = output.drain(engine)?;
            engine.peers.settle();
            if has_ended {
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

impl Listened {
    fn new(source: Source, channel: Channel, devices: &[KernelDevice]) -> Self {
        let mut listened = Self {
            source,
            channel,
            peers: Remembered::default(),
        };
        // Whoever goes in the first second has a name, too.
        listened.look(devices);
        listened.peers.settle();
        listened
    }

    /// Looks who the peers are, if it is time.
    fn look(&mut self, devices: &[KernelDevice]) {
        let begin = Instant::now();
        if !self.peers.is_due(begin) {
            return;
        }
        let found = match &self.source {
            Source::Engine(path) => peers_of_engine(path),
            Source::Kernel => Ok(peers_of_kernel(devices)),
        };
        self.peers.looked(begin, Instant::now(), found.ok());
    }

    /// Whom a notification is about.
    fn who(&mut self, notification: &Notification) -> Option<Who> {
        match notification {
            Notification::PeerDeleted { ifindex, peer, .. } => self.peers.take((*ifindex, *peer)),
            Notification::PeerFloated {
                ifindex,
                peer,
                remote,
            } => {
                self.peers.moved((*ifindex, *peer), *remote);
                None
            }
            Notification::KeySwap { .. } => None,
        }
    }
}

/// The peers of an engine's devices in this network namespace, with the names that status files have.
fn peers_of_engine(path: &Path) -> Result<Vec<(Whose, Who)>> {
    let (texts, silent) = survey::states(Some(path))?;
    let mut survey = Survey::of(&texts, silent, true, false)?;
    common_names::add(&mut survey)?;
    let mut found = Vec::new();
    let devices = survey.engines.iter().flat_map(|it| &it.state.devices);
    for device in devices.filter(|device| state::is_here(device)) {
        for peer in state::peers(device)? {
            let who = Who {
                common_name: device.common_names.get(&peer.id).cloned(),
                remote: peer.remote,
                vpn4: peer.vpn4,
                vpn6: peer.vpn6,
            };
            found.push(((device.ifindex, peer.id), who));
        }
    }
    Ok(found)
}

/// Those of the kernel's devices, which have no names.
fn peers_of_kernel(devices: &[KernelDevice]) -> Vec<(Whose, Who)> {
    let indexes = devices.iter().map(|it| it.ifindex);
    let peers = indexes.flat_map(|ifindex| {
        let peers = kernel::peers_without_keys(ifindex).unwrap_or_default();
        peers.into_iter().map(move |peer| {
            let who = Who {
                common_name: None,
                remote: peer.remote,
                vpn4: peer.vpn4,
                vpn6: peer.vpn6,
            };
            ((ifindex, peer.id), who)
        })
    });
    peers.collect()
}

impl Output<'_> {
    fn listen(&mut self, path: PathBuf, mut client: Client) -> Result<Listened> {
        let text = client.state()?;
        self.learn_names(&state::read(&text)?);
        let mut channel = Channel::open(Driver::Engine(client), &[Api::Ovpn, Api::DcoV2])?;
        channel.join()?;
        let object = json!({ "event": "listening", "engine": path });
        let line = format!("listening to the engine at {}", path.display());
        let listened = Listened::new(Source::Engine(path), channel, &[]);
        self.print(&line, object)?;
        Ok(listened)
    }

    fn listen_to_kernel(&mut self, devices: &[KernelDevice]) -> Result<Listened> {
        self.learn_kernel_names(devices);
        let mut channel = Channel::open(Driver::Kernel, &[Api::Ovpn])?;
        channel.join()?;
        let object = json!({ "event": "listening", "driver": "kernel" });
        let listened = Listened::new(Source::Kernel, channel, devices);
        self.print("listening to the kernel's driver", object)?;
        Ok(listened)
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
                Event::Notification(notification) => {
                    let who = engine.who(&notification);
                    self.notification(&notification, who.as_ref())?;
                }
                Event::Nothing => return Ok(false),
                Event::End => return Ok(true),
            }
        }
    }

    fn notification(&mut self, notification: &Notification, who: Option<&Who>) -> Result<()> {
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
            &notification::line(&name, notification, who),
            notification::object(&name, notification, who),
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
