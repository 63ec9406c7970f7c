//! `udco link`: create, delete and show devices.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use udco_ipc::{ToClient, ToEngine};
use udco_netlink::client::{self, Received, link};
use udco_netlink::{Api, Mode, link_names};

use crate::client::{Client, Driver, NO_DRIVER, Supplies, is_admin};
use crate::engines::{self, EngineOption};
use crate::output::line;
use crate::{interface, left, refusal, rtnetlink, show};

const EOPNOTSUPP: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a device.
    ///
    /// It exists until it is deleted; OpenVPN may use it later (`dev NAME`). If its engine ends, it stays, so that nothing
    /// leaves in the clear; running this command again then takes it over.
    #[command(after_help = "\
Examples:
  udco link add tun0 --mode mp --up
  udco link add tun0 --driver kernel")]
    Add(AddArguments),

    /// Delete a device, with its peers and keys.
    #[command(after_help = "Example: udco link del tun0")]
    Del {
        /// Name of the device.
        #[arg(value_parser = interface::argument)]
        name: String,
        #[command(flatten)]
        engine: EngineOption,
    },

    /// Show devices: kind, mode, peers, counters, drops by reason.
    #[command(after_help = "Example: udco link show tun0 --json")]
    Show {
        /// Name of the device [default: all in this network namespace].
        #[arg(value_parser = interface::argument)]
        name: Option<String>,
        /// Print one JSON object: {"devices": […], "kernel_devices": […]}, each as in `udco show --json` plus "kind" and
        /// "driver".
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        engine: EngineOption,
    },
}

#[derive(Debug, clap::Args)]
struct AddArguments {
    /// Name of the device; tun%d takes the first free number, and the name is printed.
    #[arg(value_parser = interface::argument)]
    name: String,
    /// One peer that gets all traffic, or many distinguished by their VPN addresses.
    #[arg(long, value_enum, default_value_t = ModeName::P2p)]
    mode: ModeName,
    /// What serves the device: an engine, or the kernel's own driver (Linux 6.16, module `ovpn`), which needs no engine.
    #[arg(long, value_enum, default_value_t = DriverName::Udco)]
    driver: DriverName,
    /// Kernel driver to emulate: that of Linux 6.16 and OpenVPN 2.7, or that of OpenVPN 2.6.
    #[arg(long, value_enum, default_value_t = Kind::Ovpn)]
    kind: Kind,
    /// MTU of the device [default: 1416, or 1428 with kind ovpn-dco].
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// Bring the device up.
    #[arg(long)]
    up: bool,
    /// Socket of the engine to create it in [default: engine.sock in /run/udco, or in $XDG_RUNTIME_DIR/udco].
    #[arg(long, value_name = "PATH")]
    engine: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeName {
    P2p,
    Mp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DriverName {
    Udco,
    Kernel,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Ovpn,
    OvpnDco,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Add(arguments) => add(arguments).context("link add"),
        Command::Del { name, engine } => delete(name, engine).context("link del"),
        Command::Show { name, json, engine } => {
            show::links(name.as_deref(), *json, engine.engine.as_deref()).context("link show")
        }
    }
}

fn add(arguments: &AddArguments) -> Result<()> {
    let path = engine(arguments)?;
    let client = path.as_deref().map(Client::connect).transpose()?;
    let request = link::new(
        &link::New {
            api: match arguments.kind {
                Kind::Ovpn => Api::Ovpn,
                Kind::OvpnDco => Api::DcoV2,
            },
            name: &arguments.name,
            mode: match arguments.mode {
                ModeName::P2p => Mode::P2p,
                ModeName::Mp => Mode::Mp,
            },
            mtu: arguments.mtu,
            up: arguments.up,
        },
        1,
    );
    // No channel is opened: the device has no owner and stays.
    let name = match client {
        Some(mut client) => create(&mut client, &arguments.name, &request)?,
        None => create_in_kernel(&arguments.name, request)?,
    };
    if name != arguments.name {
        line!("{name}");
    }
    Ok(())
}

/// The socket of the engine that will have the device; `None` for the kernel's own driver.
fn engine(arguments: &AddArguments) -> Result<Option<PathBuf>> {
    match (arguments.driver, &arguments.engine, arguments.kind) {
        (DriverName::Udco, Some(path), _) => Ok(Some(path.clone())),
        (DriverName::Udco, None, _) => engines::daemon_socket().map(Some),
        (DriverName::Kernel, Some(_), _) => {
            bail!("no engine serves devices of the kernel's driver: omit --engine")
        }
        (DriverName::Kernel, None, Kind::OvpnDco) => {
            bail!("the kernel's own driver supports only kind ovpn: omit --kind")
        }
        (DriverName::Kernel, None, Kind::Ovpn) => Ok(None),
    }
}

/// Requests a device, makes the TUN device that the engine wants, and returns its name.
fn create(client: &mut Client, name: &str, request: &[u8]) -> Result<String> {
    let mut made = None;
    let supplies = Supplies {
        device: Some(&mut made),
        ..Supplies::default()
    };
    let answer = match client.exchange(&route(request), supplies)? {
        ToClient::Answer { datagram } => ended(datagram),
        ToClient::Pass => bail!("the engine already has this device"),
        _ => None,
    };
    match (answer, made) {
        (_, Some(Err(error))) => bail!("{}", device_failure(name, &error)),
        (Some(Ok(())), Some(Ok(device))) => Ok(device.keep()),
        (Some(Ok(())), None) => bail!("the engine already has this device"),
        (Some(Err(words)), _) => bail!("{words}{}", cure(&words, name)),
        (None, _) => bail!("unexpected reply from the engine (version mismatch?)"),
    }
}

/// Requests a device of the kernel's own driver, and returns its name.
fn create_in_kernel(name: &str, request: Vec<u8>) -> Result<String> {
    let reply = rtnetlink::dump(&link::echoed(request)).map_err(|error| {
        let words = refusal::errno_words(error.raw_os_error().unwrap_or(0));
        match error.raw_os_error() {
            // An unknown kind of link.
            Some(EOPNOTSUPP) => anyhow::anyhow!(NO_DRIVER),
            _ => anyhow::anyhow!("{words}{}", cure(&words, name)),
        }
    })?;
    let made = reply.iter().find_map(|message| link_names(message));
    Ok(made.map_or(name, |(made, _)| made).to_owned())
}

fn delete(name: &str, engine: &EngineOption) -> Result<()> {
    let found = engines::with_device(name, engine)?;
    let request = link::delete(found.ifindex, 1);
    let mut client = match found.driver {
        Driver::Engine(client) => client,
        Driver::Kernel => return delete_in_kernel(name, &request),
    };
    match client.request(&route(&request), &[])? {
        // The engine has released the device; the kernel still has the interface.
        ToClient::Pass => delete_in_kernel(name, &request),
        ToClient::Answer { datagram } => match ended(datagram) {
            Some(Err(words)) => bail!(words),
            _ => Ok(()),
        },
        _ => bail!("unexpected reply from the engine (version mismatch?)"),
    }
}

fn delete_in_kernel(name: &str, request: &[u8]) -> Result<()> {
    match rtnetlink::request(request) {
        Err(error) if interface::index(name).is_some() => {
            let words = refusal::errno_words(error.raw_os_error().unwrap_or(0));
            bail!("{words}{}", cure(&words, name))
        }
        _ => Ok(()),
    }
}

fn route(datagram: &[u8]) -> ToEngine<'_> {
    ToEngine::LinkRequest {
        port: std::process::id(),
        admin: is_admin(),
        ext_ack: true,
        cap_ack: true,
        datagram,
    }
}

