//! `/dev/net/tun`, the kernel, and the clock.

use udco_state::{Finding, Severity};

use crate::doctor::facts::{Facts, KernelDriver, Tun, Way};
use crate::doctor::finding::{More, Name, finding};

/// No udco was made before this moment: 2026-01-01.
const FIRST_MOMENT: i64 = 1_767_225_600;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = vec![tun(&facts.machine.tun)];
    found.extend(kernel(facts));
    found.extend(driver(facts));
    found.extend(clock(facts));
    found
}

fn tun(tun: &Tun) -> Finding {
    let (means, cure) = match tun {
        Tun::Usable => {
            return finding(Name::Tun, Severity::Ok, "/dev/net/tun", "can be opened");
        }
        Tun::Missing => (
            "is missing".to_owned(),
            "`modprobe tun`; in a container, start it with `--device /dev/net/tun`",
        ),
        Tun::NoDriver => (
            "has no driver behind it".to_owned(),
            "`modprobe tun` on the machine itself",
        ),
        Tun::Denied => (
            "may not be opened by this user".to_owned(),
            "start OpenVPN as root; in a container, start it with `--device /dev/net/tun`",
        ),
        Tun::Broken(why) => (
            format!("cannot be opened: {why}"),
            "see what the kernel's log (`dmesg`) says of `tun`",
        ),
    };
    finding(Name::Tun, Severity::Error, "/dev/net/tun", means)
        .cure(cure)
        .ends_offload()
}

/// What an old kernel costs.
fn kernel(facts: &Facts) -> Vec<Finding> {
    let kernel = &facts.machine.kernel;
    let (major, minor) = kernel.release;
    let before = |release: (u32, u32)| kernel.release < release;
    let mut lost = Vec::new();
    if before((6, 4)) {
        lost.push("a daemon makes devices for root and its own user only (6.4)");
    }
    if before((6, 2)) {
        lost.push("UDP inside the tunnel is not merged (6.2)");
    }
    if before((5, 14)) {
        lost.push("only clients of the same user share a daemon's devices (5.14)");
    }
    if !kernel.has_landlock {
        lost.push("the engine is not confined by Landlock (5.13, and `landlock` in `lsm=`)");
    }
    if !kernel.has_seccomp {
        lost.push("the engine's system calls are not confined by seccomp");
    }
    let about = format!("Linux {major}.{minor}");
    let one = |what: &str| finding(Name::Kernel, Severity::Info, &about, what);
    lost.into_iter().map(one).collect()
}

/// Which of two would serve OpenVPN.
fn driver(facts: &Facts) -> Option<Finding> {
    let name = match facts.machine.kernel.driver {
        KernelDriver::Absent => return None,
        KernelDriver::Loadable(name) | KernelDriver::Loaded(name) => name,
    };
    let means = match facts.launch.way {
        Way::Plain => {
            "the kernel has a driver of its own, and serves an OpenVPN that is started without udco"
        }
        Way::Run | Way::Preload => {
            "the kernel has a driver of its own, but udco serves what `udco run` starts; without `udco run`, the driver would"
        }
    };
    Some(finding(Name::KernelDriver, Severity::Info, name, means))
}

fn clock(facts: &Facts) -> Option<Finding> {
    if facts.machine.now >= FIRST_MOMENT {
        return None;
    }
    let means =
        "is set to a time before this udco was made, so certificates count as not yet valid";
    Some(
        finding(Name::Clock, Severity::Error, "the clock", means)
            .cure("set it, for example with `timedatectl set-ntp true`"),
    )
}
