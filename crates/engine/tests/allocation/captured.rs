//! A capture of everything, and its reader.

use std::thread::JoinHandle;
use std::time::Duration;

use udco_ipc::capture::Wanted;

use crate::client::Client;
use crate::client::packets::Packets;
use crate::site::Site;

/// Far more than the engine's threads need on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A capture of a site's device that is read all the time.
pub(crate) struct Captured {
    client: Client,
    reader: JoinHandle<u64>,
}

impl Captured {
    pub(crate) fn start(site: &Site) -> Self {
        let client = Client::welcome(&site.engine);
        let wanted = Wanted {
            inner: true,
            outer: true,
            drops: true,
        };
        let (errno, packets) = Packets::ask(&client, site.openvpn.target.ifindex, None, wanted);
        assert_eq!(errno, 0);
        let reader = std::thread::spawn(move || read(&packets));
        Self { client, reader }
    }

    /// Ends it; returns how many packets were captured, or lost to the capture.
    pub(crate) fn end(self) -> u64 {
        self.client.end().unwrap();
        self.reader.join().unwrap()
    }
}

fn read(from: &Packets) -> u64 {
    let (mut packets, mut lost) = (0, 0);
    while let Some(batch) = from.read(PATIENCE, |_, _| packets += 1) {
        lost = batch.lost;
    }
    packets + lost
}
