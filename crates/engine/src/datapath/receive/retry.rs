//! Packets that came before their key.

use std::sync::Arc;

use udco_core::DropReason;
use udco_core::inbound::{self, Inbound};

use super::found::Found;
use super::stream::owner;
use super::{Receiver, finish};
use crate::device::Device;
use crate::device::transport::Transport;
use crate::io::{Io, Moment};

impl<I: Io> Receiver<I> {
    /// Tries them again; those whose time is over are dropped.
    pub(crate) fn retry(&mut self, device: &Device<I>, transport: &Arc<Transport<I>>, at: Moment) {
        if self.early_data.is_empty() {
            return;
        }
        let snapshot = device.snapshot();
        let view = snapshot.view(device.mode);
        let now = at.time();
        self.recorder.begin(&device.interface.tap, at);
        for _ in 0..self.early_data.len() {
            let Some(mut early) = self.early_data.pop() else {
                break;
            };
            if !early.is_from(transport) {
                self.early_data.push(early);
                continue;
            }
            let is_over = early.is_over(now);
            let peer = transport
                .as_stream()
                .and_then(|stream| owner(&view, transport, stream));
            let found = match early.origin {
                Some(origin) => Found::of(&view, early.packet(), origin, transport),
                None => Found::of_stream(peer.map(|peer| peer.id), transport),
            };
            let tried = match (early.origin, peer) {
                (Some(origin), _) => inbound::receive_again(&view, early.packet(), origin, now),
                (None, Some(peer)) => {
                    inbound::receive_stream_again(&view, peer, early.packet(), now)
                }
                (None, None) => Inbound::Dropped {
                    reason: DropReason::RxNoPeer,
                    floated: None,
                },
            };
            match tried {
                Inbound::Dropped {
                    reason: DropReason::RxUnknownKeyId,
                    ..
                } if !is_over => {
                    self.early_data.push(early);
                }
                other => {
                    if let Some(reason) = finish(device, other, now, &self.recorder) {
                        device.interface.drops.count(reason);
                        let packet: &[u8] = early.packet();
                        self.recorder
                            .dropped(reason, || found.dropped(reason, packet));
                    }
                    self.early_data.free(early);
                }
            }
        }
        self.recorder.end();
    }
}
