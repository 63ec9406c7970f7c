//! What programs do with their files.

use crate::calls::*;
use libc::*;

/// Runs the program of that name.
pub(crate) fn run(name: &str) {
    match name {
        "closed-inside" => closed_inside(),
        "no-bytes" => no_bytes(),
        other => panic!("no program {other}"),
    }
}

/// A connection over TCP: one end, and what keeps the other open.
fn connected() -> (c_int, [c_int; 2]) {
    let listener = tcp_listener();
    let client = tcp_client(inet_port(listener));
    (client, [listener, accept_one(listener)])
}

fn closed_inside() {
    let (client, _others) = connected();
    // SAFETY: an open number, and a C string.
    let file = unsafe { fdopen(client, c"r".as_ptr()) };
    // SAFETY: it is open.
    assert_eq!(unsafe { fclose(file) }, 0);
    let mut pipe = [0; 2];
    // SAFETY: room for two numbers.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    assert_eq!(pipe[0], client, "the number is used again");
    let mut byte = [0_u8; 4];
    for _ in 0..2 {
        // SAFETY: pointer and length describe the byte.
        assert_eq!(unsafe { write(pipe[1], b"x".as_ptr().cast(), 1) }, 1);
        // SAFETY: pointer and length describe the room.
        let len = unsafe { read(pipe[0], byte.as_mut_ptr().cast(), byte.len()) };
        assert_eq!((len, byte[0]), (1, b'x'), "{}", errno());
    }
}

fn no_bytes() {
    // The signal ends it if it waits.
    // SAFETY: no pointers.
    unsafe { alarm(10) };
    let (client, _others) = connected();
    let mut byte = [0_u8; 1];
    let part = iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 0,
    };
    // SAFETY: nothing is written.
    assert_eq!(unsafe { read(client, byte.as_mut_ptr().cast(), 0) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { readv(client, &raw const part, 1) }, 0);
}
