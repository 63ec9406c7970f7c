//! The published figures: tables in docs/performance.md, with a chart and all samples beside it.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::outcome::Report;
use super::{chart, table};
use crate::page;

/// Writes all three to `docs`.
///
/// # Errors
/// If a file cannot be written, or performance.md has no marker for the tables.
pub(crate) fn write(report: &Report, docs: &Path) -> Result<()> {
    page::publish(&docs.join("performance.md"), "bench", &table::all(report))?;
    fs::write(docs.join("performance.svg"), chart::draw(report))?;
    let mut json = serde_json::to_string_pretty(report)?;
    json.push('\n');
    fs::write(docs.join("performance.json"), json)?;
    Ok(())
}
