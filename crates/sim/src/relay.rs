//! The relay to a simulated OpenVPN.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use udco_engine::io::{self as seam, Source};

use crate::ready::{ByReady, Ready};

/// A message socket. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Relay(Rc<Messages>);

#[derive(Debug, Default)]
struct Messages {
    ready: Ready,
    to_openvpn: RefCell<Vec<Vec<u8>>>,
    from_openvpn: RefCell<VecDeque<Vec<u8>>>,
}

impl Relay {
    /// OpenVPN sends a control packet.
    pub fn push(&self, message: Vec<u8>) {
        self.0.from_openvpn.borrow_mut().push_back(message);
        self.0.ready.set_readable(true);
    }

    /// What OpenVPN was sent since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Vec<u8>> {
        self.0.to_openvpn.take()
    }
}

impl seam::Relay for Relay {
    fn send(&self, message: &[u8]) -> io::Result<()> {
        self.0.to_openvpn.borrow_mut().push(message.to_vec());
        Ok(())
    }

    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut waiting = self.0.from_openvpn.borrow_mut();
        let message = waiting.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        self.0.ready.set_readable(!waiting.is_empty());
        let len = message.len().min(into.len());
        into[..len].copy_from_slice(&message[..len]);
        Ok(len)
    }

    fn finish(&self) {}
}

impl<I: ByReady> Source<I> for Relay {
    fn handle(&self) -> &Ready {
        &self.0.ready
    }
}
