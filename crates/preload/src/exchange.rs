//! A request for which the engine may need something from the program: a device, a socket, or whether a link exists.

use crate::calls::Fd;
use crate::clock::Instant;
use crate::connection::Lost;
use crate::hand_over::{self, Offer};
use crate::state::State;
use crate::tun::{self, Device};
use alloc::vec;
use alloc::vec::Vec;
use libc::c_int;
use udco_ipc::client::{Beside, Conversation, Host};
use udco_ipc::{Made, Partial, ToEngine, Wanted};

/// The program, while a request is pending.
pub(crate) struct Exchange<'a> {
    state: &'a mut State,
    /// The device that was made; removed again if this is dropped.
    pub(crate) device: Option<Device>,
    /// The engine has claimed the request by requesting a device: it must not reach the kernel any more.
    pub(crate) is_claimed: bool,
    /// The socket handed over, and the engine's end of its relay.
    offer: Option<(Offer, Fd)>,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(state: &'a mut State) -> Self {
        Self {
            state,
            device: None,
            is_claimed: false,
            offer: None,
        }
    }

    /// The socket that the engine requested.
    pub(crate) fn into_offer(self) -> Option<Offer> {
        self.offer.map(|(offer, _engine)| offer)
    }
}

impl Host for Exchange<'_> {
    type Error = Lost;
    type Time = Instant;

    fn conversation(&mut self) -> Result<&mut Conversation, Lost> {
        Ok(&mut self.state.connection()?.conversation)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn send(
        &mut self,
        seq: u32,
        message: &ToEngine<'_>,
        beside: Beside,
        until: Instant,
    ) -> Result<(), Lost> {
        let fds: Vec<c_int> = match (beside, &self.device, &self.offer) {
            (Beside::Device, Some(device), _) => device.fds(),
            (Beside::Socket, _, Some((offer, engine))) => vec![offer.real(), engine.raw()],
            _ => Vec::new(),
        };
        self.state.connection()?.send(seq, message, &fds, until)
    }

    fn receive(&mut self, into: &mut [u8], until: Instant) -> Result<Option<usize>, Lost> {
        self.state.connection()?.receive(into, until)
    }

    fn is_link(&mut self, ifindex: u32) -> bool {
        tun::is_there(ifindex)
    }

    fn make_device(&mut self, wanted: &Wanted<'_>) -> Result<Made, i32> {
        self.is_claimed = true;
        let connection = self.state.connection.as_ref();
        let options = connection.map(|connection| connection.options);
        let device = Device::create(wanted, options.and_then(|options| options.txqueuelen))?;
        Ok(self.device.insert(device).made)
    }

    fn hand_over(&mut self, fd: i32) -> Result<Partial, i32> {
        let (offer, _) = self.offer.insert(hand_over::offer(self.state, fd)?);
        Ok(offer.partial())
    }
}
