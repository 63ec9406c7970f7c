//! `udco peer new`: peers that exist as long as this process holds their socket.

use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use udco_netlink::client::Command as Request;
use udco_netlink::{Notification, PeerNew};
use udco_sys::signal::Termination;

use super::list::{self, Peer};
use super::transport::{self, Control, Transport};
use super::{NewArguments, scoped};
use crate::client::{Channel, Driver, Event, wait};
use crate::engines::{self, Found};
use crate::output::NobodyReads;
use crate::{ended, interface, notification};

/// The most peers of which each is named.
const LISTED: usize = 8;

/// The peers of this process.
struct Held<'a> {
    arguments: &'a NewArguments,
    channel: Channel,
    ifindex: u32,
    peers: Vec<u32>,
    /// Sockets, each with its peer if it has only one (TCP).
    transports: Vec<(Option<u32>, Transport)>,
}

/// Adds the peers, and holds their sockets.
pub(super) fn run(arguments: &NewArguments) -> Result<()> {
    let peers = peers(arguments)?;
    // Create nothing for a device that does not exist.
    let device = &arguments.device;
    if interface::index(device).is_none() {
        bail!("there is no interface {device} here: create it with `udco link add {device}`");
    }
    let found = engines::with_device(&arguments.device, &arguments.engine)?;
    let control = match found.driver {
        Driver::Engine(_) => transport::Reading::Relay,
        Driver::Kernel => transport::Reading::Socket,
    };
    let transports = transport::make(&arguments.socket, peers.len(), control)?;
    // After the sockets: SIGINT keeps its default action while waiting for a TCP peer.
    let termination = ended::catch()?;
    let mut held = Held::add(arguments, found, &peers, transports)?;
    held.announce()?;
    held.hold(&termination)
}

fn peers(arguments: &NewArguments) -> Result<Vec<Peer>> {
    let mut peers = match (&arguments.peers, arguments.id) {
        (Some(path), _) => list::read(path)?,
        (None, id) => vec![Peer {
            id: id.unwrap_or_default(),
            tx_id: arguments.tx_id,
            remote: arguments.remote,
            vpn4: arguments.vpn4,
            vpn6: arguments.vpn6,
        }],
    };
    for peer in &mut peers {
        let remote = peer.remote.map(|it| scoped(it, arguments.scope));
        peer.remote = remote
            .transpose()
            .with_context(|| format!("peer {}", peer.id))?;
        match peer.remote {
            Some(remote) if arguments.socket.is_tcp() => bail!(
                "peer {} has the remote {remote}, but over TCP the connection determines it: omit the remote",
                peer.id
            ),
            Some(remote) if !arguments.socket.reaches(remote) => bail!(
                "peer {} at {remote} cannot be reached from an IPv4 socket: give an IPv6 --local, or omit it",
                peer.id
            ),
            _ => {}
        }
    }
    Ok(peers)
}

impl<'a> Held<'a> {
    /// Adds all peers. If one is refused, the earlier ones end with this process.
    fn add(
        arguments: &'a NewArguments,
        found: Found,
        peers: &[Peer],
        mut transports: Vec<Transport>,
    ) -> Result<Self> {
        let mut channel = Channel::open(found.driver, &[found.api])?;
        // First, so as not to miss the end of a peer.
        channel.join()?;
        let is_tcp = arguments.socket.is_tcp();
        for (at, peer) in peers.iter().enumerate() {
            let at = if is_tcp { at } else { 0 };
            let transport = transports.get_mut(at).context("a peer without a socket")?;
            let new = PeerNew {
                tx_id: peer.tx_id,
                remote: peer.remote,
                local: arguments.local_address,
                vpn4: peer.vpn4,
                vpn6: peer.vpn6,
                keepalive: arguments.keepalive,
                ..PeerNew::new(found.api, peer.id, transport.number())
            };
            let request = Request::PeerNew(&new);
            let added = channel.request(found.ifindex, &request, transport.offer());
            added.with_context(|| arguments.device.clone())?;
            transport.handed_over();
        }
        let ids: Vec<u32> = peers.iter().map(|peer| peer.id).collect();
        let owners = ids.iter().map(|id| is_tcp.then_some(*id));
        Ok(Self {
            arguments,
            channel,
            ifindex: found.ifindex,
            transports: owners.zip(transports).collect(),
            peers: ids,
        })
    }

