//! docs/doctor.md lists the findings that there are.

use std::collections::BTreeSet;

use crate::doctor::finding::Name;

#[test]
fn the_page_lists_all_findings() {
    let page = std::fs::read_to_string("../../docs/doctor.md").unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<_> = rows.filter_map(|row| row.split('`').next()).collect();
    let named: BTreeSet<_> = Name::ALL.iter().map(|name| name.as_str()).collect();
    assert_eq!(listed, named);
}
