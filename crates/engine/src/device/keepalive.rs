//! Keepalives and expiry (dco-behaviour 5.8): one thread checks all peers of all devices twice a second.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use udco_core::framing::{PREFIX, prefix};
use udco_core::wire::{KEEPALIVE, OVERHEAD};
use udco_core::{DropReason, Time, outbound};

use crate::device::peer::Peer;
use crate::device::stream::{Stream, Written};
use crate::device::transport::Socket;
use crate::device::{Device, Devices};
use crate::io::{Datagrams, Io, Message, Outbox, Outcome};
use crate::linux;
use crate::sync::lock;
use crate::threads;

/// A peer expires within a second of its timeout; half of that leaves room for a busy machine.
pub(crate) const PERIOD: Duration = Duration::from_millis(500);

/// The period while there are deleted keys to be wiped.
pub(crate) const LINGERING: Duration = Duration::from_millis(250);

/// The thread; it ends when this is dropped.
pub(crate) struct KeepaliveTimer {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KeepaliveTimer {
    pub(crate) fn start<D: Devices>(devices: &Weak<D>) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let stopped = Arc::new(Mutex::new(stopped));
        let keep = |devices: Weak<D>, stopped: Arc<Mutex<Receiver<()>>>| {
            let stopped = lock(&stopped);
            let mut outbox = udco_sys::udp::Outbox::new(1);
            let mut period = PERIOD;
            let mut doubted = Vec::new();
            while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                let Some(devices) = devices.upgrade() else {
                    return;
                };
                period = PERIOD;
                let was_doubted = std::mem::take(&mut doubted);
                for device in devices.all() {
                    if device.has_ended() {
                        // A worker has found the device gone (promises J1).
                        devices.remove(&device);
                        continue;
                    }
                    if tick(&device, &mut outbox, linux::now().time()) {
                        period = LINGERING;
                    }
                    // The watch thread notices first, unless a tenant prevents it (faults D1).
                    if device.interface.current_name().is_err() {
                        match was_doubted.iter().any(|other| Arc::ptr_eq(other, &device)) {
                            true => devices.remove(&device),
                            false => doubted.push(device),
                        }
                    }
                }
            }
        };
        let thread = threads::start(|| {
            let (devices, stopped) = (devices.clone(), Arc::clone(&stopped));
            std::thread::Builder::new()
                .name("udco-keepalive".into())
                .spawn(move || keep(devices, stopped))
        })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for KeepaliveTimer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            // For a moment, that thread itself may hold the last reference to the engine.
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// Expires peers, and sends keepalives to those that are due. Returns whether there are deleted keys to be wiped soon.
pub(crate) fn tick<I: Io>(
    device: &Device<I>,
    outbox: &mut <I::Datagrams as Datagrams>::Outbox,
    now: Time,
) -> bool {
    let (pings, lingers) = device.tick(now);
    for peer in pings {
        if let Err(reason) = ping(device, &peer, now, outbox) {
            device.interface.drops.count(reason);
        }
    }
    lingers
}

fn ping<I: Io>(
    device: &Device<I>,
    peer: &Arc<Peer<I>>,
    now: Time,
    outbox: &mut <I::Datagrams as Datagrams>::Outbox,
) -> Result<(), DropReason> {
    let mut record = [0; OVERHEAD + KEEPALIVE.len()];
    let socket = match peer.transport.socket() {
        Socket::Udp(socket, _) => socket,
        Socket::Tcp(stream) => {
            outbound::seal_keepalive(peer, &mut record, now)?;
            return ping_by_stream(stream, &record);
        }
    };
    let endpoint = peer.endpoint().ok_or(DropReason::TxNoEndpoint)?;
    outbound::seal_keepalive(peer, &mut record, now)?;
    outbox.clear();
    let message = Message {
        range: 0..record.len(),
        destination: endpoint.remote,
        local: endpoint.local,
        segment: None,
        traffic_class: 0,
    };
    let sent = outbox.push(message) && outbox.send(socket, &record).sent == 1;
    if outbox.outcomes() == [Outcome::SentWithoutLocal] {
        device.forget_local(peer.id, endpoint);
    }
    if sent {
        Ok(())
    } else {
        Err(DropReason::TxTransportError)
    }
}

fn ping_by_stream<I: Io>(stream: &Stream<I>, record: &[u8]) -> Result<(), DropReason> {
    let mut packet = [0; PREFIX + OVERHEAD + KEEPALIVE.len()];
    let (length, rest) = packet.split_at_mut(PREFIX);
    length.copy_from_slice(&prefix(record.len()).unwrap_or_default());
    rest.copy_from_slice(record);
    match stream.write(&packet) {
        Written { dropped: 0, .. } => Ok(()),
        _ => Err(DropReason::TxTransportFull),
    }
}
