//! The program's rtnetlink socket, which stays the kernel's.

use crate::answer::{self, Header};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// The most questions for routes that are remembered: a program may never read the answers.
const MOST: usize = 64;

/// An rtnetlink socket.
#[derive(Default)]
pub(crate) struct RouteSocket {
    /// Answers of the engine that the program has not read yet.
    pub(crate) pending: VecDeque<Pending>,
    /// The program's questions for routes to which it has not read the answer.
    questions: VecDeque<Header>,
}

/// An answer of the engine. The kernel's acknowledgement of a no-op request holds its place in the socket's queue: so
/// the socket becomes readable, and the answers stay in order.
pub(crate) struct Pending {
    /// The answer.
    pub(crate) answer: Vec<u8>,
    /// The sequence number of the request, and of the no-op.
    pub(crate) seq: u32,
    /// The acknowledgement of that request is in the queue.
    pub(crate) has_place: bool,
}

impl RouteSocket {
    /// Brings the answer to the front whose place is the acknowledgement with this number. The places before it found no
    /// room in the socket's queue, where the kernel's answers would have been lost, too.
    pub(crate) fn find_place(&mut self, seq: u32) -> bool {
        let is_it = |pending: &Pending| pending.has_place && pending.seq == seq;
        let at = self.pending.iter().position(is_it);
        self.pending.drain(..at.unwrap_or(0));
        at.is_some()
    }

    /// Remembers the questions for routes among the requests that the program sends.
    pub(crate) fn ask(&mut self, requests: &[u8]) {
        let asked = answer::messages_of(requests, libc::RTM_GETROUTE).filter_map(Header::first);
        for header in asked {
            self.questions.push_back(header);
            if self.questions.len() > MOST {
                self.questions.pop_front();
            }
        }
    }

    /// Whether there are any.
    pub(crate) fn has_asked(&self) -> bool {
        !self.questions.is_empty()
    }

    /// The question that a message to this port answers; `None` for a notification, which has the numbers of the request
    /// that caused it, or none.
    pub(crate) fn question(&self, message: &Header, port: u32) -> Option<&Header> {
        let is_its = |question: &&Header| (question.seq, port) == (message.seq, message.port);
        self.questions.iter().find(is_its)
    }

    /// The program reads this datagram: forgets the question whose answer ends with it.
    pub(crate) fn answered(&mut self, datagram: &[u8], port: u32) {
        let Some(header) = answer::last_of_answer(datagram) else {
            return;
        };
        let is_its = |question: &Header| (question.seq, port) == (header.seq, header.port);
        if let Some(at) = self.questions.iter().position(is_its) {
            self.questions.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u32 = 4242;

    fn question(seq: u32) -> Vec<u8> {
        numbered(libc::RTM_GETROUTE, 0, seq, 0)
    }

    fn numbered(kind: u16, flags: i32, seq: u32, port: u32) -> Vec<u8> {
        let mut message = answer::request(kind, flags, &[0; 12], &[]);
        message[8..12].copy_from_slice(&seq.to_ne_bytes());
        message[12..16].copy_from_slice(&port.to_ne_bytes());
        message
    }

    #[test]
    fn a_question_ends_with_its_answer() {
        let mut socket = RouteSocket::default();
        let is_asked = |socket: &RouteSocket, seq, port| {
            let message = numbered(libc::RTM_NEWROUTE, 0, seq, port);
            let header = Header::first(&message).unwrap();
            socket.question(&header, PORT).map(|it| it.kind) == Some(libc::RTM_GETROUTE)
        };
        socket.ask(&[question(7), question(8)].concat());
        assert!(is_asked(&socket, 7, PORT) && is_asked(&socket, 8, PORT));
        assert!(!is_asked(&socket, 7, PORT + 1), "another program's request");
        assert!(!is_asked(&socket, 0, 0), "the kernel's own change");
        let answered = |socket: &mut RouteSocket, kind, flags, seq, port| {
            socket.answered(&numbered(kind, flags, seq, port), PORT);
        };
        answered(&mut socket, libc::RTM_NEWROUTE, 0, 8, PORT + 1);
        answered(&mut socket, libc::RTM_NEWROUTE, libc::NLM_F_MULTI, 7, PORT);
        assert!(is_asked(&socket, 7, PORT) && is_asked(&socket, 8, PORT));
        answered(&mut socket, libc::RTM_NEWROUTE, 0, 8, PORT);
        assert!(!is_asked(&socket, 8, PORT));
        answered(
            &mut socket,
            libc::NLMSG_DONE as u16,
            libc::NLM_F_MULTI,
            7,
            PORT,
        );
        assert!(!socket.has_asked());
    }

    #[test]
    fn questions_whose_answers_nobody_reads_do_not_pile_up() {
        let mut socket = RouteSocket::default();
        (0..1000).for_each(|seq| socket.ask(&question(seq)));
        assert_eq!(socket.questions.len(), MOST);
    }
}
