//! The client's end of a capture.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::time::Duration;

use udco_ipc::ToEngine;
use udco_ipc::capture::{BLOCK, BLOCKS, Batch, Captured, Filled, MAX_BATCH, Wanted};
use udco_sys::seqpacket::{Connection, FdList};
use udco_sys::shared::Reader;

use super::{Client, Owned};

/// It, and the file with the packets.
pub(crate) struct Packets {
    pub(crate) from: Connection,
    file: RefCell<Option<Reader>>,
}

impl Packets {
    /// Asks for whole packets; returns the errno of the answer, too.
    pub(crate) fn ask(
        client: &Client,
        ifindex: u32,
        peer: Option<u32>,
        wanted: Wanted,
    ) -> (i32, Self) {
        let (from, to) = Connection::pair().unwrap();
        let request = ToEngine::Capture {
            ifindex,
            peer,
            wanted,
            snap: 65_535,
        };
        let Some(Owned::Done(errno)) = client.ask(8, &request, &[to.as_fd()]) else {
            panic!("no answer")
        };
        let file = RefCell::new(None);
        (errno, Self { from, file })
    }

    /// Receives a message; `None` at the end.
    pub(crate) fn receive(&self, patience: Duration) -> Option<(Batch, Vec<Filled>)> {
        let mut message = [0; MAX_BATCH];
        let received = match self.from.receive_within(&mut message, patience) {
            // The engine has closed its end before it has read all that was given back. What it has sent follows.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.from.receive_within(&mut message, patience)
            }
            received => received,
        };
        let received = received.unwrap();
        (received.len > 0).then(|| self.decode(&message[..received.len], received.fds))
    }

    /// Receives a message if there is one.
    pub(crate) fn receive_waiting(&self) -> Option<(Batch, Vec<Filled>)> {
        let mut message = [0; MAX_BATCH];
        let received = self.from.receive(&mut message).ok()?;
        (received.len > 0).then(|| self.decode(&message[..received.len], received.fds))
    }

    fn decode(&self, message: &[u8], mut fds: FdList) -> (Batch, Vec<Filled>) {
        if let Some(file) = fds.take(0) {
            *self.file.borrow_mut() = Some(Reader::new(&file, BLOCKS * BLOCK).unwrap());
        }
        let (batch, blocks) = Batch::decode(message).unwrap();
        let blocks = Filled::decode_all(blocks).map(Result::unwrap);
        (batch, blocks.collect())
    }

    /// Gives blocks back; the engine may have closed its end.
    pub(crate) fn give_back(&self, blocks: &[Filled]) {
        let message: Vec<u8> = blocks.iter().flat_map(|block| block.encode()).collect();
        let _ = self.from.send(&message, &[]);
    }

    /// Receives a message, shows all packets of its blocks, and gives those back; `None` at the end.
    pub(crate) fn read(
        &self,
        patience: Duration,
        mut packet: impl FnMut(&Batch, Captured<'_>),
    ) -> Option<Batch> {
        let (batch, blocks) = self.receive(patience)?;
        for block in &blocks {
            let mut bytes = vec![0; block.len as usize];
            let file = self.file.borrow();
            let file = file.as_ref().expect("the file comes first");
            assert!(file.copy(block.block as usize * BLOCK, &mut bytes));
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let run;
                (run, rest) = Captured::decode(rest).unwrap();
                run.packets().for_each(|it| packet(&batch, it));
            }
        }
        self.give_back(&blocks);
        Some(batch)
    }
}
