use std::collections::VecDeque;

use super::*;
use crate::MAX_MESSAGE;
use crate::device::Name;

const PATIENCE: Duration = Duration::from_secs(1);

/// A scripted engine, and a clock that only advances while waiting.
struct Fake {
    conversation: Conversation,
    now: Duration,
    /// The messages to receive, and when, numbered relative to the last request.
    coming: VecDeque<(Duration, u32, ToClient<'static>)>,
    /// Whether there is always a message to receive, however late it is.
    floods: bool,
    sent: Vec<(u32, Vec<u8>, Beside)>,
    device: Result<Made, i32>,
    /// How long this client does not run when a deadline passes, for one deadline after the other; not at all, then.
    sleeps: VecDeque<Duration>,
}

impl Fake {
    fn new(coming: &[(u64, u32, ToClient<'static>)]) -> Self {
        let coming = coming.iter();
        Self {
            conversation: Conversation::new(PATIENCE),
            now: Duration::ZERO,
            coming: coming
                .map(|(at, seq, message)| (Duration::from_millis(*at), *seq, *message))
                .collect(),
            floods: false,
            sent: Vec::new(),
            device: Err(crate::errno::EBUSY),
            sleeps: VecDeque::new(),
        }
    }

    fn request_tun(&mut self) -> Result<String, Lost> {
        let mut buffer = vec![0; MAX_MESSAGE];
        request(self, &ToEngine::OwnTun, &mut buffer).map(|answer| format!("{answer:?}"))
    }

    fn replies(&self) -> Vec<(u32, String, Beside)> {
        let sent = self.sent.iter();
        sent.map(|(seq, bytes, beside)| {
            let message = ToEngine::decode(bytes).unwrap().1;
            (*seq, format!("{message:?}"), *beside)
        })
        .collect()
    }
}

impl Host for Fake {
    type Error = Lost;
    type Time = Duration;

    fn conversation(&mut self) -> Result<&mut Conversation, Lost> {
        Ok(&mut self.conversation)
    }

    fn now(&self) -> Duration {
        self.now
    }

    fn send(
        &mut self,
        seq: u32,
        message: &ToEngine<'_>,
        beside: Beside,
        until: Duration,
    ) -> Result<(), Lost> {
        assert!(until > self.now);
        let mut bytes = vec![0; MAX_MESSAGE];
        let len = message.encode(seq, &mut bytes).unwrap();
        bytes.truncate(len);
        self.sent.push((seq, bytes, beside));
        Ok(())
    }

    fn receive(&mut self, into: &mut [u8], until: Duration) -> Result<Option<usize>, Lost> {
        match self.coming.front() {
            Some((at, seq, message)) if *at <= until || self.floods => {
                self.now = self.now.max(*at);
                let len = message.encode(*seq, into).unwrap();
                self.coming.pop_front();
                Ok(Some(len))
            }
            _ => {
                self.now = until + self.sleeps.pop_front().unwrap_or_default();
                Ok(None)
            }
        }
    }

    fn is_link(&mut self, ifindex: u32) -> bool {
        ifindex == 3
    }

    fn make_device(&mut self, _wanted: &Wanted<'_>) -> Result<Made, i32> {
        self.device
    }

    fn hand_over(&mut self, fd: i32) -> Result<Partial, i32> {
        if fd == 5 {
            Ok(Partial::Length(1))
        } else {
            Err(9)
        }
    }
}

fn done(errno: i32) -> ToClient<'static> {
    ToClient::Done {
        errno,
        replace_fd: false,
        more: false,
    }
}

#[test]
fn an_answer_to_an_earlier_request_is_ignored() {
    let mut host = Fake::new(&[(1500, 1, done(1)), (1600, 2, done(2))]);
    assert_eq!(host.request_tun(), Err(Lost::Silent));
    assert_eq!(host.now, PATIENCE);
    host.now = Duration::from_millis(1450);
    // The late answer arrives in time for its successor, and restores the engine's full deadline.
    assert_eq!(host.request_tun(), Ok(format!("{:?}", done(2))));
    assert!(!host.conversation.is_overdue);
}

#[test]
fn an_engine_that_owes_an_answer_has_less_time_for_the_next() {
    let mut host = Fake::new(&[]);
    assert_eq!(host.request_tun(), Err(Lost::Silent));
    let begin = host.now;
    assert_eq!(host.request_tun(), Err(Lost::Silent));
    assert_eq!(host.now - begin, IMPATIENCE);
}

/// A frozen or suspended machine stops the engine, too.
#[test]
fn an_engine_gets_its_time_again_after_a_sleep_of_the_client() {
    let mut host = Fake::new(&[(90_900, 1, done(0))]);
    host.sleeps = [89_000].map(Duration::from_millis).into();
    assert_eq!(host.request_tun(), Ok(format!("{:?}", done(0))));
    // A client that only woke late from its sleep has waited long enough.
    let mut host = Fake::new(&[(1_500, 1, done(0))]);
    host.sleeps = [OVERSLEPT].into();
    assert_eq!(host.request_tun(), Err(Lost::Silent));
    assert!(host.conversation.is_overdue);
    // A machine that starves the client again and again has to be given up some time.
    let mut host = Fake::new(&[]);
    host.sleeps = [Duration::from_secs(5); 100].into();
    assert_eq!(host.request_tun(), Err(Lost::Silent));
    assert_eq!(host.sleeps.len(), 95);
}

#[test]
fn the_engine_gets_what_it_needs_under_the_same_number() {
    let mut host = Fake::new(&[
        (0, 1, ToClient::NeedLink { ifindex: 3 }),
        (0, 1, ToClient::NeedLink { ifindex: 4 }),
        (0, 1, ToClient::NeedSocket { fd: 5 }),
        (0, 1, ToClient::NeedSocket { fd: 6 }),
        // Each reply restarts the deadline.
        (900, 1, ToClient::NeedLink { ifindex: 4 }),
        (1800, 1, done(0)),
    ]);
    assert_eq!(host.request_tun(), Ok(format!("{:?}", done(0))));
    let sent = host.replies();
    assert!(sent.iter().all(|(seq, _, _)| *seq == 1));
    let expected = [
        ("OwnTun", Beside::Request),
        ("Link { exists: true }", Beside::Nothing),
        ("Link { exists: false }", Beside::Nothing),
        ("Socket { errno: 0, partial: Length(1) }", Beside::Socket),
        ("Socket { errno: 9, partial: Nothing }", Beside::Nothing),
        ("Link { exists: false }", Beside::Nothing),
    ];
    let sent: Vec<_> = sent
        .iter()
        .map(|(_, message, beside)| (message.as_str(), *beside))
        .collect();
    assert_eq!(sent, expected);
}

const TUN3: ToClient<'static> = ToClient::NeedTun(Wanted {
    queues: 1,
    mtu: 1400,
    multicast: true,
    up: false,
    nonce: 1,
    name: b"tun3",
});

