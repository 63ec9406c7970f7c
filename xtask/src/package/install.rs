//! Installs the package in a booted Debian, a container with systemd as its first process, and uses stock units of OpenVPN.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use udco_testbed::{Credentials, Pki};

use crate::report::Report;
use crate::{apt, step};

/// What runs inside.
const SCRIPTS: [(&str, &str); 2] = [
    ("guest.sh", include_str!("guest.sh")),
    ("units.sh", include_str!("units.sh")),
];

/// Where it finds its files, and writes its report.
const PLACE: &str = "opt/udco-test";

/// The unit that runs it.
const UNIT: &str = "[Unit]\n\
    Description=Test of the package\n\
    [Service]\n\
    ExecStart=/bin/sh /opt/udco-test/guest.sh\n\
    StandardOutput=append:/opt/udco-test/report\n\
    StandardError=append:/opt/udco-test/report\n";

/// What Debian needs, OpenVPN included.
const INCLUDE: &str =
    "--include=systemd,systemd-sysv,dbus,openvpn,iproute2,iputils-ping,procps,passwd";

/// Longest time from the container's first process to its last, in seconds.
const LIMIT: &str = "900";

/// Boots it in namespaces of its own, below the report that grows. Arguments: root, report, limit.
///
/// Where control groups are of version 1, it has a group of its own for tasks, which `units.sh` lets systemd use.
const BOOT: &str = "mount -t tmpfs none /run && mkdir /run/lock && ip link set lo up || exit 1
    pids=/sys/fs/cgroup/pids
    if [ -w $pids ]; then group=$(mktemp -d $pids/udco-package-XXXXXX) && echo $$ >$group/cgroup.procs; fi
    tail -q -n +1 -f \"$2\" >&2 &
    timeout --kill-after=10 \"$3\" systemd-nspawn --quiet --register=no --keep-unit --console=pipe --private-network \
        --bind=/dev/net/tun --directory \"$1\" --boot systemd.unit=multi-user.target </dev/null >\"$1/console\" 2>&1
    ended=$?
    kill $! && wait $!
    if [ -n \"$group\" ]; then echo $$ >$pids/cgroup.procs; find $group -depth -type d -exec rmdir {} +; fi
    exit $ended";

/// Tests the package, and its replacement by a newer one; fails if a step did.
pub(super) fn test(suite: &str, old: &Path, new: &Path, target: &Path) -> Result<()> {
    let directory = target.join("package").join(format!("debian-{suite}"));
    let name = format!("debian-{suite}");
    let archive = debian(&name, suite, &["--variant=apt", INCLUDE], target)?;
    unpack(&archive, &directory)?;
    let place = directory.join(PLACE);
    furnish(&directory, &place, [old, new])?;
    let file = place.join("report");
    eprintln!("==> boot Debian {suite}");
    let mut boot = Command::new("unshare");
    boot.args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "--propagation", "private", "sh", "-c", BOOT])
        .arg("boot")
        .args([directory.as_path(), file.as_path(), Path::new(LIMIT)]);
    let status = boot.status().context("cannot start unshare")?;
    let report = Report::read(&fs::read_to_string(&file)?);
    let (passed, failed) = (report.passed.len(), report.failed.len());
    println!("Debian {suite}: {passed} steps passed, {failed} failed");
    if !report.is_done {
        let console = fs::read_to_string(directory.join("console")).unwrap_or_default();
        let end: Vec<&str> = console.lines().rev().take(5).collect();
        bail!("the container did not come to its end ({status}): {end:?}");
    }
    ensure!(failed == 0, "failed: {}", report.failed.join("; "));
    apt::remove(&directory)
}

/// An archive of a small Debian, fetched once.
pub(super) fn debian(name: &str, suite: &str, options: &[&str], target: &Path) -> Result<PathBuf> {
    let archive = target.join(format!("package/{name}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    let fresh = archive.with_extension("new.tar");
    let mut bootstrap = Command::new("mmdebstrap");
    bootstrap
        .args(options)
        .arg(suite)
        .arg(&fresh)
        .arg(apt::mirror()?);
    step::run(&format!("Debian {suite} ({name})"), &mut bootstrap)?;
    fs::rename(&fresh, &archive)?;
    Ok(archive)
}

/// Unpacks it into a fresh directory.
pub(super) fn unpack(archive: &Path, directory: &Path) -> Result<()> {
    apt::remove(directory)?;
    fs::create_dir_all(directory)?;
    let mut unpack = Command::new("tar");
    unpack.args(["--numeric-owner", "--xattrs", "-C"]);
    unpack.arg(directory).arg("-xf").arg(archive);
    step::run(&format!("unpack {}", archive.display()), &mut unpack)
}

/// Puts in place what the script needs, and has it started at boot.
fn furnish(root: &Path, place: &Path, debs: [&Path; 2]) -> Result<()> {
    fs::create_dir_all(place)?;
    for (name, text) in SCRIPTS {
        fs::write(place.join(name), text)?;
    }
    fs::write(place.join("report"), "")?;
    for (deb, name) in debs.iter().zip(["old.deb", "new.deb"]) {
        fs::copy(deb, place.join(name)).with_context(|| deb.display().to_string())?;
    }
    let pki = Pki::new(place)?;
    let common = "dev tun0\nproto udp\nca ca.crt\nverb 3\nkeepalive 10 60\n";
    let server = keys(&pki.server("server")?)?;
    let client = keys(&pki.client("client")?)?;
    fs::write(
        place.join("server.conf"),
        format!(
            "{common}{server}server 10.8.0.0 255.255.255.0\ntopology subnet\ndh none\nport 1194\n"
        ),
    )?;
    fs::write(
        place.join("client.conf"),
        format!("{common}{client}client\nremote 192.0.2.1 1194\n"),
    )?;
    let units = root.join("etc/systemd/system");
    let wants = units.join("multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    fs::write(units.join("udco-test.service"), UNIT)?;
    std::os::unix::fs::symlink("../udco-test.service", wants.join("udco-test.service"))?;
    Ok(())
}

/// The options that name them, without their directory.
pub(super) fn keys(credentials: &Credentials) -> Result<String> {
    let name = |path: &Path| {
        let name = path.file_name().context("no name")?;
        Ok::<_, anyhow::Error>(name.to_string_lossy().into_owned())
    };
    let [certificate, key] = [name(&credentials.certificate)?, name(&credentials.key)?];
    Ok(format!("cert {certificate}\nkey {key}\n"))
}
