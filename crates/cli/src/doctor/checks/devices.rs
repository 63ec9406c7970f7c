//! Devices: the one that OpenVPN wants, and those that were left behind.

use udco_options::Setting;
use udco_state::{Finding, Severity};

use crate::doctor::facts::{DataPath, Facts, Serves};
use crate::doctor::finding::{More, Name, finding, word};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = left(facts);
    found.extend(taken(facts));
    found
}

fn left(facts: &Facts) -> Vec<Finding> {
    let links = facts.network.links.iter();
    let left = links.filter(|link| link.serves == Serves::Nothing);
    left.map(|link| {
        let name = &link.name;
        let means = "its engine or OpenVPN was killed, and no packet leaves through it";
        finding(Name::LeftDevice, Severity::Warning, name, means)
            .cure("start that OpenVPN again with `udco run`: it takes the device over")
            .cure(format!(
                "or, to go on without the tunnel, in the clear: `ip link del {}`",
                word(name)
            ))
    })
    .collect()
}

/// A device of the wanted name that OpenVPN cannot have.
fn taken(facts: &Facts) -> Option<Finding> {
    // Its own, most likely.
    if is_running(facts) {
        return None;
    }
    let (setting, wanted) = wanted(facts)?;
    let link = facts
        .network
        .links
        .iter()
        .find(|link| link.name == wanted)?;
    let about = setting.to_string();
    Some(match link.serves {
        Serves::Other => {
            let means = format!(
                "an interface {wanted} exists that is not udco's: OpenVPN switches offload off"
            );
            finding(Name::DeviceTaken, Severity::Error, about, means)
                .cure("give another name, or `dev tun` for a free one")
                .cure(format!(
                    "`ip -d link show {}` shows what it is: of an OpenVPN without udco, for example, or of `openvpn --mktun`",
                    word(wanted)
                ))
                .ends_offload()
        }
        Serves::Engine => {
            let means = format!("a running engine serves {wanted} already");
            finding(Name::DeviceTaken, Severity::Info, about, means)
                .cure("a second OpenVPN needs another name, or `dev tun` for a free one")
        }
        Serves::Silent => {
            let means = format!("an engine that does not answer this user serves {wanted} already");
            finding(Name::DeviceTaken, Severity::Info, about, means)
                .cure("a second OpenVPN needs another name, or `dev tun` for a free one")
        }
        Serves::Unsure => {
            let means = format!("no engine that answers serves {wanted}, which udco made");
            finding(Name::DeviceTaken, Severity::Info, about, means).cure(
                "OpenVPN takes it over if its engine was killed; else it needs another name, or `dev tun` for a free one",
            )
        }
        // The device of the kernel's driver looks right to OpenVPN, and is refused when it asks for it.
        Serves::Driver => {
            let means = format!("the kernel's own driver serves {wanted}");
            finding(Name::DeviceTaken, Severity::Warning, about, means)
                .cure("give another name, or `dev tun` for a free one")
        }
        Serves::Nothing => return None,
    })
}

/// The device that `dev` names, and where. OpenVPN looks for a free number if it is given none.
pub(super) fn wanted(facts: &Facts) -> Option<(&Setting, &str)> {
    let settings = &facts.reading.as_ref()?.settings;
    let setting = settings.iter().rfind(|it| it.name == "dev")?;
    let name = setting.argument(0)?;
    let is_whole = name.bytes().any(|byte| byte.is_ascii_digit());
    is_whole.then_some((setting, name))
}

fn is_running(facts: &Facts) -> bool {
    let examined = facts.running.examined;
    let running = examined.and_then(|index| facts.running.openvpns.get(index));
    running.is_some_and(|it| it.path != DataPath::Unknown)
}
