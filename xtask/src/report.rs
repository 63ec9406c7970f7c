//! The report of a script in a guest: lines that begin with PASS, FAIL or KERNEL, and DONE at its end.

/// What the guest printed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The guest's kernel, if it was reported.
    pub(crate) kernel: String,
    /// The steps that passed.
    pub(crate) passed: Vec<String>,
    /// Those that failed, each with why.
    pub(crate) failed: Vec<String>,
    /// Whether the script came to its end.
    pub(crate) is_done: bool,
}

impl Report {
    /// Reads a whole report.
    pub(crate) fn read(text: &str) -> Self {
        let mut report = Self::default();
        text.lines().for_each(|line| report.add(line));
        report
    }

    /// Reads another line.
    pub(crate) fn add(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("KERNEL", version)) => version.clone_into(&mut self.kernel),
            Some(("PASS", step)) => self.passed.push(step.to_owned()),
            Some(("FAIL", step)) => self.failed.push(step.to_owned()),
            _ => self.is_done |= line == "DONE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn the_console_is_read_line_by_line() {
        let mut report =
            Report::read("[    0.1] noise\nKERNEL 6.16.1\nPASS ping\nFAIL key swap (why)\n");
        assert!(!report.is_done);
        report.add("DONE");
        let expected = Report {
            kernel: "6.16.1".to_owned(),
            passed: vec!["ping".to_owned()],
            failed: vec!["key swap (why)".to_owned()],
            is_done: true,
        };
        assert_eq!(report, expected);
    }
}
