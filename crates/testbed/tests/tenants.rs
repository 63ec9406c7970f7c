//! Hostile programs of an allowed user, and of one who is not, against a daemon that serves root's tunnel (faults D3).

use std::os::unix::fs::PermissionsExt;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use udco_testbed::hostile::{Attack, TENANT_UID};
use udco_testbed::measure::Ping;
use udco_testbed::{
    Endpoint, Host, Launch, Pair, Process, Proto, addresses as at, connect, eventually, skip, udco,
};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(10);

const PROGRAM: &str = env!("CARGO_BIN_EXE_udco-hostile-front");

/// The most memory that the engine ever takes, in KiB.
const MOST_MEMORY: u64 = 64 << 10;

/// A daemon with root's tunnel, and a host for the others.
struct Scene {
    pair: Pair,
    elsewhere: Host,
    daemon: Process,
    socket: String,
    binary: String,
    _tunnel: (Endpoint, Endpoint),
}

impl Scene {
    fn new() -> Result<Self> {
        let pair = Pair::new()?;
        let elsewhere = pair.lab.host("elsewhere")?;
        let socket = pair.lab.directory().join("engine.sock");
        let socket = socket
            .to_str()
            .context("a path that is not UTF-8")?
            .to_owned();
        let binary = udco::binary()?;
        let binary = binary
            .to_str()
            .context("a path that is not UTF-8")?
            .to_owned();
        let daemon = [
            &binary,
            "daemon",
            "--socket",
            &socket,
            "--allow-uid",
            TENANT_UID,
        ];
        let mut daemon = elsewhere.spawn("daemon.log", &daemon)?;
        daemon.wait_for_log("listening at", SOON)?;
        let launch = |builder: udco_testbed::Builder| {
            builder.launch(Launch::Preload).env("UDCO_SOCKET", &socket)
        };
        let tunnel = connect(
            launch(pair.server(Proto::Udp4)),
            launch(pair.client(Proto::Udp4)),
        )?;
        Ok(Self {
            pair,
            elsewhere,
            daemon,
            socket,
            binary,
            _tunnel: tunnel,
        })
    }

    /// A number of `/proc/PID/status` of the daemon.
    fn status(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        Ok(number.context("no such field")?.parse()?)
    }

    /// How many files the daemon has open.
    fn open_files(&self) -> Result<u64> {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.daemon.pid()))?;
        Ok(files.count() as u64)
    }

    /// Root's tunnel loses nothing, and each of root's questions is answered, while these programs run.
    fn require_service(&self, mut hostile: Vec<Child>, what: &str) -> Result<()> {
        let begin = Instant::now();
        let mut asked = 0;
        while hostile
            .iter_mut()
            .any(|it| matches!(it.try_wait(), Ok(None)))
        {
            let output =
                self.elsewhere
                    .output(&[&self.binary, "show", "--engine", &self.socket])?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(
                output.status.success(),
                "{what}: root's question {asked}: {text}"
            );
            asked += 1;
            Ping::to(at::INNER_SERVER)
                .count(5)
                .interval(Duration::from_millis(20))
                .all_answered(&self.pair.client)
                .with_context(|| what.to_owned())?;
            ensure!(
                begin.elapsed() < Duration::from_secs(60),
                "{what}: it does not end"
            );
        }
        for mut program in hostile {
            ensure!(program.wait()?.success(), "{what}: it ran");
        }
        ensure!(asked > 1, "{what}: root asked {asked} times");
        let most = self.status("VmHWM")?;
        ensure!(most < MOST_MEMORY, "{what}: {most} KiB");
        let now = self.status("Threads")?;
        println!("{what}: root asked {asked} times; at most {most} KiB; {now} threads");
        Ok(())
    }
}

#[test]
fn hostile_programs_cost_root_nothing() -> Result<()> {
    let scene = Scene::new()?;
    if !scene.pair.lab.is_privileged() {
        skip("no second user in an unprivileged lab");
        return Ok(());
    }
    let mode = std::fs::metadata(&scene.socket)?.permissions().mode() & 0o777;
    ensure!(mode == 0o660, "the socket's mode is {mode:o}");
    // Its threads and files when nobody else is there; a question has just been answered.
    let (threads, files): (u64, u64) = (scene.status("Threads")?, scene.open_files()?);
    ensure!(
        threads > 3 && files > 10,
        "{threads} threads, {files} files: not the engine"
    );
    for attack in Attack::ALL {
        let start = || attack.start(&scene.elsewhere, PROGRAM, &scene.socket, 2);
        scene.require_service(vec![start()?, start()?], attack.name())?;
        eventually("threads and files to be given back", SOON, || {
            Ok((scene.status("Threads")? <= threads && scene.open_files()? <= files).then_some(()))
        })?;
    }
    let knock = || Attack::Knock.start_as_stranger(&scene.elsewhere, PROGRAM, &scene.socket, 1);
    scene.require_service(vec![knock()?, knock()?], "strangers")?;
    let lines = scene.daemon.log().lines().count();
    ensure!(lines < 200, "{lines} lines in the log");
    println!("{lines} lines in the log");
    scene.pair.lab.discard_logs();
    Ok(())
}
