//! Common names of clients, from the status files that OpenVPN servers write (`--status`).
//!
//! A status file names no device. A client in it is the peer that has its VPN address, and its peer id where the file
//! tells that. Whoever owns a file can write any name into it, so only root's files are believed, and those of the user
//! who created the device.

mod status;

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use udco_options::{program, read};
use udco_state::{Mode, Peer};

use crate::openvpns::{self, Process, of};
use crate::regular;
use crate::state;
use crate::survey::Survey;

/// The largest file to read, in bytes: 20,000 clients take half of it.
const MAX_FILE: u64 = 8 << 20;

/// How much to read in all: any user may run very many programs with OpenVPN's name.
const MAX_BYTES: u64 = 64 << 20;

/// A client in a status file.
#[derive(Debug)]
struct Named {
    /// The file's owner.
    owner: u32,
    /// Its peer id, if the file tells it.
    peer: Option<u32>,
    common_name: String,
}

/// Clients by their VPN addresses.
type Names = HashMap<IpAddr, Vec<Named>>;

/// Adds the common names of the peers of each device here, as far as status files tell them.
///
/// # Errors
/// If an engine's peers cannot be read.
pub(crate) fn add(survey: &mut Survey<'_>) -> Result<()> {
    let devices = survey.engines.iter().flat_map(|it| &it.state.devices);
    let mut servers = devices.filter(|it| it.mode == Mode::Mp && state::is_here(it));
    if servers.next().is_none() {
        return Ok(());
    }
    let mut names = Names::new();
    let files = Files::default();
    for process in openvpns::here() {
        let status = status_file(&process, &files);
        if let Some((owner, text)) = status.and_then(|path| files.read(&path)) {
            for client in status::clients(&text) {
                let named = Named {
                    owner,
                    peer: client.peer,
                    common_name: client.common_name.to_owned(),
                };
                names.entry(client.vpn).or_default().push(named);
            }
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    let devices = survey
        .engines
        .iter_mut()
        .flat_map(|it| &mut it.state.devices);
    for device in devices.filter(|device| state::is_here(device)) {
        for peer in state::peers(device)? {
            if let Some(name) = common_name(&names, &peer, device.owner) {
                device.common_names.insert(peer.id, name.to_owned());
            }
        }
    }
    Ok(())
}

/// The name of a peer of a device that this user has created; none if files disagree.
fn common_name<'n>(names: &'n Names, peer: &Peer, owner: u32) -> Option<&'n str> {
    let vpn4 = peer.vpn4.map(IpAddr::V4);
    let vpn6 = peer.vpn6.map(IpAddr::V6);
    let of_addresses = vpn4.into_iter().chain(vpn6);
    let named = of_addresses.flat_map(|address| names.get(&address).into_iter().flatten());
    let is_meant = |named: &&Named| {
        (named.owner == 0 || named.owner == owner) && named.peer.is_none_or(|id| id == peer.id)
    };
    let mut found = named
        .filter(is_meant)
        .map(|named| named.common_name.as_str());
    let first = found.next()?;
    found.all(|other| other == first).then_some(first)
}

/// The status file that an OpenVPN's options name.
fn status_file(process: &Process, files: &Files) -> Option<PathBuf> {
    let root = root(process.pid)?;
    let openvpn = program::find(&process.words)?;
    let start = fs::read_link(of(process.pid, "cwd")).ok()?;
    let below = |path: &Path| match path.strip_prefix("/") {
        Ok(relative) => root.join(relative),
        Err(_) => root.join(path),
    };
    let reading = read(
        openvpn.arguments,
        &start.join(&openvpn.directory),
        |path| match files.read(&below(path)) {
            Some((_, text)) => Ok(text.into_bytes()),
            None => Err("cannot be read".to_owned()),
        },
    );
    let mut settings = reading.settings.iter().rev();
    let status = settings.find(|setting| setting.name == "status")?;
    Some(below(&reading.directory.join(status.argument(0)?)))
}

/// Where the files of a process are: of a container below its own root. `--chroot` does not count, as OpenVPN opens its
/// status file before.
fn root(pid: u32) -> Option<PathBuf> {
    let own = fs::read_link("/proc/self/ns/mnt").ok()?;
    let there = fs::read_link(of(pid, "ns/mnt")).ok()?;
    match own == there {
        true => Some("/".into()),
        false => Some(of(pid, "root")),
    }
}

/// Files, of which not more than [`MAX_BYTES`] are read.
#[derive(Debug, Default)]
struct Files {
    read: Cell<u64>,
}

impl Files {
    /// A regular file's owner and text. Nothing else is opened: any user may run a program that names a device.
    fn read(&self, path: &Path) -> Option<(u32, String)> {
        let file = regular::open(path).ok()?;
        let metadata = file.metadata().ok()?;
        let most = MAX_FILE.min(MAX_BYTES - self.read.get());
        let mut bytes = Vec::new();
        let read = file.take(most).read_to_end(&mut bytes).ok()?;
        self.read.set(self.read.get() + read as u64);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Some((metadata.uid(), text))
    }
}

#[cfg(test)]
mod tests;
