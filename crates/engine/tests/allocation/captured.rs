//! A capture of everything, and its reader.

use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::Duration;

use udco_ipc::ToEngine;
use udco_ipc::capture::{Batch, Captured as Packet, MAX_BATCH, Wanted};
use udco_sys::seqpacket::Connection;

use crate::client::{Client, Owned};
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
        let (from, to) = Connection::pair().unwrap();
        let request = ToEngine::Capture {
            ifindex: site.openvpn.target.ifindex,
            peer: None,
            wanted: Wanted {
                inner: true,
                outer: true,
                drops: true,
            },
            snap: 65_535,
        };
        assert_eq!(client.ask(8, &request, &[to.as_fd()]), Some(Owned::Done(0)));
        drop(to);
        let reader = std::thread::spawn(move || read(&from));
        Self { client, reader }
    }

    /// Ends it; returns how many packets were captured, or lost to the capture.
    pub(crate) fn end(self) -> u64 {
        self.client.end().unwrap();
        self.reader.join().unwrap()
    }
}

fn read(from: &Connection) -> u64 {
    let mut buffer = vec![0; MAX_BATCH];
    let (mut packets, mut lost) = (0, 0);
    loop {
        let received = from.receive_within(&mut buffer, PATIENCE).unwrap();
        if received.len == 0 {
            return packets + lost;
        }
        let (batch, mut rest) = Batch::decode(&buffer[..received.len]).unwrap();
        lost = batch.lost;
        while !rest.is_empty() {
            let run;
            (run, rest) = Packet::decode(rest).unwrap();
            packets += run.packets().count() as u64;
        }
    }
}
