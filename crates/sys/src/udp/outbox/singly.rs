//! Sending the segments of a message one by one, if the path takes them no other way.

use super::{Attempt, Message, Outbox, Outcome, UdpSocket};

impl Outbox {
    /// Sends the segments of the message at `index` one by one, after its outcome said
    /// [`refuses_segments`](Outcome::refuses_segments). Stops at the first that fails; the message's outcome is that of
    /// the last one tried. Returns how many datagrams were sent. Slow; needs no room in the batch.
    pub fn send_singly(&mut self, socket: &UdpSocket, arena: &[u8], index: usize) -> usize {
        let Some(message) = self.messages.get(index).cloned() else {
            return 0;
        };
        let size = usize::from(message.segment.unwrap_or(u16::MAX)).max(1);
        let mut local = message.local;
        let mut sent = 0;
        let (mut piece, mut range) = (0, message.range.clone());
        loop {
            if range.is_empty() {
                let Some(next) = self.pieces.of(index).get(piece) else {
                    break;
                };
                (piece, range) = (piece + 1, next.clone());
                continue;
            }
            let single = Message {
                range: range.start..range.end.min(range.start + size),
                destination: message.destination,
                local,
                segment: None,
                traffic_class: message.traffic_class,
            };
            range.start = single.range.end;
            let outcome = self.send_one(socket, arena, index, single);
            self.set_outcome(index, outcome);
            match outcome {
                Outcome::Sent => {}
                Outcome::SentWithoutLocal => local = None,
                Outcome::Failed(_) | Outcome::NotSent => return sent,
            }
            sent += 1;
        }
        if message.local.is_some() && local.is_none() {
            self.set_outcome(index, Outcome::SentWithoutLocal);
        }
        sent
    }

    /// Sends `message` with the buffers of slot `index`.
    fn send_one(
        &mut self,
        socket: &UdpSocket,
        arena: &[u8],
        index: usize,
        message: Message,
    ) -> Outcome {
        let Some(original) = self
            .messages
            .get_mut(index)
            .map(|slot| std::mem::replace(slot, message))
        else {
            return Outcome::NotSent;
        };
        let taken = self.pieces.take(index);
        self.prepare_slot(index, socket.v6, arena);
        let mut attempt = Attempt::default();
        let outcome = loop {
            match self.send_range(socket, index, 1) {
                Ok(_) if attempt.local_left_out => break Outcome::SentWithoutLocal,
                Ok(_) => break Outcome::Sent,
                Err(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => break Outcome::NotSent,
                Err(errno) if self.try_again(index, errno, &mut attempt) => {}
                Err(errno) => break Outcome::Failed(errno),
            }
        };
        if let Some(slot) = self.messages.get_mut(index) {
            *slot = original;
        }
        self.pieces.give_back(index, taken);
        outcome
    }
}
