//! Pages of docs/ that contain the last result of a command; the rest is written by hand.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Replaces the result of `cargo xtask COMMAND` in a page.
///
/// # Errors
/// If the page cannot be read or written, or has no marker for it.
pub(crate) fn publish(page: &Path, command: &str, result: &str) -> Result<()> {
    let text =
        fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let text = replaced(&text, command, result).with_context(|| {
        let [begin, end] = marks(command);
        format!("{} has no line `{begin}` before `{end}`", page.display())
    })?;
    fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
}

fn marks(command: &str) -> [String; 2] {
    ["begin", "end"].map(|mark| format!("<!-- cargo xtask {command} --write-docs: {mark} -->"))
}

fn replaced(text: &str, command: &str, result: &str) -> Option<String> {
    let [begin, end] = marks(command);
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{result}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handwritten_parts_stay() {
        let [begin, end] = marks("bench");
        let page = format!("# Title\n{begin}\nold\n{end}\nWords.\n");
        let wanted = format!("# Title\n{begin}\nnew\n{end}\nWords.\n");
        assert_eq!(replaced(&page, "bench", "new"), Some(wanted));
        assert_eq!(replaced(&page, "chaos", "new"), None);
        assert_eq!(replaced("no place", "bench", "new"), None);
    }
}
