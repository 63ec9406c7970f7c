//! Parts of the configuration that cannot be read, and files without options.

use std::path::PathBuf;

use udco_options::{Origin, Problem, Reading, STANDARD_INPUT_UNREAD, UTF_16};
use udco_state::{Finding, Severity};

use crate::doctor::facts::Facts;
use crate::doctor::finding::{More, Name, finding, word};

/// How the system words a lack of rights.
const DENIED: &str = "Permission denied";

pub(super) fn unread(facts: &Facts, reading: &Reading) -> Vec<Finding> {
    let problems = reading.problems.iter();
    let mut found: Vec<_> = problems.map(|it| problem(it, facts)).collect();
    found.extend(empty(reading));
    found
}

fn place(problem: &Problem) -> String {
    match &problem.origin {
        Origin::CommandLine => "the configuration".to_owned(),
        place @ Origin::File(..) => place.to_string(),
    }
}

/// What could not be read.
fn problem(problem: &Problem, facts: &Facts) -> Finding {
    if problem.what == STANDARD_INPUT_UNREAD {
        return finding(
            Name::StandardInput,
            Severity::Warning,
            place(problem),
            "a configuration on standard input is not read here, so nothing is known of it",
        )
        .cure("write it to a file, and give that with `--config`");
    }
    let is_denied = problem.what.ends_with(DENIED);
    if is_denied && !facts.machine.is_seen_by_root {
        return finding(
            Name::Configuration,
            Severity::Warning,
            place(problem),
            format!("{}: this user may not read it", problem.what),
        )
        .cure("run `udco doctor` as the user who starts OpenVPN");
    }
    let cure = match &problem.origin {
        Origin::File(path, _) if problem.what == UTF_16 => {
            let path = path.display();
            format!(
                "save it as UTF-8: `iconv -f UTF-16 -t UTF-8 {} >{}`, then put the new file in its place",
                word(&path),
                word(format!("{path}.new"))
            )
        }
        _ => "correct that line, or the name of the file".to_owned(),
    };
    finding(
        Name::Configuration,
        Severity::Error,
        place(problem),
        format!("{}: OpenVPN does not start with it", problem.what),
    )
    .cure(cure)
}

/// Files without any option, if the rest is no configuration without them.
fn empty(reading: &Reading) -> Vec<Finding> {
    let mut settings = reading.settings.iter();
    if settings
        .any(|it| it.name == "dev" || it.name != "config" && it.origin != Origin::CommandLine)
    {
        return Vec::new();
    }
    let means =
        "is empty, or holds nothing but comments or zero bytes: OpenVPN does not start with it";
    let of_file = |path: &PathBuf| {
        finding(
            Name::Configuration,
            Severity::Error,
            path.display().to_string(),
            means,
        )
        .cure("restore the file, or name another")
    };
    reading.empty.iter().map(of_file).collect()
}
