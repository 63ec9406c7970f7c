//! A scripted engine, and programs under the preload library.

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType, recvmsg, send, socketpair,
};
use std::cell::OnceCell;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use udco_ipc::{MAX_MESSAGE, Partial, REQUEST_MARK, ToClient, ToEngine, VERSION};

/// The engine's end of a connection.
pub(crate) struct Engine {
    /// The socket through which programs request connections.
    dispenser: OwnedFd,
    /// The first connection.
    socket: OnceCell<OwnedFd>,
}

/// A client's message, and the descriptors beside it.
pub(crate) struct Asked {
    pub(crate) seq: u32,
    bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Asked {
    pub(crate) fn message(&self) -> ToEngine<'_> {
        ToEngine::decode(&self.bytes).expect("a message").1
    }
}

/// A running program; killed if the test fails.
pub(crate) struct Program(Option<Child>);

impl Engine {
    /// Starts the program `name` of `tests/program`, connected to a new engine.
    pub(crate) fn start(name: &str) -> (Self, Program) {
        Self::start_with(name, command())
    }

    /// As [`Engine::start`], with a command that starts this executable.
    pub(crate) fn start_with(name: &str, mut command: Command) -> (Self, Program) {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("a pair");
        let number = theirs.as_raw_fd();
        command.env("UDCO_FD", number.to_string());
        // SAFETY: the closure makes one system call, which may be made between fork and exec.
        unsafe {
            command.pre_exec(move || {
                keep_at_exec(number);
                Ok(())
            })
        };
        let program = spawn(name, command);
        let engine = Self {
            dispenser: ours,
            socket: OnceCell::new(),
        };
        (engine, program)
    }

    /// The next connection that a program requests.
    pub(crate) fn accept(&self) -> Option<Self> {
        let asked = receive(&self.dispenser)?;
        assert_eq!(asked.message(), ToEngine::Connect);
        Some(self.adopt(asked))
    }

    /// The connection that came with a [`ToEngine::Connect`].
    pub(crate) fn adopt(&self, mut asked: Asked) -> Self {
        let socket = asked.fds.pop().expect("the end of a connection");
        Self {
            dispenser: self.dispenser.try_clone().expect("an fd"),
            socket: socket.into(),
        }
    }

    fn socket(&self) -> Option<&OwnedFd> {
        if self.socket.get().is_none() {
            let first = self.accept()?.socket.into_inner()?;
            let _ = self.socket.set(first);
        }
        self.socket.get()
    }

    /// Sends `Welcome`.
    pub(crate) fn welcome(self) -> Self {
        let hello = self.next();
        assert!(
            matches!(hello.message(), ToEngine::Hello { version: VERSION, program, .. } if !program.is_empty())
        );
        self.say(hello.seq, &ToClient::Welcome { version: VERSION });
        assert!(matches!(self.next().message(), ToEngine::Output { .. }));
        self
    }

    /// Opens the requested channel, as number 7.
    pub(crate) fn channel(&self) -> OwnedFd {
        let mut asked = self.next();
        assert_eq!(asked.message(), ToEngine::OpenChannel);
        self.say(asked.seq, &ToClient::Channel { channel: 7 });
        asked.fds.pop().expect("the end of a channel")
    }

    /// The next message; panics at the end.
    pub(crate) fn next(&self) -> Asked {
        self.try_next().expect("a message")
    }

    /// The next message; `None` when the client has gone.
    pub(crate) fn try_next(&self) -> Option<Asked> {
        receive(self.socket()?)
    }

    pub(crate) fn say(&self, seq: u32, message: &ToClient<'_>) {
        let mut buffer = vec![0; MAX_MESSAGE];
        let len = message.encode(seq, &mut buffer).expect("it fits");
        put(self.socket().expect("a connection"), &buffer[..len]);
    }

    pub(crate) fn done(&self, asked: &Asked) {
        self.done_with(asked, false, false);
    }

    pub(crate) fn done_with(&self, asked: &Asked, replace_fd: bool, more: bool) {
        let done = ToClient::Done {
            errno: 0,
            replace_fd,
            more,
        };
        self.say(asked.seq, &done);
    }

    /// Waits for the program's `Request` and returns it.
    pub(crate) fn request(&self) -> Asked {
        let asked = self.next();
        assert!(matches!(
            asked.message(),
            ToEngine::Request { channel: 7, .. }
        ));
        asked
    }

    /// Waits for the program's `Request`, marks its beginning in the channel as the engine does, and returns it.
    pub(crate) fn begin_request(&self, channel: &OwnedFd) -> Asked {
        let asked = self.request();
        put(channel, REQUEST_MARK);
        asked
    }

