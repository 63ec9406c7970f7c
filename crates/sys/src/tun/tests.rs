//! Interfaces, in a namespace for the test.

use std::fs::File;
use std::net::UdpSocket;

use super::*;
use crate::namespace::{enter, ip};

fn exists(name: &str) -> bool {
    let any = UdpSocket::bind("127.0.0.1:0").unwrap();
    netdevice::name_to_index(&any, name).is_ok()
}

fn refused(fd: impl Into<OwnedFd>) -> Option<i32> {
    Queue::adopt(fd.into()).unwrap_err().raw_os_error()
}

/// Whether this test may make interfaces; reports a skip if not.
fn tun_is_there() -> bool {
    let there = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .is_ok();
    if !there {
        crate::namespace::skip("no /dev/net/tun");
    }
    there
}

#[test]
fn an_interface_is_made_adopted_and_outlives_its_queues_if_it_shall() {
    if !enter("tun::tests::an_interface_is_made_adopted_and_outlives_its_queues_if_it_shall")
        || !tun_is_there()
    {
        return;
    }
    for count in [0, 1, 3] {
        let made = create("udco%d", count).unwrap();
        assert_eq!(made.name, "udco0");
        assert_eq!(made.queues.len(), count.max(1));
        assert!(made.ifindex > 1);
        let busy = create(&made.name, 1).unwrap_err();
        assert_eq!(busy.raw_os_error(), Some(libc::EBUSY));
        let queues: Vec<_> = made
            .queues
            .into_iter()
            .map(|fd| Queue::adopt(fd).unwrap())
            .collect();
        for queue in &queues {
            assert_eq!(queue.name(), "udco0");
            assert!(queue.vnet_header());
            assert_eq!(queue.multi_queue(), count > 1);
        }
        drop(queues);
        assert!(exists("udco0"), "persistent");
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        let many = if count > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
        let (again, _) = attach("udco0", flags | many).unwrap();
        let queue = Queue::adopt(again).unwrap();
        queue.set_persist(false).unwrap();
        drop(queue);
        assert!(!exists("udco0"), "not persistent any more");
    }
    for name in ["", "a-name-of-16-len", "a/b", "a\0b"] {
        assert_eq!(
            create(name, 1).unwrap_err().raw_os_error(),
            Some(libc::EINVAL)
        );
    }
}

#[test]
fn only_an_attached_tun_is_adopted() {
    assert_eq!(
        refused(File::open("/dev/null").unwrap()),
        Some(libc::EINVAL)
    );
    assert_eq!(
        refused(UdpSocket::bind("127.0.0.1:0").unwrap()),
        Some(libc::EINVAL)
    );
    if !enter("tun::tests::only_an_attached_tun_is_adopted") || !tun_is_there() {
        return;
    }
    assert_eq!(
        refused(File::open("/dev/net/tun").unwrap()),
        Some(libc::EBADFD)
    );
    let (tap, _) = attach("tap%d", libc::IFF_TAP | libc::IFF_NO_PI).unwrap();
    assert_eq!(refused(tap), Some(libc::EINVAL));
    let (plain, _) = attach("tun%d", libc::IFF_TUN | libc::IFF_NO_PI).unwrap();
    assert!(!Queue::adopt(plain).unwrap().vnet_header());
}