/// The kernel may take seconds for the engine's operations on a device (faults B3).
#[test]
fn an_engine_gets_more_time_with_a_new_device() {
    let answer = ToClient::Answer { datagram: b"ack" };
    let mut host = Fake::new(&[(0, 1, TUN3), (59_000, 1, answer)]);
    host.device = Ok(Made {
        name: Name::of(b"tun3"),
        ifindex: 7,
        netns: 0,
        was_left: false,
    });
    assert_eq!(host.request_tun(), Ok(format!("{answer:?}")));
    let (_, message, beside) = &host.replies()[1];
    assert_eq!(*beside, Beside::Device);
    assert!(message.starts_with("Tun { errno: 0, ifindex: 7, netns: 0"));
}

#[test]
fn an_engine_without_its_device_has_no_more_time_than_for_any_answer() {
    let mut host = Fake::new(&[(0, 1, TUN3)]);
    assert_eq!(host.request_tun(), Err(Lost::Silent));
    assert_eq!(host.now, PATIENCE);
    let (_, message, beside) = &host.replies()[1];
    assert_eq!(*beside, Beside::Nothing);
    assert!(message.starts_with("Tun { errno: 16, ifindex: 0, netns: 0"));
}

#[test]
fn a_client_gives_up_on_an_engine_that_floods_it() {
    let flood: Vec<_> = (0..5000).map(|at| (at, 77, done(0))).collect();
    let mut host = Fake::new(&flood);
    host.floods = true;
    assert_eq!(host.request_tun(), Err(Lost::Silent));
    assert!(host.now < PATIENCE * 2, "{:?}", host.now);
}

/// Each question restarts the engine's deadline (promises F8).
#[test]
fn a_client_gives_up_on_an_engine_that_asks_forever() {
    for need in [
        ToClient::NeedLink { ifindex: 3 },
        ToClient::NeedSocket { fd: 6 },
        TUN3,
    ] {
        let mut host = Fake::new(&[(0, 1, need); 1000]);
        assert_eq!(host.request_tun(), Err(Lost::Nonsense));
        assert!(host.sent.len() < 20, "{}", host.sent.len());
        let mut buffer = vec![0; MAX_MESSAGE];
        let mut host = Fake::new(&[(0, 1, need); 1000]);
        let greeted = greet(&mut host, 1, b"test", &mut buffer);
        assert_eq!(greeted, Err(Lost::Nonsense));
    }
}

#[test]
fn a_malformed_reply_is_distinguished_from_silence() {
    let mut host = Fake::new(&[(0, 1, done(22))]);
    let mut buffer = vec![0; MAX_MESSAGE];
    assert_eq!(
        greet(&mut host, 1, b"test", &mut buffer),
        Err(Lost::Nonsense)
    );
    let mut host = Fake::new(&[(0, 1, ToClient::Welcome { version: 1 })]);
    let greeted = greet(&mut host, 1, b"test", &mut buffer);
    assert_eq!(greeted, Ok(Greeted::OtherVersion(OtherVersion::Engine(1))));
    let mut host = Fake::new(&[]);
    assert_eq!(notify(&mut host, &ToEngine::OwnTun), Ok(()));
}

#[test]
fn an_engine_that_refuses_as_older_ones_do_is_of_another_version() {
    let refusal = [
        &102_u16.to_ne_bytes()[..],
        &[0; 2],
        &1_u32.to_ne_bytes(),
        &22_i32.to_ne_bytes(),
    ]
    .concat();
    let refused = ToClient::decode(&refusal);
    assert_eq!(refused, Ok((1, ToClient::Welcome { version: 0 })));
    let text = OtherVersion::Engine(0).to_string();
    assert_eq!(
        text,
        "the engine is of an older release: restart it, with its tunnels"
    );
}
