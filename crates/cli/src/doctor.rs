//! `udco doctor`: whether offload is on or would be; if not, why, and how to fix it.
//!
//! `gather` collects facts, `checks` turns them into findings without looking at anything else. docs/doctor.md lists all
//! findings.

mod checks;
mod facts;
mod finding;
mod gather;

use std::path::PathBuf;

use anyhow::Result;
use clap::builder::NonEmptyStringValueParser;
use udco_state::{Diagnosis, Offload, Severity};

use self::facts::Subject;
use crate::exit;
use crate::output::{self, line};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Examine OpenVPN with this configuration, as `udco run -- openvpn --config FILE` would start it here.
    #[arg(long, value_name = "FILE", conflicts_with = "unit")]
    config: Option<PathBuf>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,

    /// Examine OpenVPN as this unit of systemd starts it, e.g. `openvpn-server@office` [default: this machine, and what
    /// runs on it].
    #[arg(value_name = "UNIT", value_parser = NonEmptyStringValueParser::new())]
    unit: Option<String>,
}

/// Prints the diagnosis, and returns the exit code.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let subject = match (&arguments.unit, &arguments.config) {
        (Some(unit), _) => Subject::Unit(unit.clone()),
        (None, Some(config)) => Subject::Config(config.clone()),
        (None, None) => Subject::Machine,
    };
    let facts = gather::gather(subject)?;
    let diagnosis = checks::diagnose(&facts);
    if arguments.json {
        output::json(&diagnosis)?;
    } else {
        print(&diagnosis)?;
    }
    Ok(exit_code(&diagnosis))
}

fn print(diagnosis: &Diagnosis) -> Result<()> {
    line!("{}", one_line(&verdict(diagnosis)));
    for found in &diagnosis.findings {
        let severity = found.severity.name();
        let text = one_line(&format!("{}: {}", found.about, found.means));
        line!("{severity:<8} {text}");
        for cure in &found.cure {
            line!("         {}", one_line(cure));
        }
    }
    Ok(())
}

/// The first line.
fn verdict(diagnosis: &Diagnosis) -> String {
    let verdict = diagnosis.offload.words();
    let errors = diagnosis
        .findings
        .iter()
        .filter(|it| it.severity == Severity::Error);
    let mut errors: Vec<_> = errors.map(|it| it.about.as_str()).collect();
    errors.dedup();
    match (diagnosis.reasons.as_slice(), errors.as_slice()) {
        ([], []) => verdict.to_owned(),
        ([], errors) => format!(
            "{verdict}, but the tunnel would not work: {}",
            errors.join("; ")
        ),
        (reasons, _) => format!("{verdict}: {}", reasons.join("; ")),
    }
}

/// A name with a line feed must not begin a line of its own.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    let _ = std::fmt::Write::write_str(&mut crate::escape::Escaping::line(&mut line), text);
    line
}

fn exit_code(diagnosis: &Diagnosis) -> u8 {
    match checks::worst(&diagnosis.findings) {
        Severity::Ok | Severity::Info => 0,
        Severity::Warning => exit::WARNINGS,
        Severity::Error if is_off(diagnosis.offload) => exit::OFF,
        Severity::Error => exit::ERRORS,
    }
}

fn is_off(offload: Offload) -> bool {
    matches!(offload, Offload::Off | Offload::WouldBeOff)
}

#[cfg(test)]
mod tests;