    fn announce(&self) -> Result<()> {
        let device = &self.arguments.device;
        let port = self.transports.first().map_or(0, |(_, it)| it.port());
        let ids: Vec<String> = self.peers.iter().map(u32::to_string).collect();
        let line = match ids.as_slice() {
            [id] => format!(
                "peer {id} on {device}, port {port}: holding its socket; it ends with this process"
            ),
            [first, .., last] if ids.len() > LISTED => format!(
                "{} peers ({first} to {last}) on {device}, port {port}: holding their socket; they end with this process",
                ids.len()
            ),
            _ => format!(
                "peers {} on {device}, port {port}: holding their socket; they end with this process",
                ids.join(" ")
            ),
        };
        let object = json!({
            "event": "peers-added",
            "device": device,
            "ifindex": self.ifindex,
            "peers": self.peers,
            "local_port": port,
        });
        self.print(&line, &object)
    }

    /// Waits until the last peer is gone, or a signal requests the end.
    fn hold(&mut self, termination: &Termination) -> Result<()> {
        let device = self.arguments.device.clone();
        while !self.peers.is_empty() {
            if let Some(signal) = termination.received() {
                let object = json!({ "event": "ended", "device": device, "reason": signal });
                return self.print(&format!("{device}: ended by {signal}"), &object);
            }
            loop {
                match self.channel.receive()? {
                    Event::Notification(notification) => self.notification(&notification)?,
                    Event::Nothing => break,
                    Event::End => bail!("the engine has ended, and its peers with it"),
                }
            }
            self.control()?;
            if !self.peers.is_empty() {
                let mut fds = vec![termination.as_fd(), self.channel.as_fd()];
                fds.extend(self.transports.iter().map(|(_, it)| it.as_fd()));
                wait(&fds, None)?;
            }
        }
        Ok(())
    }

    fn notification(&mut self, notification: &Notification) -> Result<()> {
        if notification::ifindex(notification) != self.ifindex {
            return Ok(());
        }
        let (Notification::PeerDeleted { peer, .. }
        | Notification::PeerFloated { peer, .. }
        | Notification::KeySwap { peer, .. }) = notification;
        if !self.peers.contains(peer) {
            return Ok(());
        }
        if matches!(notification, Notification::PeerDeleted { .. }) {
            self.peers.retain(|other| other != peer);
            // A connection ends with its peer.
            let ended = |(owner, _): &(Option<u32>, Transport)| *owner == Some(*peer);
            if let Some(at) = self.transports.iter().position(ended) {
                self.close(at);
            }
        }
        let device = &self.arguments.device;
        self.print(
            &notification::line(device, notification, None),
            &notification::object(device, notification, None),
        )
    }

    /// Receives the control packets that OpenVPN would get.
    fn control(&mut self) -> Result<()> {
        let mut at = 0;
        while let Some((_, transport)) = self.transports.get_mut(at) {
            match transport.control() {
                Ok(Some(control)) if self.arguments.print_control => {
                    self.print_control(&control)?
                }
                Ok(Some(_)) => {}
                Ok(None) => at += 1,
                // The connection has ended, or the engine has released the socket. The channel reports the end of its
                // peers.
                Err(_) => self.close(at),
            }
        }
        Ok(())
    }

    /// Closes a socket, here and in an engine.
    fn close(&mut self, at: usize) {
        let (_, transport) = self.transports.remove(at);
        // If the engine is gone, the channel reports it next.
        let _ = self.channel.close_socket(transport.number().cast_signed());
    }

    fn print_control(&self, control: &Control) -> Result<()> {
        let source = control.source.map(|it| it.to_string());
        let first = control.first.unwrap_or(0);
        let line = format!(
            "control packet from {}: {} bytes, the first is 0x{first:02x}",
            source.as_deref().unwrap_or("the TCP connection"),
            control.length
        );
        let object = json!({
            "event": "control-packet",
            "device": self.arguments.device,
            "source": source,
            "length": control.length,
            "first_byte": first,
        });
        self.print(&line, &object)
    }

    fn print(&self, line: &str, object: &Value) -> Result<()> {
        // The peers must not end with the reader of their events (faults B1).
        match notification::print(self.arguments.json, line, object) {
            Err(error) if error.is::<NobodyReads>() => Ok(()),
            printed => printed,
        }
    }
}
