//! A source that is taken back is with no worker, whatever happens to its device at the same time.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Instant;

use super::*;
use crate::control::account::{Accounts, Kind};
use crate::datapath::worker::REMOVAL;
use crate::device::interface::{Interface, Offloads};
use crate::device::offload::{Forbidden, Merging};

const ROOT: Client = Client {
    id: 1,
    uid: 0,
    netns: Netns::numbered(1),
};

fn device(registry: &Registry, workers: &Workers, ifindex: u32) -> Arc<Device> {
    let offloads = Offloads {
        from_device: 0,
        merge: Merging::new(false, false),
    };
    let interface =
        Interface::new((ROOT.netns, ifindex), "tun".into(), Vec::new(), offloads).unwrap();
    let listeners = Arc::<Listeners>::clone(registry.listeners());
    let kind = (Api::Ovpn, Mode::Mp);
    let device = Arc::new(Device::new(Arc::new(interface), kind, &ROOT, listeners));
    let charge = Accounts::default().of(0).charge(Kind::Devices).unwrap();
    assert!(registry.add(workers, &device, (&ROOT, charge)));
    device
}

fn transport() -> Arc<Transport> {
    let socket = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let socket = udco_sys::udp::UdpSocket::adopt(socket).unwrap();
    let (relay, _) = udco_sys::seqpacket::Connection::pair().unwrap();
    Arc::new(Transport::new(socket, relay, Forbidden::default(), Netns::UNKNOWN).unwrap())
}

#[test]
fn a_detached_socket_is_with_no_worker_although_its_device_goes() {
    let workers = Workers::start(2, &[]).unwrap();
    let registry = Registry::new(Arc::default());
    for ifindex in 1..=1_000 {
        let (device, transport) = (device(&registry, &workers, ifindex), transport());
        registry.attach(&workers, &transport, &device);
        thread::scope(|scope| {
            scope.spawn(|| registry.remove(&workers, &device));
            let began = Instant::now();
            registry.detach(&workers, &transport);
            // Ours; a worker that still has it has another. On a busy machine one may not have responded in time.
            let rest = Arc::strong_count(&transport);
            assert!(rest == 1 || began.elapsed() >= REMOVAL, "round {ifindex}");
        });
    }
}
