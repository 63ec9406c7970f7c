//! The package's settings.

use udco_state::{Finding, Severity};

use crate::doctor::facts::{Facts, Ignored, SETTINGS, Useless};
use crate::doctor::finding::{More, Name, finding};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    facts.ignored.iter().map(of_ignored).collect()
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
        Useless::Unit(name) => (
            format!("`{name}` in UDCO_DISABLE is not a unit, and ignored"),
            "write `all`, which stands for all units, or nothing".to_owned(),
        ),
    };
    finding(Name::Settings, Severity::Warning, about, means).cure(cure)
}