#[test]
fn packets_go_both_ways_with_their_virtio_header() {
    if !enter("tun::tests::packets_go_both_ways_with_their_virtio_header") || !tun_is_there() {
        return;
    }
    let made = create("udco%d", 1).unwrap();
    let fd = made.queues.into_iter().next().unwrap();
    // `adopt` corrects another header length that the client has set.
    ioctl_with(fd.as_fd(), libc::TUNSETVNETHDRSZ, &mut 12).unwrap();
    let queue = Queue::adopt(fd).unwrap();
    let mut packet = [0; 2_000];
    queue.set_offload(0).unwrap();
    queue
        .set_offload(offload::CSUM | offload::TSO4 | offload::TSO6)
        .unwrap();
    assert!(queue.set_offload(1 << 31).is_err());
    queue.set_offload(0).unwrap();
    assert_eq!(
        queue
            .write(&[&[0; 10][..], &[0x45; 40]].concat())
            .unwrap_err()
            .raw_os_error(),
        Some(libc::EIO),
        "down"
    );

    ip("addr add 10.8.0.1/24 dev udco0");
    ip("link set udco0 up");
    let socket = UdpSocket::bind("10.8.0.1:5000").unwrap();
    socket.send_to(b"ping", "10.8.0.2:6000").unwrap();
    let len = loop {
        // Router solicitations may come first.
        let len = queue.read(&mut packet).unwrap();
        if packet[VNET_HEADER_LEN] == 0x45 {
            break len;
        }
    };
    assert_eq!(len, VNET_HEADER_LEN + 20 + 8 + 4);
    assert!(packet[..len].ends_with(b"ping"));

    // Sent back with addresses and ports exchanged, which keeps the checksums valid.
    let (header, rest) = packet[..len].split_at(VNET_HEADER_LEN);
    let mut answer = rest.to_vec();
    answer[12..16].copy_from_slice(&rest[16..20]);
    answer[16..20].copy_from_slice(&rest[12..16]);
    answer[20..22].copy_from_slice(&rest[22..24]);
    answer[22..24].copy_from_slice(&rest[20..22]);
    let pieces = [
        IoSlice::new(header),
        IoSlice::new(&answer[..28]),
        IoSlice::new(&answer[28..]),
    ];
    assert_eq!(queue.write_vectored(&pieces).unwrap(), len);
    let mut back = [0; 100];
    let (length, from) = socket.recv_from(&mut back).unwrap();
    assert_eq!(
        (&back[..length], from.to_string().as_str()),
        (&b"ping"[..], "10.8.0.2:6000")
    );
    assert_eq!(
        queue
            .write(&[&[0; 10][..], &[0x55; 40]].concat())
            .unwrap_err()
            .raw_os_error(),
        Some(libc::EINVAL)
    );

    let empty = loop {
        if let Err(error) = queue.read(&mut packet) {
            break error;
        }
    };
    assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
    ip("link del udco0");
    assert_eq!(
        queue.read(&mut packet).unwrap_err().raw_os_error(),
        Some(libc::EBADFD)
    );
}

/// Any other process that has the open file may make it block (faults D2).
#[test]
fn a_queue_never_waits_whatever_the_flags_of_its_file() {
    if !enter("tun::tests::a_queue_never_waits_whatever_the_flags_of_its_file") || !tun_is_there() {
        return;
    }
    let made = create("udco%d", 1).unwrap();
    let queue = Queue::adopt(made.queues.into_iter().next().unwrap()).unwrap();
    ip("link set udco0 up");
    let shared = queue.as_fd().try_clone_to_owned().unwrap();
    let flags = fcntl_getfl(&shared).unwrap();
    fcntl_setfl(&shared, flags - OFlags::NONBLOCK).unwrap();
    // Room for less than one incoming packet.
    let mut room: c_int = 1;
    ioctl_with(shared.as_fd(), libc::TUNSETSNDBUF, &mut room).unwrap();
    let (done, was_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut packet = [0; 2_000];
        // First the kernel's own packets, then nothing.
        while queue.read(&mut packet).is_ok() {}
        let nothing = queue.read(&mut packet).unwrap_err();
        let mut header = [0; VNET_HEADER_LEN + 28];
        header[VNET_HEADER_LEN] = 0x45;
        for _ in 0..100 {
            let _ = queue.write(&header);
        }
        done.send(nothing.kind()).unwrap();
    });
    let came = was_done.recv_timeout(std::time::Duration::from_secs(20));
    let read = came.expect("neither reading nor writing waits");
    assert_eq!(read, io::ErrorKind::WouldBlock);
}
