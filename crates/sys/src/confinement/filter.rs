//! The table of system calls as a seccomp filter.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};

use super::Unforeseen;
use super::calls::{self, Call, Condition};

/// Refuses all calls that are not in the table, in all threads.
pub(super) fn apply(unforeseen: Unforeseen) -> Result<(), String> {
    let programs = programs(unforeseen).map_err(|error| error.to_string())?;
    for program in programs {
        apply_filter_all_threads(&program).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The kernel applies all of them; the strictest verdict wins.
fn programs(unforeseen: Unforeseen) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let mut programs = Vec::new();
    let architecture = std::env::consts::ARCH.try_into()?;
    // A filter has one action for all its rules, so each refusal needs a filter of its own.
    for (number, errno, _reason) in calls::REFUSED {
        let filter = SeccompFilter::new(
            BTreeMap::from([(number, Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::Errno(errno.cast_unsigned()),
            architecture,
        )?;
        programs.push(filter.try_into()?);
    }
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = calls::allowed(std::process::id())
        .iter()
        .map(|call| Ok((call.number, rules_of(call)?)))
        .collect::<Result<_, seccompiler::BackendError>>()?;
    rules.extend(calls::REFUSED.map(|(number, ..)| (number, Vec::new())));
    let unforeseen = match unforeseen {
        Unforeseen::Fails => SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        Unforeseen::Ends => SeccompAction::Trap,
    };
    let filter = SeccompFilter::new(rules, unforeseen, SeccompAction::Allow, architecture)?;
    // Last, since it forbids installing further filters.
    programs.push(filter.try_into()?);
    Ok(programs)
}

fn rules_of(call: &Call) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    call.ways
        .iter()
        .map(|way| {
            let conditions = way.iter().map(condition).collect::<Result<_, _>>()?;
            SeccompRule::new(conditions)
        })
        .collect()
}

fn condition(of: &Condition) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(
        of.argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(of.mask.into()),
        of.value.into(),
    )
}
