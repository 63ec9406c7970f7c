//! Descriptors of all kinds, most of them useless to an engine.

use std::fs::File;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, fcntl_setfl, memfd_create};
use udco_sys::route::Monitor;
use udco_sys::seqpacket::Connection;
use udco_sys::{hostile, tun};

use crate::dice::Dice;

const AF_NETLINK: i32 = 16;
const AF_UNIX: i32 = 1;
const RAW: i32 = 3;
const SEQPACKET: i32 = 5;

/// `TUNSETIFF`, `TUNSETOFFLOAD`, `TUNSETSNDBUF`, `TUNSETQUEUE`, `TUNSETVNETHDRSZ`, `TUNSETCARRIER`.
const TUN_IOCTLS: [u32; 6] = [
    0x4004_54ca,
    0x4004_54d0,
    0x4004_54d4,
    0x4004_54d9,
    0x4004_54d8,
    0x4004_54e2,
];

/// Descriptors to pass, and those that must stay open to keep them intact.
pub(super) struct Descriptors {
    pub(super) all: Vec<OwnedFd>,
    _kept: Vec<OwnedFd>,
}

impl Descriptors {
    pub(super) fn open(engine: &Path) -> Self {
        let (mut all, mut kept) = (Vec::new(), Vec::new());
        let mut add = |made: io::Result<Vec<OwnedFd>>| all.extend(made.into_iter().flatten());
        for path in [
            "/dev/null",
            "/dev/full",
            "/dev/zero",
            "/proc/self/status",
            "/",
            "/dev/net/tun",
        ] {
            add(File::open(path).map(|file| vec![file.into()]));
        }
        let bare = |flags| rustix::fs::open("/dev/null", flags, Mode::empty());
        add(bare(OFlags::PATH).map(|fd| vec![fd]).map_err(Into::into));
        add(io::pipe().map(|(one, other)| vec![one.into(), other.into()]));
        add(full_pipe(&mut kept));
        add(Ok(hostile::odd_descriptors()));
        for protocol in [0, 15, 16] {
            add(hostile::socket(AF_NETLINK, RAW, protocol).map(|fd| vec![fd]));
        }
        add(hostile::socket(AF_UNIX, SEQPACKET, 0).map(|fd| vec![fd]));
        for address in ["127.0.0.1:0", "[::1]:0"] {
            add(UdpSocket::bind(address).map(|it| vec![it.into()]));
            add(TcpListener::bind(address).map(|it| vec![it.into()]));
        }
        add(connected(&mut kept));
        add(UnixStream::pair().map(|(one, other)| vec![one.into(), other.into()]));
        add(UnixDatagram::pair().map(|(one, other)| vec![one.into(), other.into()]));
        add(Connection::pair().map(|(one, other)| vec![one.into_fd(), other.into_fd()]));
        // Connected to the engine itself.
        add(Connection::connect(engine).map(|it| vec![it.into_fd()]));
        add(memory_files());
        add(tun::create("fuzz%d", 2).map(|made| made.queues));
        add(Monitor::open().map(|it| vec![it.into_fd()]));
        Self { all, _kept: kept }
    }

    /// Some of them, possibly none.
    pub(super) fn some(&self, dice: &mut Dice, most: usize) -> Vec<&OwnedFd> {
        let count = dice.below(most + 1);
        let any = (0..count).filter_map(|_| self.all.get(dice.below(self.all.len())));
        any.collect()
    }

    /// Changes some of them in ways that would block a careless engine.
    pub(super) fn tamper(&self, dice: &mut Dice) {
        for fd in self.some(dice, 4) {
            tamper(fd, dice);
        }
    }
}

/// Flips flags and options of a shared open file.
pub(super) fn tamper(fd: impl AsFd, dice: &mut Dice) {
    let flags = match dice.below(2) {
        0 => OFlags::empty(),
        _ => OFlags::NONBLOCK,
    };
    let _ = fcntl_setfl(&fd, flags);
    let value = match dice.below(4) {
        0 => 0,
        1 => 1,
        2 => i32::MAX,
        _ => dice.next() as i32,
    };
    let level = [1, 6, 17, 0, 41, 270][dice.below(6)];
    let _ = hostile::set_option(&fd, level, dice.below(80) as i32, &[value, 0, 0, 0]);
    let _ = hostile::ioctl(&fd, TUN_IOCTLS[dice.below(6)], value);
    if dice.below(8) == 0 {
        let _ = rustix::net::shutdown(&fd, rustix::net::Shutdown::Both);
    }
}

fn full_pipe(kept: &mut Vec<OwnedFd>) -> io::Result<Vec<OwnedFd>> {
    let (reader, mut writer) = io::pipe()?;
    fcntl_setfl(&writer, OFlags::NONBLOCK)?;
    while writer.write(&[0; 4096]).is_ok() {}
    fcntl_setfl(&writer, OFlags::empty())?;
    kept.push(reader.into());
    Ok(vec![writer.into()])
}

fn connected(kept: &mut Vec<OwnedFd>) -> io::Result<Vec<OwnedFd>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let one = TcpStream::connect(listener.local_addr()?)?;
    kept.push(listener.accept()?.0.into());
    Ok(vec![one.into()])
}

fn memory_files() -> io::Result<Vec<OwnedFd>> {
    let sealed = memfd_create("fuzz", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    fcntl_add_seals(
        &sealed,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK,
    )?;
    Ok(vec![memfd_create("fuzz", MemfdFlags::CLOEXEC)?, sealed])
}
