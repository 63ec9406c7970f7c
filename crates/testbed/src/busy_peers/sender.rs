//! One of the peers: what it seals and opens.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use anyhow::{Context, Result};
use udco_core::{Key, PeerId, Time, framing};
use udco_crypto::DirectionKey;
use udco_sys::udp::Message;

use super::plan::{self, PORT};
use crate::scenario::Variant;

/// Bytes before each packet of a stream: its length.
pub(super) const PREFIX: usize = framing::PREFIX;

/// One of the peers.
pub(super) struct Sender {
    variant: Variant,
    id: u16,
    outer: IpAddr,
    vpn: IpAddr,
    key: Key<DirectionKey>,
}

impl Sender {
    pub(super) fn new(variant: Variant, id: u16) -> Result<Self> {
        Ok(Self {
            variant,
            id,
            outer: variant.outer(id),
            vpn: variant.vpn(id),
            key: plan::key()?,
        })
    }

    /// Its place among all, whose ids begin with 1.
    pub(super) fn number(&self) -> usize {
        usize::from(self.id) - 1
    }

    pub(super) fn overhead(&self) -> usize {
        self.key.format().overhead()
    }

    /// Seals a datagram that fills the record, and that the server's kernel discards.
    pub(super) fn seal_datagram(&self, record: &mut [u8]) -> Result<()> {
        self.seal(record, |packet| self.variant.udp(packet, self.vpn))
    }

    /// Seals an echo request to the server.
    pub(super) fn seal_request(&self, record: &mut [u8], sequence: u16) -> Result<()> {
        self.seal(record, |packet| {
            self.variant.echo_request(packet, self.vpn, sequence);
        })
    }

    fn seal(&self, record: &mut [u8], fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let before = self.key.format().before();
        let end = before + record.len() - self.overhead();
        fill(&mut record[before..end]);
        let packet_id = self.key.next_packet_id().context("the key is used up")?;
        Ok(packet_id.seal(PeerId::from(self.id), record)?)
    }

    /// Writes the length of a record before it, and returns the record.
    pub(super) fn frame(framed: &mut [u8]) -> Result<&mut [u8]> {
        let (prefix, record) = framed.split_at_mut(PREFIX);
        prefix.copy_from_slice(&framing::prefix(record.len()).context("too long")?);
        Ok(record)
    }

    /// A message to the server, from this peer's outer address.
    pub(super) fn message(&self, range: Range<usize>) -> Message {
        Message {
            range,
            destination: SocketAddr::new(self.variant.server_outer(), PORT),
            local: Some(self.outer),
            segment: None,
            traffic_class: 0,
        }
    }

    /// The sequence number, if this is an echo reply to it.
    pub(super) fn reply(&self, record: &mut [u8]) -> Option<u16> {
        let opened = self.key.open(record, Time::from_millis(1)).ok()?;
        self.variant.echo_reply(opened.payload)
    }
}
