//! OpenVPN's release, and whether it loads the preload library.

use udco_state::{Finding, Severity};

use crate::doctor::facts::{Facts, Release, Subject, Way};
use crate::doctor::finding::{More, Name, finding};

/// How to install a lost library, in words that hold for any kind of installation.
const INSTALL: &str = "install libudco_preload.so beside the udco program, or in /usr/lib/udco or /usr/local/lib/udco";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if !super::is_about_openvpn(facts) && facts.subject != Subject::Machine {
        return found;
    }
    found.push(release(facts));
    if !facts.has_kernel_offload() {
        found.push(library(facts));
    }
    found
}

fn release(facts: &Facts) -> Finding {
    let launch = &facts.launch;
    let Some(path) = &launch.openvpn else {
        let means = "there is no OpenVPN where programs are looked for";
        return finding(Name::OpenVpn, Severity::Error, "openvpn", means)
            .cure("install OpenVPN 2.6 or 2.7, for example with `apt install openvpn`")
            .ends_offload();
    };
    let about = path.display().to_string();
    let Some(release) = launch.release else {
        let means = "does not say which release of OpenVPN it is";
        return finding(Name::OpenVpn, Severity::Warning, about, means)
            .cure("see what `openvpn --version` prints: offload needs 2.6 or 2.7");
    };
    let Release(major, minor) = release;
    if release.series().is_none() {
        let means = format!("is OpenVPN {major}.{minor}, which has no data channel offload");
        return finding(Name::OpenVpn, Severity::Error, about, means)
            .cure("install OpenVPN 2.6 or 2.7")
            .ends_offload();
    }
    let means = format!("is OpenVPN {major}.{minor}");
    if release > Release(2, 7) {
        let means = format!("{means}, with which this udco was never tested");
        return finding(Name::OpenVpn, Severity::Info, about, means);
    }
    finding(Name::OpenVpn, Severity::Ok, about, means)
}

fn library(facts: &Facts) -> Finding {
    let launch = &facts.launch;
    let library = match &launch.library {
        Ok(library) => library.display().to_string(),
        Err(why) => {
            return finding(Name::Preload, Severity::Error, "preload library", why)
                .cure(INSTALL)
                .ends_offload();
        }
    };
    if let Some(obstacle) = &launch.obstacle {
        return finding(
            Name::Preload,
            Severity::Error,
            "preload library",
            &obstacle.cause,
        )
        .cure(&obstacle.cure)
        .ends_offload();
    }
    let means = match launch.way {
        // The unit's check says what there is to say.
        Way::Plain => "can be loaded, once `udco run` starts OpenVPN",
        Way::Run | Way::Preload => "can be loaded",
    };
    finding(Name::Preload, Severity::Ok, library, means)
}
