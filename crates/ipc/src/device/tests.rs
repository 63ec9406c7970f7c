use std::cell::Cell;

use super::*;
use crate::errno::EBADF;

const MULTI: u16 = QUEUE_FLAGS | MULTI_QUEUE;

/// A kernel with at most one interface, and a record of the calls.
#[derive(Default)]
struct Fake {
    there: Option<Interface>,
    /// The flags with which a queue can be opened, if not all; and how many queues there may be.
    takes: Option<u16>,
    room: usize,
    queues: Vec<u16>,
    persistent: bool,
    shape: Option<Shape>,
    shape_fails: bool,
    requests: usize,
    removed: Vec<Option<u32>>,
    pauses: Cell<u32>,
    /// After this many pauses nobody has it open any longer.
    let_go_after: Option<u32>,
}

impl Fake {
    fn with(there: Interface) -> Self {
        let room = 16;
        Self {
            there: Some(there),
            room,
            ..Self::default()
        }
    }
}

impl Kernel for Fake {
    fn index(&mut self, _name: &[u8]) -> Option<u32> {
        (self.there.is_some() || !self.queues.is_empty()).then_some(7)
    }

    fn interface(&mut self, _ifindex: u32) -> Result<Interface, i32> {
        match (self.there, self.let_go_after) {
            (_, Some(after)) if self.pauses.get() >= after => Ok(Interface::Left {
                several: Some(true),
            }),
            (there, _) => there.ok_or(ENODEV),
        }
    }

    fn attach(&mut self, name: &[u8], flags: u16) -> Result<Name, i32> {
        if self.takes.is_some_and(|takes| takes != flags) {
            return Err(EINVAL);
        }
        if self.queues.len() >= self.room {
            return Err(EBUSY);
        }
        self.queues.push(flags);
        Ok(Name::of(if name == b"tun%d" { b"tun0" } else { name }))
    }

    fn detach(&mut self) {
        self.queues.clear();
    }

    fn persist(&mut self) -> Result<(), i32> {
        self.persistent = true;
        Ok(())
    }

    fn shape(&mut self, ifindex: u32, shape: &Shape) -> Result<(), i32> {
        assert_eq!(ifindex, 7);
        self.shape = Some(*shape);
        if self.shape_fails { Err(EBADF) } else { Ok(()) }
    }

    fn request(&mut self, message: &[u8]) {
        assert_eq!(message, qdisc::without(7));
        self.requests += 1;
    }

    fn remove(&mut self, ifindex: Option<u32>) {
        self.removed.push(ifindex);
    }

    fn namespace(&self) -> u64 {
        5
    }

    fn pause(&self, _time: Duration) {
        self.pauses.set(self.pauses.get() + 1);
    }
}

fn wanted(queues: u16) -> Wanted<'static> {
    Wanted {
        queues,
        mtu: 1416,
        multicast: false,
        up: true,
        nonce: 9,
        name: b"tun%d",
    }
}

#[test]
fn a_new_device_is_exclusive_once_and_then_persistent() {
    let mut kernel = Fake {
        room: 16,
        ..Fake::default()
    };
    let made = make(&mut kernel, &wanted(3)).unwrap();
    assert_eq!(kernel.queues, [MULTI | EXCLUSIVE, MULTI, MULTI]);
    assert_eq!(made.name(), b"tun0");
    assert_eq!((made.ifindex, made.netns, made.was_left), (7, 5, false));
    assert_eq!(kernel.requests, 1, "no queueing discipline");
    let shape = kernel.shape.unwrap();
    assert!(kernel.persistent && kernel.removed.is_empty());
    assert_eq!((shape.mtu, shape.flags, shape.mask), (1416, 1, 0x1001));
    assert_eq!(shape.alias, Alias::new("ovpn", 9));
}

#[test]
fn a_left_device_is_taken_with_the_queues_it_was_made_for() {
    for (several, takes, wants, gets) in [
        (Some(true), MULTI, 3, 3),
        (Some(false), QUEUE_FLAGS, 3, 1),
        // An old kernel does not report it: both ways are tried.
        (None, QUEUE_FLAGS, 3, 1),
        (None, MULTI, 1, 1),
    ] {
        let mut kernel = Fake::with(Interface::Left { several });
        kernel.takes = Some(takes);
        let made = make(&mut kernel, &wanted(wants)).unwrap();
        assert!(made.was_left);
        assert_eq!(kernel.queues, vec![takes; gets]);
        assert_eq!(kernel.requests, 0, "its user may have chosen one");
    }
}

#[test]
fn a_name_in_use_is_not_taken_over() {
    let mut foreign = Fake::with(Interface::Foreign);
    assert_eq!(make(&mut foreign, &wanted(1)), Err(EEXIST));
    assert_eq!(foreign.pauses.get(), 0);
    for kernel in [
        &mut Fake::with(Interface::Served),
        // Its queue is in use, which the kernel reports only on an attempt to open it.
        &mut Fake {
            room: 0,
            ..Fake::with(Interface::Left { several: None })
        },
    ] {
        assert_eq!(make(kernel, &wanted(1)), Err(EEXIST));
        assert!(kernel.pauses.get() >= TRIES && kernel.removed.is_empty());
    }
    let mut dying = Fake::with(Interface::Served);
    dying.let_go_after = Some(2);
    assert!(make(&mut dying, &wanted(2)).unwrap().was_left);
}

#[test]
fn a_failed_new_device_is_removed_and_a_left_one_stays() {
    let mut kernel = Fake {
        room: 16,
        shape_fails: true,
        ..Fake::default()
    };
    assert_eq!(make(&mut kernel, &wanted(1)), Err(EBADF));
    assert_eq!(kernel.removed, [Some(7)]);
    let several = Some(true);
    let mut kernel = Fake::with(Interface::Left { several });
    kernel.shape_fails = true;
    assert_eq!(make(&mut kernel, &wanted(1)), Err(EBADF));
    assert!(kernel.removed.is_empty());
    // Another process was faster, or there are more queues than a message can carry.
    assert_eq!(make(&mut Fake::default(), &wanted(1)), Err(EEXIST));
    assert_eq!(make(&mut Fake::default(), &wanted(17)), Err(EINVAL));
}

#[test]
fn names_end_where_the_kernels_do() {
    assert_eq!(Name::of(b"tun0\0junk").as_bytes(), b"tun0");
    assert_eq!(Name::of(&[b'x'; 40]).as_bytes(), [b'x'; 15]);
    assert_eq!(Name::of(b"").as_bytes(), b"");
}
