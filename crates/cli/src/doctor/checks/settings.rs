//! The package's settings, and options that udco refuses.

use udco_state::{Finding, Severity};

use crate::doctor::facts::{
    Facts, Ignored, PACKAGED, Place, RefusedOptions, SETTINGS, Subject, Useless,
};
use crate::doctor::finding::{More, Name, finding, word};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let ignored = facts.ignored.iter().map(of_ignored);
    let refused = facts
        .refused
        .iter()
        .map(|it| of_refused(it, &facts.subject));
    ignored.chain(refused).collect()
}

/// Options with which udco does not start, and the line without them.
fn of_refused(refused: &RefusedOptions, subject: &Subject) -> Finding {
    let found = refusal(refused, subject);
    match refused.is_vital {
        true => found.ends_offload(),
        false => found,
    }
}

fn refusal(refused: &RefusedOptions, subject: &Subject) -> Finding {
    let RefusedOptions { why, rest, .. } = refused;
    let severity = match refused.is_vital {
        true => Severity::Error,
        false => Severity::Warning,
    };
    match (&refused.place, subject) {
        (Place::Setting { name, line }, _) => {
            let command = match *name {
                "UDCO_DAEMON_OPTIONS" => "udco daemon",
                "UDCO_METRICS_OPTIONS" => "udco metrics",
                _ => "udco run",
            };
            let outcome = match refused.is_vital {
                true => ", and starts no OpenVPN",
                false => ", and does not start",
            };
            let means = format!("`{command}` refuses {name}{outcome}: {why}");
            let about = format!("{SETTINGS}:{line}");
            finding(Name::Settings, severity, about, means).cure(format!(
                "correct it (`{command} --help` lists the options), or go on without: {name}=\"{rest}\""
            ))
        }
        (Place::Command, Subject::Unit(unit)) => {
            let means = format!("`udco run` refuses its options, and starts no OpenVPN: {why}");
            let space = if rest.is_empty() { "" } else { " " };
            finding(Name::Unit, severity, unit, means).cure(format!(
                "correct its ExecStart= with `systemctl edit --full {}` (`udco run --help` lists the options), or go on \
                 without: `udco run{space}{rest} -- …`",
                word(unit)
            ))
        }
        (Place::Command, _) => finding(Name::Unit, severity, "udco run", why),
    }
}

fn of_ignored(ignored: &Ignored) -> Finding {
    let about = match ignored.line {
        Some(line) => format!("{SETTINGS}:{line}"),
        None => SETTINGS.to_owned(),
    };
    let (means, cure) = match &ignored.why {
        Useless::Unreadable(why) => (
            format!("cannot be read, and is ignored: {why}"),
            format!("`chmod 644 {SETTINGS}`, if it is a file; else put a file there"),
        ),
        Useless::Name(name) => (
            format!("`{name}` is not a setting of udco: the line is ignored"),
            "correct the name (UDCO_DISABLE, UDCO_RUN_OPTIONS, UDCO_DAEMON_OPTIONS or UDCO_METRICS_OPTIONS, with `=` right \
             behind it), or begin the line with `#`"
                .to_owned(),
        ),
        Useless::Value(name) => (
            format!("the value of {name} is not plain: the line is ignored"),
            format!("write {name}=\"…\", on one line and without variables or commands of a shell"),
        ),
        Useless::TooLong => (
            "the line is too long, and ignored".to_owned(),
            "shorten it to 4,096 characters".to_owned(),
        ),
        Useless::Environment(name) => (
            format!("{name} in the unit's environment has no effect: {PACKAGED} reads {SETTINGS} only"),
            format!("set {name} there, for all tunnels; for this one, begin its ExecStart= with `udco run`"),
        ),
        Useless::Unit(name) => (
            format!("`{name}` in UDCO_DISABLE is not a unit, and ignored"),
            "write `all`, which stands for all units, or nothing".to_owned(),
        ),
    };
    finding(Name::Settings, Severity::Warning, about, means).cure(cure)
}
