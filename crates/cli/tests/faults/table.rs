//! The outcomes of the faults as a table. `crates/host/FAULTS.md` has the same table.

use std::{fs, sync::Mutex, time::Duration};

use crate::common::repository;

/// The outcome of a fault.
#[derive(Debug)]
pub(crate) struct Row {
    /// The event, as the host reports it.
    pub(crate) happened: String,
    /// The time from the fault until the host had recorded it, the longest of all runs; `None` if there is nothing to
    /// detect.
    pub(crate) detected: Option<Duration>,
    pub(crate) cost: String,
}

static ROWS: Mutex<Vec<(&str, Row)>> = Mutex::new(Vec::new());

pub(crate) fn add(name: &'static str, row: Row) {
    ROWS.lock().unwrap().push((name, row));
}

/// Prints the rows of the faults that ran, in the order of `names`.
pub(crate) fn show(names: &[&'static str]) {
    let rows = ROWS.lock().unwrap();
    let row = |name: &&str| rows.iter().find(|(done, _)| done == name);
    let lines: Vec<[String; 4]> = names
        .iter()
        .filter_map(row)
        .map(|(name, Row { happened, detected, cost })| {
            let detected = detected.map_or("–".into(), |time| format!("{:.1} ms", 1e3 * time.as_secs_f64()));
            [(*name).to_owned(), happened.clone(), detected, cost.clone()]
        })
        .collect();
    if lines.is_empty() {
        return;
    }
    let head = ["fault and test", "what happened", "detected in", "cost"].map(ToOwned::to_owned);
    let width = |column: usize| lines.iter().chain([&head]).map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    for line in [&head].into_iter().chain(&lines) {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("| {} |", cells.join(" | "));
    }
}

/// Checks that the matrix in FAULTS.md has a row for each fault, and no others.
pub(crate) fn is_in_the_readme(names: &[&str]) {
    let readme = fs::read_to_string(repository().join("crates/host/FAULTS.md")).unwrap();
    // The last cell of a row of the matrix is the test's name.
    let cells = readme.lines().filter_map(|line| line.strip_suffix("` |")?.rsplit_once("| `"));
    let mut written: Vec<&str> = cells.map(|(_, name)| name).collect();
    let mut names = names.to_vec();
    written.sort_unstable();
    names.sort_unstable();
    assert_eq!(written, names);
}
