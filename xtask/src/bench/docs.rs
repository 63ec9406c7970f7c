//! The published figures: tables in docs/performance.md, a chart and all samples beside it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::outcome::Report;
use super::{chart, table};

/// Between these lines of performance.md stands what a run writes; the rest is written by hand.
const BEGIN: &str = "<!-- cargo xtask bench --write-docs: begin -->";
const END: &str = "<!-- cargo xtask bench --write-docs: end -->";

/// Writes all three into `docs`.
///
/// # Errors
/// If a file cannot be written, or performance.md has no place for the tables.
pub(crate) fn write(report: &Report, docs: &Path) -> Result<()> {
    let page = docs.join("performance.md");
    let text =
        fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let text = replace_between(&text, &table::all(report))
        .with_context(|| format!("{} has no line `{BEGIN}` before `{END}`", page.display()))?;
    fs::write(&page, text)?;
    fs::write(docs.join("performance.svg"), chart::draw(report))?;
    let mut json = serde_json::to_string_pretty(report)?;
    json.push('\n');
    fs::write(docs.join("performance.json"), json)?;
    Ok(())
}

fn replace_between(text: &str, tables: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, replace_between};

    #[test]
    fn what_is_written_by_hand_stays() {
        let page = format!("# Title\n{BEGIN}\nold\n{END}\nWords.\n");
        let wanted = format!("# Title\n{BEGIN}\nnew\n{END}\nWords.\n");
        assert_eq!(replace_between(&page, "new"), Some(wanted));
        assert_eq!(replace_between("no place", "new"), None);
    }
}
