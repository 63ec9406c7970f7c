//! Messages, descriptors and their ends.

use std::fs::File;
use std::io::{PipeReader, Read, pipe};
use std::os::fd::{AsRawFd, RawFd};

use super::*;

/// A pipe whose write ends are sent: once the last is closed, the read end sees end of file.
fn write_ends(count: usize) -> (PipeReader, Vec<OwnedFd>) {
    let (reader, writer) = pipe().unwrap();
    let mut ends: Vec<OwnedFd> = (1..count)
        .map(|_| writer.try_clone().unwrap().into())
        .collect();
    ends.push(writer.into());
    (reader, ends)
}

fn all_closed(mut reader: PipeReader) -> bool {
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    matches!(reader.read(&mut [0; 1]), Ok(0))
}

fn borrow(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

#[test]
fn seventeen_descriptors_arrive_in_order_and_are_closed_with_the_list() {
    let (client, engine) = Connection::pair().unwrap();
    let (reader, ends) = write_ends(MAX_FDS);
    client.send(b"hello", &borrow(&ends)).unwrap();
    drop(ends);
    let mut buffer = [0; 64];
    let mut received = engine.receive(&mut buffer).unwrap();
    assert_eq!(&buffer[..received.len], b"hello");
    assert_eq!(received.fds.len(), MAX_FDS);
    let one = received.fds.take(3).unwrap();
    assert!(received.fds.take(3).is_none() && received.fds.take(MAX_FDS).is_none());
    let flags = rustix::io::fcntl_getfd(&one).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    assert_eq!(received.fds.into_iter().count(), MAX_FDS - 1);
    drop(one);
    assert!(all_closed(reader));
}

#[test]
fn order_is_kept() {
    let (client, engine) = Connection::pair().unwrap();
    let files = [
        File::open("/dev/null").unwrap(),
        File::open("/dev/zero").unwrap(),
    ];
    client
        .send(b"x", &[files[0].as_fd(), files[1].as_fd()])
        .unwrap();
    let mut received = engine.receive(&mut [0; 8]).unwrap();
    for (index, file) in files.iter().enumerate() {
        let got = rustix::fs::fstat(received.fds.take(index).unwrap()).unwrap();
        assert_eq!(got.st_rdev, rustix::fs::fstat(file).unwrap().st_rdev);
    }
}

/// promises G2: more descriptors than agreed, from a hostile sender that does not use this module.
#[test]
fn too_many_descriptors_are_an_error_and_all_closed() {
    for count in [MAX_FDS + 1, MAX_FDS + 2, 100, 253] {
        let (client, engine) = Connection::pair().unwrap();
        let (reader, ends) = write_ends(count);
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = borrow(&ends);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let message = [IoSlice::new(b"flood")];
        sendmsg(client.as_fd(), &message, &mut control, SendFlags::empty()).unwrap();
        drop(ends);
        let error = engine.receive(&mut [0; 64]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{count}");
        assert!(all_closed(reader), "{count}");
    }
}

#[test]
fn a_message_longer_than_the_buffer_is_an_error_and_its_descriptors_closed() {
    let (client, engine) = Connection::pair().unwrap();
    let (reader, ends) = write_ends(2);
    client.send(&[7; 65], &borrow(&ends)).unwrap();
    client.send(b"next", &[]).unwrap();
    drop(ends);
    let mut buffer = [0; 64];
    let error = engine.receive(&mut buffer).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(all_closed(reader));
    assert_eq!(engine.receive(&mut buffer).unwrap().len, 4);
}

#[test]
fn bad_sends_are_refused() {
    let (client, _engine) = Connection::pair().unwrap();
    let (_reader, ends) = write_ends(MAX_FDS + 1);
    for result in [client.send(b"", &[]), client.send(b"x", &borrow(&ends))] {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}

#[test]
fn nothing_blocks_and_the_end_is_a_message_of_length_zero() {
    let (client, engine) = Connection::pair().unwrap();
    let mut buffer = [0; 8];
    let kind = engine.receive(&mut buffer).unwrap_err().kind();
    assert_eq!(kind, io::ErrorKind::WouldBlock);
    let limit = Duration::from_millis(20);
    let error = engine.receive_within(&mut buffer, limit).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
    let full = loop {
        if let Err(error) = client.send(&[1; 1_000], &[]) {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    drop(client);
    let mut large = [0; 2_000];
    while engine.receive_within(&mut large, limit).unwrap().len > 0 {}
    let error = engine.send(b"x", &[]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
}

#[test]
fn a_listener_has_its_mode_and_knows_who_connects() {
    let directory = std::env::temp_dir().join(format!("udco-sys-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("socket");
    let _ = std::fs::remove_file(&path);
    let listener = Listener::listen(&path, 0o640).unwrap();
    let mode = rustix::fs::stat(&path).unwrap().st_mode;
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    let client = Connection::connect(&path).unwrap();
    let server = listener.accept().unwrap();
    let peer = server.peer_credentials().unwrap();
    assert_eq!(peer.pid, std::process::id().cast_signed());
    assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
    client.send(b"hi", &[]).unwrap();
    assert_eq!(server.receive(&mut [0; 8]).unwrap().len, 2);

    assert!(Listener::listen(&path, 0o640).is_err());
    assert!(Listener::adopt(client.into_fd()).is_err());
    let listening: RawFd = listener.as_fd().as_raw_fd();
    let adopted = Listener::adopt(listener.fd).unwrap();
    assert_eq!(adopted.as_fd().as_raw_fd(), listening);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn an_end_of_a_connection_is_not_taken_for_an_end_of_a_pair() {
    let (one, _other) = Connection::pair().unwrap();
    Connection::adopt_pair_end(one.into_fd()).unwrap();
    let path = std::env::temp_dir().join(format!("udco-pair-end-{}", std::process::id()));
    let listener = Listener::listen(&path, 0o600).unwrap();
    let called = Connection::connect(&path).unwrap();
    let _accepted = listener.accept().unwrap();
    let refused = Connection::adopt_pair_end(called.into_fd()).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
    let alone = Connection::adopt_pair_end(unix_socket().unwrap()).unwrap_err();
    assert_eq!(alone.raw_os_error(), Some(libc::ENOTCONN));
    std::fs::remove_file(&path).unwrap();
}