/// The result of a request, if this message is its end; refusals in words for people.
fn ended(datagram: &[u8]) -> Option<Result<(), String>> {
    let received = client::decode(&[], datagram).into_iter();
    let mut ends = received.filter_map(|(_, received)| match received {
        Received::Ended(end) => Some(end.map_err(|failure| refusal::words(&failure))),
        _ => None,
    });
    ends.next()
}

/// Advice for the most common refusals.
fn cure(words: &str, name: &str) -> String {
    match words {
        "Operation not permitted" => ": this needs CAP_NET_ADMIN".to_owned(),
        "File exists" if left::is_ours(name) => {
            format!(": {name} is there already, and served: `udco show {name}` shows it")
        }
        "File exists" => {
            format!(
                ": there is an interface {name} already, of another program: choose another name"
            )
        }
        _ => String::new(),
    }
}

fn device_failure(name: &str, error: &std::io::Error) -> String {
    let words = refusal::errno_words(error.raw_os_error().unwrap_or(0));
    let cure = match error.kind() {
        std::io::ErrorKind::NotFound => ": /dev/net/tun is missing; load the tun module".to_owned(),
        _ => cure(&words, name),
    };
    format!("cannot create the TUN device: {words}{cure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_driver_takes_neither_an_engine_nor_another_kind() {
        let arguments = |driver, engine: Option<&str>, kind| AddArguments {
            name: "tun0".to_owned(),
            mode: ModeName::P2p,
            driver,
            kind,
            mtu: None,
            up: false,
            engine: engine.map(PathBuf::from),
        };
        let chosen = |driver, path, kind| {
            engine(&arguments(driver, path, kind)).map_err(|error| error.to_string())
        };
        let path = Some("/run/engine.sock");
        let udco = chosen(DriverName::Udco, path, Kind::OvpnDco);
        assert_eq!(udco, Ok(path.map(PathBuf::from)));
        assert_eq!(chosen(DriverName::Kernel, None, Kind::Ovpn), Ok(None));
        let refused = chosen(DriverName::Kernel, path, Kind::Ovpn).unwrap_err();
        assert!(refused.contains("omit --engine"), "{refused}");
        let refused = chosen(DriverName::Kernel, None, Kind::OvpnDco).unwrap_err();
        assert!(refused.contains("omit --kind"), "{refused}");
    }
}
