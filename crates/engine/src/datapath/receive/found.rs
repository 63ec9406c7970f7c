//! What a capture shows of a received packet.

use std::sync::Arc;

use udco_core::inbound::Origin;
use udco_core::wire::{Datagram, OVERHEAD, classify};
use udco_core::{DropReason, PeerId, View};
use udco_crypto::DirectionKey;
use udco_ipc::capture::{Ends, Way};

use crate::device::capture::{Recorder, Seen};
use crate::device::transport::Transport;
use crate::io::Io;

/// Bytes of a datagram that tell what it is, and whose (dco-behaviour 1.1).
const IDENTITY: usize = 4;

/// Whose a received packet is.
pub(super) struct Found {
    peer: Option<PeerId>,
    ends: Option<Ends>,
}

/// Shows a capture a datagram, or the coalesced ones of this length, as they came.
#[cold]
pub(super) fn record<I: Io>(
    recorder: &Recorder,
    view: &View<'_, DirectionKey, Arc<Transport<I>>>,
    (bytes, segment): (&[u8], Option<usize>),
    origin: Origin,
    transport: &Transport<I>,
) {
    let each = segment.unwrap_or(bytes.len()).max(1);
    let mut rest = bytes;
    while let Some(first) = rest.chunks(each).next() {
        // They may be of several peers behind one address.
        let like = |datagram: &&[u8]| datagram.get(..IDENTITY) == first.get(..IDENTITY);
        let count = rest.chunks(each).take_while(like).count();
        let run;
        (run, rest) = rest.split_at(rest.len().min(count * each));
        let seen = Found::of(view, first, origin, transport).outer(run);
        recorder.run(&seen.run(first.len(), 0), None);
    }
}

impl Found {
    /// By a datagram's header, which stays when it is opened in place.
    #[cold]
    pub(super) fn of<I: Io>(
        view: &View<'_, DirectionKey, Arc<Transport<I>>>,
        datagram: &[u8],
        origin: Origin,
        transport: &Transport<I>,
    ) -> Self {
        let peer = match classify(datagram) {
            Ok(Datagram::Data { peer_id, .. }) if peer_id != PeerId::UNDEFINED => {
                view.by_id(peer_id)
            }
            _ => view.peers.by_remote(origin.remote),
        };
        Self {
            peer: peer.map(|peer| peer.id),
            ends: Some(transport.ends(origin.remote, origin.local)),
        }
    }

    /// That of the peer whose stream it is.
    pub(super) fn of_stream<I: Io>(peer: Option<PeerId>, transport: &Transport<I>) -> Self {
        let remote = transport.stream_remote();
        Self {
            peer,
            ends: remote.map(|remote| transport.ends(remote, None)),
        }
    }

    /// The packet as it came.
    pub(super) fn outer<'a>(&self, datagram: &'a [u8]) -> Seen<'a> {
        Seen::outer(Way::OuterIn, self.peer, self.ends, datagram)
    }

    /// A dropped datagram, as it lies in its buffer: opened in place if its tag was right.
    pub(super) fn dropped<'a>(&self, reason: DropReason, datagram: &'a [u8]) -> Seen<'a> {
        match reason {
            DropReason::RxReplay
            | DropReason::RxTooOld
            | DropReason::RxNotIp
            | DropReason::RxSpoofedSource
            | DropReason::RxLinkLocal
            | DropReason::RxTunRefused => {
                let packet = datagram.get(OVERHEAD..).unwrap_or_default();
                Seen::inner(Way::InnerIn, self.peer, packet)
            }
            // What the cipher has left behind the header is of no use.
            DropReason::RxBadTag => Seen {
                bytes: datagram.get(..OVERHEAD).unwrap_or(datagram),
                ..self.outer(datagram)
            },
            _ => self.outer(datagram),
        }
    }
}
