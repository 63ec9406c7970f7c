//! One engine, two users, two network namespaces: which user may act on which device (promises G5).

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use udco_testbed::hostile::TENANT;
use udco_testbed::{Host, Lab, skip, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Runs `udco` as root or as the other user, and returns whether it succeeded, and its output.
fn says(host: &Host, is_other: bool, binary: &str, words: &[&str]) -> Result<(bool, String)> {
    let user: &[&str] = if is_other { &TENANT } else { &[] };
    let output = host.output(&[user, &[binary], words].concat())?;
    let text = [output.stdout, output.stderr].concat();
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

#[test]
fn a_user_acts_on_devices_of_its_own_and_of_its_namespace_only() -> Result<()> {
    let lab = Lab::new()?;
    if !lab.is_privileged() {
        skip("no second user in an unprivileged lab");
        return Ok(());
    }
    let (here, elsewhere) = (lab.host("here")?, lab.host("elsewhere")?);
    let binary = udco::program()?;
    let path = &lab.file("engine.sock")?;
    let _daemon = udco::daemon(
        &here,
        "daemon.log",
        &["--socket", path, "--allow-uid", "65534"],
    )?;
    let root = |host: &Host, words: &[&str]| {
        says(host, false, binary, &[words, &["--engine", path]].concat())
    };
    let other = |host: &Host, words: &[&str]| {
        says(host, true, binary, &[words, &["--engine", path]].concat())
    };

    let (made, text) = root(&here, &["link", "add", "tun7", "--mode", "mp"])?;
    ensure!(made, "root: {text}");
    let (made, text) = other(&here, &["link", "add", "tun8", "--mode", "mp"])?;
    ensure!(made, "the other user: {text}");

    for device in ["tun7", "tun8"] {
        let (may, text) = root(&here, &["peer", "get", device, "--json"])?;
        ensure!(may && text.trim() == "[]", "root on {device}: {text}");
    }
    let (may, text) = other(&here, &["peer", "get", "tun8", "--json"])?;
    ensure!(may && text.trim() == "[]", "its own: {text}");
    let requests: [&[&str]; 3] = [
        &["peer", "get", "tun7", "--json"],
        &["peer", "del", "tun7", "--id", "1"],
        &["key", "swap", "tun7", "--peer", "1"],
    ];
    for words in requests {
        let (may, text) = other(&here, words)?;
        ensure!(
            !may && text.contains("Operation not permitted"),
            "root's: {words:?}: {text}"
        );
    }

    // Packets are its user's and root's alone, whoever may see that there is a device.
    let file = lab.file("packets")?;
    let (may, text) = other(&here, &["capture", "tun7", "--write", &file])?;
    ensure!(
        !may && text.contains("another user has created it"),
        "root's: {text}"
    );
    ensure!(!Path::new(&file).exists(), "a file without packets");

    // An interface of the same name and index in another namespace is a different one, even for root.
    elsewhere.run(&["ip", "tuntap", "add", "tun7", "mode", "tun"])?;
    for words in requests {
        let (may, text) = root(&elsewhere, words)?;
        ensure!(!may, "from elsewhere: {words:?}: {text}");
    }
    let (gone, text) = root(&here, &["link", "del", "tun7"])?;
    ensure!(gone, "{text}");
    ensure!(elsewhere.has_device("tun7"), "the one elsewhere went");
    let (gone, text) = other(&here, &["link", "del", "tun8"])?;
    ensure!(gone && !here.has_device("tun8"), "{text}");
    Ok(())
}

/// The socket of an engine for some users is open to all, and the engine reads nothing from the others.
#[test]
fn a_user_who_may_not_use_an_engine_is_told_so() -> Result<()> {
    let lab = Lab::new()?;
    if !lab.is_privileged() {
        skip("no second user in an unprivileged lab");
        return Ok(());
    }
    let host = lab.host("host")?;
    let binary = udco::program()?;
    let path = &lab.file("engine.sock")?;
    let options = ["--socket", path, "--allow-uid", "1"];
    let _daemon = udco::daemon(&host, "daemon.log", &options)?;
    let make = ["ip", "link", "add", "tun9", "type", "ovpn"];
    let preloaded = [&["run", "--engine", path, "--"][..], &make].concat();
    for words in [
        &["link", "add", "tun9", "--engine", path][..],
        &["show", "--engine", path],
        &preloaded,
    ] {
        let (may, text) = says(&host, true, binary, words)?;
        ensure!(
            !may && text.contains("you may not use "),
            "{words:?}: {text}"
        );
    }
    lab.discard_logs();
    Ok(())
}

/// Before Linux 6.4 a TUN queue honours only the flags of its open file, which a tenant shares (faults D2). strace
/// plays the older kernel: it refuses the unknown flag.
#[test]
fn before_linux_6_4_a_shared_engine_takes_no_device_of_a_tenant() -> Result<()> {
    let lab = Lab::new()?;
    if !lab.is_privileged() {
        skip("no second user in an unprivileged lab");
        return Ok(());
    }
    let host = lab.host("here")?;
    let binary = udco::program()?;
    let path = &lab.file("engine.sock")?;
    let older = "inject=preadv2,pwritev2:error=EOPNOTSUPP";
    // In a call that strace refuses, the filter of system calls sees another number.
    let strace = [
        "env",
        "UDCO_STRICT=",
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        older,
    ];
    let daemon = [binary, "daemon", "--socket", path, "--allow-uid", "65534"];
    let mut daemon = host.spawn("daemon.log", &[&strace[..], &daemon].concat())?;
    daemon.wait_for_log("listening at", SOON)?;
    for (is_other, device) in [(false, "tun7"), (true, "tun8")] {
        let words = ["link", "add", device, "--mode", "mp", "--engine", path];
        let (made, text) = says(&host, is_other, binary, &words)?;
        ensure!(made != is_other, "{device}: {text}");
    }
    ensure!(!host.has_device("tun8"), "a refused device stays");
    daemon.wait_for_log("give this user an engine of its own", SOON)
}
