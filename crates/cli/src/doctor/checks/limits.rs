//! Rights and limits of OpenVPN and its engine.

use udco_state::{Finding, Severity};

use crate::doctor::facts::{Facts, Subject};
use crate::doctor::finding::{More, Name, finding};
use crate::run::PROGRAM_FILES;

/// Threads and processes besides the workers: OpenVPN, the engine's own threads, one for each client, and the scripts of
/// OpenVPN.
const BESIDE_WORKERS: u64 = 8;

/// MiB that an engine with one worker needs: what it says itself when it finds less.
const MEMORY: u64 = 32;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    [
        net_admin(facts),
        open_files(facts),
        processes(facts),
        tasks(facts),
        memory(facts),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn net_admin(facts: &Facts) -> Option<Finding> {
    let rights = facts.starter.rights?;
    if rights.net_admin {
        return None;
    }
    let (about, cure) = match &facts.subject {
        Subject::Unit(name) => (
            name.clone(),
            "add CAP_NET_ADMIN to its `CapabilityBoundingSet=` and, for another user than root, to `AmbientCapabilities=`",
        ),
        _ if facts.starter.is_root => (
            "root".to_owned(),
            "give the container this capability, for example with `--cap-add NET_ADMIN`",
        ),
        _ => (
            "this user".to_owned(),
            "start OpenVPN as root, and run `udco doctor` as the user who starts it",
        ),
    };
    let means = "lacks CAP_NET_ADMIN, without which OpenVPN can create no device";
    Some(finding(Name::NetAdmin, Severity::Warning, about, means).cure(cure))
}

fn open_files(facts: &Facts) -> Option<Finding> {
    let files = facts
        .limits
        .open_files
        .filter(|files| *files < PROGRAM_FILES)?;
    let means = format!(
        "only {files} are allowed, but OpenVPN with offload needs {PROGRAM_FILES}: `udco run` leaves offload off"
    );
    let cure = match facts.subject {
        Subject::Unit(_) => "add `LimitNOFILE=1024:524288` to the [Service] of the unit",
        _ => "raise the limit, for example with `ulimit -n 1024`",
    };
    Some(
        finding(Name::OpenFiles, Severity::Error, "open files", means)
            .cure(cure)
            .ends_offload(),
    )
}

fn processes(facts: &Facts) -> Option<Finding> {
    let needed = facts.limits.cores + BESIDE_WORKERS;
    let allowed = facts.limits.processes.filter(|it| *it < needed)?;
    let means =
        format!("only {allowed} are allowed, but the engine alone may need {needed} threads");
    let cure = match facts.subject {
        Subject::Unit(_) => format!(
            "add `LimitNPROC={}` to the [Service] of the unit",
            8 * needed
        ),
        _ => format!(
            "raise the limit, for example with `ulimit -u {}`",
            8 * needed
        ),
    };
    Some(
        finding(Name::Processes, Severity::Error, "processes", means)
            .cure(cure)
            .ends_offload(),
    )
}

fn tasks(facts: &Facts) -> Option<Finding> {
    let needed = facts.limits.cores + BESIDE_WORKERS;
    let allowed = facts.limits.tasks.filter(|it| *it < needed)?;
    let means = format!("only {allowed} are allowed, but OpenVPN and its engine may need {needed}");
    let cure = match facts.subject {
        Subject::Unit(_) => format!("add `TasksMax={}` to the [Service] of the unit", 8 * needed),
        _ => format!(
            "raise `pids.max` of this control group, or `--pids-limit` of the container, to {}",
            8 * needed
        ),
    };
    Some(
        finding(Name::Processes, Severity::Error, "tasks", means)
            .cure(cure)
            .ends_offload(),
    )
}

fn memory(facts: &Facts) -> Option<Finding> {
    let allowed = facts.limits.memory.filter(|it| *it < MEMORY << 20)? >> 20;
    let means =
        format!("a limit leaves {allowed} of the {MEMORY} MiB that an engine needs at least");
    let cure = match facts.subject {
        Subject::Unit(_) => {
            "remove `LimitAS=` and `LimitDATA=` from the [Service] of the unit, or raise them"
        }
        _ => "raise the limit, for example with `ulimit -v unlimited; ulimit -d unlimited`",
    };
    Some(
        finding(Name::Memory, Severity::Error, "memory", means)
            .cure(cure)
            .ends_offload(),
    )
}
