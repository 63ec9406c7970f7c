//! A client and its network namespace end (promises I2, dco-behaviour 5.11).

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use udco_engine::{Access, Listening};

use crate::api::{Api, PRIMARY, Target};
use crate::client::namespace::{enter, say};
use crate::client::{Client, engine};
use crate::eventually::eventually;
use crate::site::{
    FakeOpenVpn, TransportSocket, configure, ip, is_interface, no_more_fds_than, open_fds,
};

const NAME: &str = "namespace_exit::a_killed_client_leaves_a_dead_interface_and_its_namespace_goes";

/// The engine's socket path; set in the process of the client that is killed.
const ENGINE: &str = "UDCO_WIRE_ENGINE";

const READY: &str = "the device is up";

#[test]
fn a_killed_client_leaves_a_dead_interface_and_its_namespace_goes() {
    if let Some(path) = env::var_os(ENGINE) {
        return be_killed(Path::new(&path));
    }
    if !enter(NAME) {
        return;
    }
    let engine = engine();
    let path = SocketFile::new();
    let listening = Listening::start(&path.0, Access::default()).unwrap();
    {
        let engine = engine.clone();
        thread::spawn(move || listening.serve(&engine));
    }
    let here = Client::welcome(&engine);
    let mut before = 0;
    for round in 0..10 {
        if round == 2 {
            before = open_fds();
        }
        let client = Command::new("unshare")
            .args(["-n", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
            .arg(env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(ENGINE, &path.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut client = Running(client);
        let output = BufReader::new(client.0.stdout.take().unwrap());
        let ready = output
            .lines()
            .map_while(Result::ok)
            .any(|line| line == READY);
        assert!(ready, "the client has a device");
        let devices = || here.show()["devices"].as_array().unwrap().clone();
        assert_eq!(devices()[0]["peers"].as_array().unwrap().len(), 50);
        // Killing the client removes its device with the namespace.
        let pid = client.0.id();
        ip(&[&format!(
            "link add canary0 type veth peer name canary1 netns {pid}"
        )]);
        assert!(is_interface("canary0"));
        // As `ip netns` does: the namespace stays as long as it is open.
        let namespace = File::open(format!("/proc/{pid}/ns/net")).unwrap();
        assert!(has_device(&namespace));
        drop(client);
        eventually("the device has gone", || devices().is_empty());
        // It fails closed (faults A1), and keeps no namespace alive.
        assert!(has_device(&namespace));
        assert!(is_interface("canary0"));
        drop(namespace);
        eventually("the namespace has gone", || !is_interface("canary0"));
    }
    no_more_fds_than(before);
}

/// Whether the client's interface exists in this namespace.
fn has_device(namespace: &File) -> bool {
    let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    let links = Command::new("nsenter")
        .args([&format!("--net={path}"), "ip", "link"])
        .output()
        .unwrap();
    assert!(links.status.success());
    String::from_utf8_lossy(&links.stdout).contains("exit0")
}

/// The client: a device with peers in a namespace of its own, until it is killed.
fn be_killed(path: &Path) {
    let client = Client::connect(path);
    let requests = client.open_channel();
    let (family, _) = client.family(&requests, "ovpn");
    let ifindex = client.make_device("ovpn", "exit0");
    configure("exit0");
    let target = Target {
        api: Api::Ovpn,
        family,
        ifindex,
    };
    let openvpn = FakeOpenVpn::new(client, target, TransportSocket::open());
    for id in 0..50 {
        openvpn.must(&target.peer_new(&openvpn.new_peer(id, openvpn.transport.address)));
        openvpn.must(&target.key_new(id, PRIMARY, 0));
    }
    say(READY);
    loop {
        thread::park();
    }
}

/// A process that is killed when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A path for the engine's socket, in the folder for such files; the file is removed when this is dropped.
struct SocketFile(PathBuf);

impl SocketFile {
    fn new() -> Self {
        let name = format!("udco-wire-{}", std::process::id());
        Self(env::temp_dir().join(name))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