    /// Takes over the transport socket that the program's request names (its fd number follows the header); returns the
    /// real socket and the relay.
    pub(crate) fn take_socket(&self, channel: &OwnedFd) -> (OwnedFd, OwnedFd) {
        self.take_stream(channel, Partial::Nothing)
    }

    /// The same for a stream, given how far the program has read into it.
    pub(crate) fn take_stream(&self, channel: &OwnedFd, partial: Partial) -> (OwnedFd, OwnedFd) {
        let request = self.begin_request(channel);
        let datagram = datagram(&request);
        let fd = i32::from_ne_bytes(datagram[16..20].try_into().expect("four bytes"));
        self.say(request.seq, &ToClient::NeedSocket { fd });
        let mut socket = self.next();
        assert_eq!(socket.message(), ToEngine::Socket { errno: 0, partial });
        assert_eq!(socket.seq, request.seq);
        let relay = socket.fds.pop().expect("a relay");
        let real = socket.fds.pop().expect("a socket");
        put(channel, &acknowledgement(&datagram));
        self.done_with(&request, true, false);
        (real, relay)
    }
}

impl Program {
    /// Stops the program for longer than it waits for an engine, and returns once it had time to see that.
    pub(crate) fn freeze(&self) {
        let child = self.0.as_ref().expect("still running");
        let signal = |signal| {
            // SAFETY: a child that was not waited for, so its id is still its own.
            assert_eq!(unsafe { libc::kill(child.id().cast_signed(), signal) }, 0);
        };
        signal(libc::SIGSTOP);
        std::thread::sleep(Duration::from_millis(1300));
        signal(libc::SIGCONT);
        std::thread::sleep(Duration::from_millis(100));
    }

    /// Waits until the program succeeds, and returns its output.
    pub(crate) fn finish(self) -> String {
        self.end(true)
    }

    /// Waits until the program fails, and returns its output.
    pub(crate) fn fail(self) -> String {
        self.end(false)
    }

    fn end(mut self, succeeds: bool) -> String {
        let child = self.0.take().expect("still running");
        let output = child.wait_with_output().expect("an end");
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), succeeds, "{said}");
        said
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let output = child.wait_with_output().expect("an end");
            eprintln!("{}", String::from_utf8_lossy(&output.stdout));
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

fn receive(socket: &OwnedFd) -> Option<Asked> {
    let mut bytes = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(17))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .ok()?;
    bytes.truncate(received.bytes);
    let (seq, _) = ToEngine::decode(&bytes).ok()?;
    let fds = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    Some(Asked { seq, bytes, fds })
}

/// A command that starts this executable.
pub(crate) fn command() -> Command {
    Command::new(std::env::current_exe().expect("a path"))
}

/// Starts a program of `tests/program` under the library.
pub(crate) fn spawn(name: &str, mut command: Command) -> Program {
    let child = command
        .args(["--exact", "program", "--ignored", "--nocapture"])
        .env("UDCO_TEST_PROGRAM", name)
        .env("LD_PRELOAD", library())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a program");
    Program(Some(child))
}

fn keep_at_exec(fd: i32) {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
}

/// The datagram of a request.
pub(crate) fn datagram(asked: &Asked) -> Vec<u8> {
    match asked.message() {
        ToEngine::Request { datagram, .. } | ToEngine::LinkRequest { datagram, .. } => {
            datagram.to_vec()
        }
        other => panic!("{other:?}"),
    }
}

/// An acknowledgement of a request.
pub(crate) fn acknowledgement(request: &[u8]) -> Vec<u8> {
    let mut bytes = 36u32.to_ne_bytes().to_vec();
    bytes.extend(2u16.to_ne_bytes());
    bytes.extend([0; 2]);
    bytes.extend(&request[8..16]);
    bytes.extend([0; 4]);
    bytes.extend(&request[..16]);
    bytes
}

/// Sends a datagram.
pub(crate) fn put(socket: &OwnedFd, datagram: &[u8]) {
    assert_eq!(
        send(socket, datagram, SendFlags::NOSIGNAL),
        Ok(datagram.len())
    );
}

/// The library. `cargo test` doesn't build a cdylib, so it is built here, in the profile of this test.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let executable = std::env::current_exe().expect("a path");
        let built = executable.ancestors().nth(2).expect("target/profile/deps");
        let profile = built.file_name().expect("a profile");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--lib", "--manifest-path"]);
        build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        build
            .arg("--target-dir")
            .arg(built.parent().expect("target"));
        if profile != "debug" {
            build.arg("--profile").arg(profile);
        }
        assert!(build.status().expect("cargo").success());
        built.join("libudco_preload.so")
    })
}
