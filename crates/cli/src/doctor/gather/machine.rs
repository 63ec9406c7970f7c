//! `/dev/net/tun`, the kernel, rights and limits of this process.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use rustix::io::Errno;
use rustix::process::{Resource, geteuid, getrlimit};
use udco_options::Series;

use crate::doctor::facts::{Kernel, KernelDriver, Limits, Machine, Release, Rights, Starter, Tun};

/// Numbers of capabilities.
const CAP_SETPCAP: u32 = 8;
const CAP_NET_ADMIN: u32 = 12;

pub(super) fn look(openvpn: Option<Release>) -> Machine {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Machine {
        tun: tun(),
        kernel: kernel(openvpn.and_then(Release::series)),
        is_seen_by_root: geteuid().is_root(),
        now: now.map_or(0, |now| now.as_secs().cast_signed()),
    }
}

pub(super) fn own_starter() -> Starter {
    Starter {
        is_root: geteuid().is_root(),
        rights: own_rights(),
    }
}

fn own_rights() -> Option<Rights> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    let set = u64::from_str_radix(line.trim(), 16).ok()?;
    let has = |number: u32| set >> number & 1 == 1;
    Some(Rights {
        net_admin: has(CAP_NET_ADMIN),
        setpcap: has(CAP_SETPCAP),
    })
}

pub(super) fn own_limits() -> Limits {
    Limits {
        open_files: udco_sys::process::open_files(),
        processes: getrlimit(Resource::Nproc)
            .current
            .filter(|_| !is_exempt(geteuid().as_raw())),
        tasks: tasks(),
        memory: memory(
            getrlimit(Resource::As).current,
            getrlimit(Resource::Data).current,
        ),
        cores: cores(),
    }
}

/// Addresses that the program itself takes.
const PROGRAM: u64 = 10 << 20;

/// What limits of addresses and of data leave to an engine.
pub(super) fn memory(addresses: Option<u64>, data: Option<u64>) -> Option<u64> {
    let addresses = addresses.map(|it| it.saturating_sub(PROGRAM));
    [addresses, data].into_iter().flatten().min()
}

/// Whether the kernel holds this user to no number of processes: root, but not that of a user namespace.
pub(super) fn is_exempt(uid: u32) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let words: Vec<_> = map.split_whitespace().collect();
    uid == 0 && words == ["0", "0", "4294967295"]
}

/// The lowest limit on tasks of the control groups that this process is in (version 2).
fn tasks() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = Path::new("/sys/fs/cgroup").join(group);
    let inside = group
        .ancestors()
        .take_while(|it| it.starts_with("/sys/fs/cgroup"));
    let limits = inside.filter_map(|it| {
        let text = fs::read_to_string(it.join("pids.max")).ok()?;
        text.trim().parse().ok()
    });
    limits.min()
}

pub(super) fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |it| it.get() as u64)
}

/// Opens the device without attaching to an interface, which changes nothing.
fn tun() -> Tun {
    let opened = File::options().read(true).write(true).open("/dev/net/tun");
    let Err(error) = opened else {
        return Tun::Usable;
    };
    match (error.kind(), Errno::from_io_error(&error)) {
        (io::ErrorKind::NotFound, _) => Tun::Missing,
        (io::ErrorKind::PermissionDenied, _) => Tun::Denied,
        (_, Some(Errno::NODEV | Errno::NXIO)) => Tun::NoDriver,
        _ => Tun::Broken(crate::refusal::io_words(&error)),
    }
}

fn kernel(series: Option<Series>) -> Kernel {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|it| it.parse().ok()).unwrap_or(0);
    let modules = fs::read_to_string("/sys/kernel/security/lsm");
    Kernel {
        release: (next(), next()),
        // The file system that lists them need not be mounted.
        has_landlock: modules.map_or(true, |it| it.split(',').any(|it| it.trim() == "landlock")),
        has_seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        driver: driver(release, series),
    }
}

/// Looks for files only: to ask the kernel for the driver would load it.
fn driver(release: &str, series: Option<Series>) -> KernelDriver {
    let (name, folder, file) = match series {
        Some(Series::V26) => ("ovpn-dco-v2", "/sys/module/ovpn_dco_v2", "ovpn-dco-v2.ko"),
        _ => ("ovpn", "/sys/module/ovpn", "ovpn.ko"),
    };
    if Path::new(folder).exists() {
        return KernelDriver::Loaded(name);
    }
    let modules = fs::read_to_string(format!("/lib/modules/{release}/modules.dep"));
    let is_file = |line: &str| {
        let path = line.split(':').next().unwrap_or_default();
        let base = path.rsplit('/').next().unwrap_or_default();
        base.starts_with(file)
    };
    match modules.is_ok_and(|modules| modules.lines().any(is_file)) {
        true => KernelDriver::Loadable(name),
        false => KernelDriver::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_looked_at() {
        let machine = look(None);
        assert!(machine.kernel.release > (3, 0), "{machine:?}");
        assert!(machine.now > 1_700_000_000);
        assert!(own_starter().rights.is_some());
        assert!(own_limits().cores > 0);
    }
}
