//! Files that options name, and certificates.

use udco_state::{Finding, Severity};

use crate::doctor::facts::{Certificate, Denied, Facts, FileState, NamedFile, Need};
use crate::doctor::finding::{More, Name, finding, word};

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// How long before its end a certificate is worth a line.
const SOON: i64 = 14 * DAY;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let is_root = facts.machine.is_seen_by_root;
    let files = facts
        .files
        .iter()
        .filter_map(|file| of_file(file, is_root, facts));
    let denied = facts.denied.iter().enumerate();
    // One for each file or directory that refuses: the gravest, else the first.
    let denied = denied.filter(|(at, it)| {
        let mut others = facts.denied.iter().enumerate();
        !others.any(|(place, other)| {
            let is_same = (&other.at, other.need) == (&it.at, it.need);
            is_same && (!other.is_vital, place) < (!it.is_vital, *at)
        })
    });
    let now = facts.machine.now;
    let certificates = facts
        .certificates
        .iter()
        .filter_map(|it| of_certificate(it, now, facts));
    let denied = denied.map(|(_, it)| of_denied(it));
    files.chain(denied).chain(certificates).collect()
}

fn of_file(file: &NamedFile, is_root: bool, facts: &Facts) -> Option<Finding> {
    let path = file.path.display();
    let one = |severity, means: String| finding(Name::File, severity, &file.option, means);
    Some(match &file.state {
        FileState::Missing => {
            let found = one(
                Severity::Error,
                format!("{path} does not exist, and OpenVPN does not start without it"),
            );
            match &file.beside {
                Some(beside) => found.cure(format!(
                    "{} exists: name it so, or start OpenVPN with `--cd {}`",
                    beside.display(),
                    word(beside.parent().unwrap_or(beside).display())
                )),
                None => found.cure("correct the name, or put the file there"),
            }
        }
        FileState::Denied if is_root => one(
            Severity::Error,
            format!("{path} may not be read, not even by root"),
        )
        .cure("see whether a security module or a network file system forbids it"),
        FileState::Denied => one(
            Severity::Warning,
            format!("{path} may not be read by this user"),
        )
        .cure("run `udco doctor` as the user who starts OpenVPN"),
        FileState::Unreadable(why) => one(Severity::Error, format!("{path} cannot be read: {why}"))
            .cure("correct the name, or restore the file"),
        FileState::Empty => {
            one(Severity::Error, format!("{path} is empty")).cure("restore the file")
        }
        FileState::Good(mode) if file.is_secret && mode & 0o007 != 0 => {
            let means = format!(
                "{path} may be read or changed by every user of this machine (mode {:03o})",
                mode & 0o777
            );
            finding(Name::KeyExposed, Severity::Warning, &file.option, means)
                .cure(private(facts, &word(path)))
        }
        FileState::Good(_) => return None,
    })
}

/// What a unit's user may not use.
fn of_denied(denied: &Denied) -> Finding {
    let Denied { user, path, at, .. } = denied;
    let shown = path.display();
    let because = match at == path {
        true => String::new(),
        false => format!(", because of {}", at.display()),
    };
    let (verb, cure) = match denied.need {
        Need::Read => {
            let right = if at == path { "r" } else { "x" };
            let at = word(at.display());
            let cure = match denied.is_dynamic {
                true => format!(
                    "add `SupplementaryGroups=GROUP` to its [Service], and `setfacl -m g:GROUP:{right} {at}`, or move the file"
                ),
                false => format!("`setfacl -m u:{}:{right} {at}`, or move the file", word(user)),
            };
            ("read", cure)
        }
        Need::Write => (
            "written",
            "name a file in a directory of the unit's own: `RuntimeDirectory=NAME` in its [Service] makes /run/NAME".to_owned(),
        ),
    };
    let who = match denied.is_dynamic {
        true => "the unit's dynamic user".to_owned(),
        false => format!("the unit's `User=`, {user}"),
    };
    let (severity, outcome) = match denied.is_vital {
        true => (Severity::Error, "OpenVPN does not start"),
        false => (Severity::Warning, "OpenVPN goes on without it"),
    };
    let means = format!("{shown} may not be {verb} by {who}{because}: {outcome}");
    finding(Name::File, severity, &denied.option, means).cure(cure)
}

/// How to take a file from other users, and not from OpenVPN.
fn private(facts: &Facts, path: &str) -> String {
    let settings = facts.reading.iter().flat_map(|it| &it.settings);
    let has = |name: &str| settings.clone().any(|it| it.name == name);
    let chmod = format!("`chmod o= {path}`");
    if !facts.starter.is_root {
        format!("{chmod}, once the file belongs to the user who starts OpenVPN, or to its group")
    } else if has("user") && !has("persist-key") {
        format!("give `persist-key`, so that OpenVPN reads it as root only, then {chmod}")
    } else {
        chmod
    }
}

/// Whether a list of authorities has one that is valid: others may be left over.
fn is_spare(certificate: &Certificate, now: i64, facts: &Facts) -> bool {
    let is_list = ["ca ", "extra-certs "]
        .iter()
        .any(|name| certificate.option.starts_with(name));
    let mut same = facts.certificates.iter();
    let valid = |it: &Certificate| it.not_before <= now && now <= it.not_after;
    is_list && same.any(|it| it.option == certificate.option && valid(it))
}

fn of_certificate(certificate: &Certificate, now: i64, facts: &Facts) -> Option<Finding> {
    let Certificate {
        option,
        not_before,
        not_after,
    } = certificate;
    let is_spare = is_spare(certificate, now, facts);
    let one = |severity, means: &str| {
        let severity = if is_spare && severity == Severity::Error {
            Severity::Info
        } else {
            severity
        };
        finding(Name::Certificate, severity, option, means)
    };
    if now < *not_before {
        let means = "is not valid yet, by this machine's clock: peers cannot be verified";
        return Some(one(Severity::Error, means).cure(
            "see whether the clock is right (`date -u`); the certificate begins later than that",
        ));
    }
    if now > *not_after {
        let days = (now - not_after) / DAY;
        let means = format!("expired {days} days ago, by this machine's clock: peers refuse it");
        return Some(
            one(Severity::Error, &means)
                .cure("have its authority issue a new one, unless the clock is wrong (`date -u`)"),
        );
    }
    if not_after - now < SOON {
        let days = (not_after - now) / DAY;
        let means = format!("expires in {days} days");
        return Some(one(Severity::Warning, &means).cure("have its authority issue a new one"));
    }
    None
}
