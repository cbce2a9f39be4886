//! Deals as a file says, row by row or by counts of classes.

use std::sync::Arc;

use fedpipe_random::order::shuffle;
use fedpipe_spec::{
    pinned_file::{PARAMETERS, PinnedFile},
    table::TableRow,
};

use super::{
    Labelled, Partitioner,
    cut::sorted,
    key,
    split_table::{CountLine, RowLine, SplitLines, SplitTable},
};
use crate::error::DataError;

/// The identity of the scheme is the content of the file.
pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "file",
    summary: "deals as a CSV file says, with the header `row,client` or `class,client,count`; rows may be left out",
    parameters: &PARAMETERS,
    source: "a split by hand",
    build: |values| Arc::new(ByHand(PinnedFile::of(values))),
};

#[derive(Debug)]
struct ByHand(PinnedFile);

impl Partitioner for ByHand {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let Some(split) = labelled.split else { return Err(DataError::NoSplit { path: self.0.path.clone() }) };
        if split.clients != clients {
            let SplitTable { path, clients: decided, .. } = split;
            return Err(DataError::OtherClients { what: path.display().to_string(), decided: *decided, clients });
        }
        let mut parts = vec![Vec::new(); clients as usize];
        match &split.lines {
            SplitLines::Rows(lines) => deal_rows(lines, split, labelled, &mut parts)?,
            SplitLines::Counts(lines) => deal_counts(lines, split, labelled, seed, &mut parts)?,
        }
        Ok(sorted(parts))
    }

    fn split_file(&self) -> Option<&PinnedFile> {
        Some(&self.0)
    }
}

/// Deals the rows that the lines name.
fn deal_rows(
    lines: &[RowLine],
    split: &SplitTable,
    labelled: &Labelled<'_>,
    parts: &mut [Vec<u32>],
) -> Result<(), DataError> {
    let mut line_of = vec![0_u64; labelled.examples];
    for &RowLine { line, row, client } in lines {
        match line_of.get_mut(row as usize) {
            None => {
                let last = labelled.examples() - 1;
                let why = format!("the row is {row}, and the training rows are 0 to {last}; give one of them");
                return Err(split.refuse(line, why));
            }
            Some(before) if *before > 0 => {
                return Err(split.refuse(line, format!("line {before} has the row {row}, too; give each row once")));
            }
            Some(before) => *before = line,
        }
        parts[client as usize].push(row);
    }
    Ok(())
}

/// Deals as many rows of the classes as the lines say. The rows of a class are shuffled, and the lines take them in
/// turn.
fn deal_counts(
    lines: &[CountLine],
    split: &SplitTable,
    labelled: &Labelled<'_>,
    seed: u64,
    parts: &mut [Vec<u32>],
) -> Result<(), DataError> {
    let mut rng = key(seed, 0).rng();
    let mut left = labelled.rows_by_class(ROW.name)?;
    left.iter_mut().for_each(|rows| shuffle(rows, &mut rng));
    let last = left.len() - 1;
    let names_are_numbers = labelled.class_names.iter().any(|name| name.parse::<f64>().is_ok());
    for &CountLine { line, ref class, client, count } in lines {
        let by_name = || labelled.class_names.iter().position(|name| name == class);
        // A name may be a number, such as -1 and 1.
        let by_number = || class.parse().ok().filter(|_: &usize| !names_are_numbers);
        let Some(rows) = by_name().or_else(by_number).and_then(|class: usize| left.get_mut(class)) else {
            let names = if labelled.class_names.is_empty() { "" } else { ", or their names" };
            return Err(split.refuse(line, format!("the class is `{class}`, and the classes are 0 to {last}{names}")));
        };
        let Some(rest) = rows.len().checked_sub(count as usize) else {
            let why = format!("the count is {count}, and {} of class {class} are left; lower it", rows.len());
            return Err(split.refuse(line, why));
        };
        parts[client as usize].extend(rows.drain(rest..));
    }
    Ok(())
}
