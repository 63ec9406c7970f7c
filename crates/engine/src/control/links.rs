//! A client's link requests: how a device is created, deleted and shown.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use udco_core::Mode;
use udco_ipc::{ALIAS, NO_MEMORY, ToClient, ToEngine, Wanted, message_id};
use udco_netlink::{
    Api, Errno, LinkNew, LinkRequest, LinkTarget, Messages, Requester, acknowledgement,
    link_request, link_view, marked_link, message_link, refusal,
};
use udco_sys::Netns;
use udco_sys::memory::no_room_for;

use crate::control::memory;
use crate::control::proof;
use crate::control::session::{Session, decode, malformed};
use crate::device::Device;
use crate::device::peer::in_api;

/// An errno, 0 for success, and the text of the extended ACK.
type Outcome = (Errno, Option<&'static str>);

/// How long a session may take to end after its client was killed.
const LETTING_GO: Duration = Duration::from_millis(200);

/// The kernel's queues of a device with one peer: one for bulk flows, and one for sparse flows (see
/// [`udco_core::sparse`]). A device with many peers has none for sparse flows: it would cost more than it brings.
const PAIR: u16 = 2;

/// The name pattern that the kernel would use.
const ANY_NAME: &str = "ovpn%d";

impl Session {
    /// A datagram sent to rtnetlink about a link.
    pub(crate) fn route(
        &mut self,
        seq: u32,
        requester: &Requester,
        datagram: &[u8],
    ) -> io::Result<()> {
        let Some(message) = Messages::of(datagram).next() else {
            return self.send(seq, ToClient::Pass);
        };
        match link_request(requester, message) {
            LinkRequest::New(link) => match self.new_link(seq, &link)? {
                None => self.send(seq, ToClient::Pass),
                Some((Errno(0), _)) => {
                    let datagram = &acknowledgement(requester, message);
                    self.send(seq, ToClient::Answer { datagram })
                }
                Some((errno, text)) => {
                    let datagram = &refusal(requester, message, errno, text);
                    self.send(seq, ToClient::Answer { datagram })
                }
            },
            LinkRequest::SetMtu(target, mtu) => match self.mtu_refusal(target, mtu) {
                None => self.send(seq, ToClient::Pass),
                Some(text) => {
                    let datagram = &refusal(requester, message, Errno::EINVAL, Some(text));
                    self.send(seq, ToClient::Answer { datagram })
                }
            },
            LinkRequest::Delete(target) => {
                let Some(device) = self.engine.registry().find_link(&self.client, target) else {
                    if !self.end_away() {
                        return self.send(seq, ToClient::Pass);
                    }
                    // It has the name of the client's device, but is another one.
                    let datagram = &acknowledgement(requester, message);
                    return self.send(seq, ToClient::Answer { datagram });
                };
                if !requester.admin {
                    // The kernel refuses it.
                    let session = self.client.id;
                    self.engine.registry().wants_end(&device, session);
                    return self.send(seq, ToClient::Pass);
                }
                if self.engine.registry().is_lent_to(&device, self.client.id) {
                    // It existed before the client, and stays.
                    self.engine.registry().release(&device);
                    let datagram = &acknowledgement(requester, message);
                    return self.send(seq, ToClient::Answer { datagram });
                }
                // Our device first, so that clients are notified of the peers' end before the kernel deletes the
                // interface.
                self.engine.remove_device(&device);
                self.send(seq, ToClient::Pass)
            }
            LinkRequest::Refused(answer) => self.send(seq, ToClient::Answer { datagram: &answer }),
            _ => self.send(seq, ToClient::Pass),
        }
    }

    /// Shows a kernel link message in the driver's form if the link is ours: any client's device in the same network
    /// namespace, so that `ip link` sees what OpenVPN sees.
    pub(crate) fn show_link(&mut self, seq: u32, netns: Netns, message: &[u8]) -> io::Result<()> {
        // The kernel has numbered the client's namespace (faults D1). The message may be about a link in another one.
        let is_here = netns.may_be(self.client.netns);
        let ifindex = message_link(message).filter(|_| is_here);
        let device =
            ifindex.and_then(|ifindex| self.engine.registry().shown(&self.client, ifindex));
        let view = match (device, marked_link(message, ALIAS)) {
            (Some(device), _) => link_view(message, device.api, in_api(device.mode)),
            // Another engine's device, possibly left behind. OpenVPN looks before it creates a device, and does without
            // offload if it finds a plain TUN device.
            (None, Some(api)) => link_view(message, api, udco_netlink::Mode::P2p),
            (None, None) => message.to_vec(),
        };
        self.send(seq, ToClient::Answer { datagram: &view })
    }

    /// Whether the client has an interface with this index, of any kind.
    pub(crate) fn is_link(&mut self, seq: u32, ifindex: u32) -> bool {
        if self.send(seq, ToClient::NeedLink { ifindex }).is_err() {
            return false;
        }
        let reply = self.reply(seq);
        let reply = reply.as_ref().and_then(|(reply, _)| decode(reply).ok());
        matches!(reply, Some(ToEngine::Link { exists: true }))
    }

    /// Why a device of ours cannot have this MTU: the TUN device below would accept a larger one.
    fn mtu_refusal(&self, target: LinkTarget<'_>, mtu: u32) -> Option<&'static str> {
        let device = self.engine.registry().find_link(&self.client, target)?;
        device.api.mtu_refusal(mtu)
    }

    /// RTM_NEWLINK of one of our kinds; `None` leaves it to the kernel (dco-behaviour 2.15).
    fn new_link(&mut self, seq: u32, link: &LinkNew<'_>) -> io::Result<Option<Outcome>> {
        let mtu = link.mtu.unwrap_or_else(|| link.api.default_mtu());
        let mode = match link.mode {
            udco_netlink::Mode::P2p => Mode::P2p,
            udco_netlink::Mode::Mp => Mode::Mp,
        };
        if link.create {
            self.end_away();
        }
        let known = self.known(link);
        let refused = match &known {
            // Better than the driver: OpenVPN can use a device that was created beforehand.
            Some(device) if link.create && self.take_over(device, link.api, mode) => {
                return Ok(Some((Errno(0), None)));
            }
            Some(_) if link.exclusive => (Errno::EEXIST, None),
            Some(_) if link.replace || link.has_data => (Errno::EOPNOTSUPP, None),
            // The kernel handles flags, name and an MTU within bounds.
            Some(device) => match link.mtu.and_then(|mtu| device.api.mtu_refusal(mtu)) {
                Some(text) => return Ok(Some((Errno::EINVAL, Some(text)))),
                None => return Ok(None),
            },
            None if !link.create => (Errno::ENODEV, None),
            None => (Errno(0), None),
        };
        if refused.0 != Errno(0) {
            return Ok(Some(refused));
        }
        if let Some(text) = link.api.mtu_refusal(mtu) {
            return Ok(Some((Errno::EINVAL, Some(text))));
        }
        let name = link.target.name.filter(|name| !name.is_empty());
        let nonce = proof::nonce()?;
        let wanted = self.engine.workers().queues(mode);
        let queues = u16::try_from(wanted).unwrap_or(1);
        // An OpenVPN that is refused ends, and what was its last device's may do.
        let again = |error| match self.resources.serves_devices() {
            true => memory::for_device_again().map(|room| (1, room)),
            false => Err(error),
        };
        // Nothing stays promised while the client makes the device: it may take a minute, and not do it.
        let queues = match memory::for_device(queues).or_else(again) {
            Ok((fewer, _room)) => {
                if fewer < queues {
                    let (program, more) = (&self.name, no_room_for("more"));
                    self.account.line(|| {
                        tracing::warn!(
                            message_id = message_id::FEW_THREADS,
                            program,
                            "{program}: a device with {fewer} queues instead of {queues}: {more}"
                        );
                    });
                }
                fewer
            }
            Err(error) => {
                let program = &self.name;
                self.account
                    .line(|| tracing::error!(program, "{program}: {error}"));
                return Ok(Some((Errno::ENOMEM, Some(NO_MEMORY))));
            }
        };
        let need = ToClient::NeedTun(Wanted {
            queues: match mode {
                Mode::P2p => PAIR,
                Mode::Mp => queues,
            },
            mtu,
            multicast: link.api == Api::DcoV2,
            up: link.up,
            nonce,
            name: name.unwrap_or(ANY_NAME).as_bytes(),
        });
        self.send(seq, need)?;
        let errno = self.new_device(seq, (link.api, mode), nonce)?;
        Ok(Some((errno, None)))
    }

    /// Ends the client's device that was moved to another network namespace: like a plain TUN device, it disappears
    /// there when it is closed. The client no longer sees it, and wants to delete it or to create another one (faults
    /// A7).
    fn end_away(&self) -> bool {
        let away = self.engine.registry().away(self.client.id);
        let is_any = !away.is_empty();
        for device in away {
            if self.engine.registry().is_lent_to(&device, self.client.id) {
                self.engine.registry().release(&device);
                continue;
            }
            device.interface.let_go();
            self.engine.remove_device(&device);
            let last = Arc::downgrade(&device);
            drop(device);
            // When this returns, the name is free there.
            let deadline = Instant::now() + LETTING_GO;
            while last.strong_count() > 0 && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        is_any
    }

    /// The device that the request names. A device whose client was killed a moment ago is gone once its session ends.
    fn known(&self, link: &LinkNew<'_>) -> Option<Arc<Device>> {
        let devices = self.engine.registry();
        let deadline = Instant::now() + LETTING_GO;
        loop {
            let known = devices.find_link(&self.client, link.target)?;
            let may_go = link.create && devices.is_owned_by_another(&known, self.client.id);
            if !may_go || Instant::now() >= deadline {
                return Some(known);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes over the TUN device that the client was asked to make.
    fn new_device(&mut self, seq: u32, (api, mode): (Api, Mode), nonce: u64) -> io::Result<Errno> {
        let Some((reply, fds)) = self.reply(seq) else {
            return Ok(Errno::EBUSY);
        };
        let ToEngine::Tun { errno, ifindex, .. } = decode(&reply)? else {
            return Err(malformed("no reply about the TUN device"));
        };
        let errno = if errno != 0 {
            Errno(errno.saturating_abs())
        } else if let Err(error) = self.adopt_device((ifindex, nonce), (api, mode), fds) {
            let program = &self.name;
            self.account.line(|| {
                tracing::error!(
                    program,
                    "{program}: cannot take over the TUN device: {error}"
                );
            });
            error.raw_os_error().map_or(Errno::EINVAL, Errno)
        } else {
            Errno(0)
        };
        Ok(match errno {
            // OpenVPN would read EEXIST as a device that it can use, and carry on without one (faults A5).
            Errno::EEXIST if self.resources.serves_devices() => {
                let program = &self.name;
                self.account.line(|| {
                    tracing::warn!(
                        message_id = message_id::INTERFACE_EXISTS,
                        program,
                        "{program}: there is an interface of this name already: is the tunnel running, or is it another \
                         program's? (`ip -d link`)"
                    );
                });
                Errno::EBUSY
            }
            errno => errno,
        })
    }
}
