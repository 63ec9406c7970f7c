//! Batches allocate nothing once they are made (promises J5), not even if messages fail.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::UdpSocket as Std;

use udco_sys::udp::{Inbox, Message, Outbox, UdpSocket};

/// The system's allocator, with a count per thread.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator; counting touches only a plain cell of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn batches_allocate_nothing() {
    let sender = UdpSocket::adopt(Std::bind("127.0.0.1:0").unwrap().into()).unwrap();
    let receiver = UdpSocket::adopt(Std::bind("127.0.0.1:0").unwrap().into()).unwrap();
    receiver.enable_packet_info().unwrap();
    receiver.enable_gro().unwrap();
    let destination = receiver.local_addr().unwrap();
    let bytes = vec![7; 10_000];
    let (mut outbox, mut inbox) = (Outbox::new(32), Inbox::new(32, 65_535));
    let before = COUNT.get();
    let mut received = 0;
    for _ in 0..100 {
        for at in 0_u16..32 {
            // A segmented one, one without a valid range, one from an address that is not ours.
            let message = Message {
                range: if at == 1 { 20_000..20_001 } else { 0..3_000 },
                destination,
                local: (at == 2).then_some([192, 0, 2, 1].into()),
                segment: (at == 0).then_some(1_000),
                traffic_class: 0,
            };
            assert!(outbox.push(message));
            assert!(outbox.extend(3_000..3_500));
        }
        assert!(!outbox.extend(0..1), "no more ranges than messages");
        let sum = outbox.send(&sender, &bytes);
        assert_eq!((sum.sent, sum.failed), (31, 1));
        assert_eq!(outbox.send_singly(&sender, &bytes, 0), 4);
        outbox.clear();
        for index in 0..inbox.receive(&receiver).unwrap() {
            let datagram = inbox.datagram(index).unwrap();
            assert_eq!(datagram.local, Some(destination.ip()));
            received += datagram.into_segments().count();
        }
        while inbox.receive(&receiver).unwrap() > 0 {}
        sender.drain_errors();
    }
    assert_eq!(COUNT.get(), before);
    assert!(received > 3_000, "{received}");
}
