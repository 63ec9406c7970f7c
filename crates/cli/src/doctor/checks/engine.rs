//! The shared engine that OpenVPN is told to use.

use std::path::Path;

use udco_state::{Finding, Severity};

use crate::doctor::facts::{EngineTrouble, Facts, SETTINGS, Stranger, Way};
use crate::doctor::finding::{More, Name, finding, word};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let engine = facts.launch.engine.as_ref();
    let found = engine.and_then(|engine| match engine.trouble.as_ref()? {
        EngineTrouble::Silent(why) => Some(silent(&engine.socket, why).cure(format!(
            "`udco daemon --socket {}` starts one there",
            word(engine.socket.display())
        ))),
        // A second one there would take its place, and not its tunnels.
        EngineTrouble::Stalled(why) => Some(silent(&engine.socket, why)),
        EngineTrouble::Denied(stranger) => Some(denied(&engine.socket, stranger, facts.launch.way)),
    });
    found.into_iter().collect()
}

fn silent(socket: &Path, why: &str) -> Finding {
    let about = socket.display().to_string();
    finding(Name::EngineSilent, Severity::Error, about, why).ends_offload()
}

/// The unit's user may not use it.
fn denied(socket: &Path, stranger: &Stranger, way: Way) -> Finding {
    let at = &stranger.at;
    let (because, is_closed) = match at == socket {
        true => (String::new(), false),
        false => (format!(", because of {}", at.display()), true),
    };
    let who = match stranger.is_dynamic {
        true => "the unit's dynamic user".to_owned(),
        false => format!("the unit's `User=`, {}", stranger.user),
    };
    // It looks for the socket before it starts anything.
    let outcome = match way {
        Way::Run if is_closed => "`udco run` would not start OpenVPN",
        _ => "OpenVPN would use its own data path",
    };
    let means = format!("may not be used by {who}{because}: {outcome}");
    let about = socket.display().to_string();
    let mut found = finding(Name::EngineDenied, Severity::Error, about, means);
    let needs_group = stranger.is_dynamic && (is_closed || stranger.admission.is_none());
    if needs_group {
        found = found.cure("add `SupplementaryGroups=GROUP` to its [Service], with a group's name");
    }
    found = match is_closed {
        true => {
            let whom = match stranger.is_dynamic {
                true => "g:GROUP".to_owned(),
                false => format!("u:{}", word(&stranger.user)),
            };
            found.cure(format!("`setfacl -m {whom}:x {}`", word(at.display())))
        }
        false => found.cure(admission(stranger)),
    };
    if way == Way::Run {
        found = found.cure("or leave out `--engine`: the tunnel then has an engine of its own");
    }
    found.ends_offload()
}

/// How the daemon lets the user in.
fn admission(stranger: &Stranger) -> String {
    let option = stranger.admission.as_deref();
    let option = option.unwrap_or("--allow-gid GID");
    match stranger.daemon_options.as_deref() {
        Some(others) => {
            let options = [others, option].join(" ");
            format!(
                "set `UDCO_DAEMON_OPTIONS=\"{}\"` in {SETTINGS}, then `systemctl restart udco`, which ends the tunnels that \
                 share it",
                options.trim_start()
            )
        }
        None => format!("start that daemon with `{option}`, which ends the tunnels that share it"),
    }
}
