//! Sorts the rows by a column that is blended with noise, and cuts them into even parts (Flower).

use std::{borrow::Cow, sync::Arc};

use fedpipe_random::normal::standard;
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{
    Labelled, Partitioner,
    cut::{cut, even_sizes},
    key,
};
use crate::error::DataError;

pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "continuous",
    summary: "sorts the examples by a column and by noise, and cuts them into parts whose sizes differ by at most 1",
    parameters: &[
        Parameter {
            key: "strictness",
            default: None,
            range: Range::ZeroToOne,
            help: "the weight of the column beside the noise; 1 sorts by the column, 0 is iid",
        },
        Parameter {
            key: "by",
            default: Some(Value::Text(Cow::Borrowed("target"))),
            range: Range::Text("target, or the name or the number of a feature"),
            help: "the column: target, or a feature by its name or its number, from 0",
        },
    ],
    source: "Flower, `ContinuousPartitioner`",
    build: |values| Arc::new(Continuous { strictness: values.number("strictness"), by: values.text("by").to_owned() }),
};

#[derive(Debug)]
struct Continuous {
    strictness: f64,
    by: String,
}

impl Partitioner for Continuous {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let strictness = self.strictness;
        let values = standardised(labelled.column.unwrap_or_default());
        if values.is_none() && strictness > 0.0 {
            return Err(DataError::ConstantColumn { column: self.by.clone() });
        }
        let mut rng = key(seed, 0).rng();
        let blended = |row: u32| {
            let value = values.as_ref().map_or(0.0, |values| values[row as usize]);
            (strictness * value + (1.0 - strictness) * standard(&mut rng), row)
        };
        let mut rows: Vec<(f64, u32)> = (0..labelled.examples()).map(blended).collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let rows: Vec<u32> = rows.into_iter().map(|(_, row)| row).collect();
        Ok(cut(&rows, &even_sizes(rows.len(), clients as usize)))
    }

    fn column(&self) -> Option<&str> {
        Some(&self.by)
    }
}

/// Returns (value − mean) / sd, with n in the denominator of the variance; `None` for one value alone.
fn standardised(values: &[f64]) -> Option<Vec<f64>> {
    let n = values.len() as f64;
    let mean = values.iter().fold(0.0, |sum, value| sum + value) / n;
    let squares = values.iter().fold(0.0, |sum, value| sum + (value - mean) * (value - mean));
    let sd = (squares / n).sqrt();
    (sd > 0.0).then(|| values.iter().map(|value| (value - mean) / sd).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::partition;
    use crate::testing::assert_says;

    fn deal(strictness: f64, column: &[f64], clients: u32) -> Result<Vec<Vec<u32>>, DataError> {
        let labelled = Labelled { examples: column.len(), column: Some(column), ..Labelled::new(&[], 0) };
        partition(&format!("continuous:{strictness}").parse().unwrap(), &labelled, clients, 1)
    }

    /// Returns the correlation of the column with the number of the row's client.
    fn correlation(parts: &[Vec<u32>], column: &[f64]) -> f64 {
        let clients: Vec<f64> = (0..column.len() as u32)
            .map(|row| parts.iter().position(|part| part.contains(&row)).unwrap() as f64)
            .collect();
        let (a, b) = (standardised(column).unwrap(), standardised(&clients).unwrap());
        a.iter().zip(&b).fold(0.0, |sum, (a, b)| sum + a * b) / column.len() as f64
    }

    #[test]
    fn strictness_is_a_dial_from_iid_to_sorted() {
        let column: Vec<f64> = (0..1000).map(|row| f64::from(row * 389 % 1000)).collect();
        let sorted = deal(1.0, &column, 4).unwrap();
        for (client, part) in sorted.iter().enumerate() {
            assert!(part.iter().all(|row| column[*row as usize] as usize / 250 == client), "client {client}");
        }
        let found = [0.0, 0.3, 0.5, 0.7].map(|strictness| correlation(&deal(strictness, &column, 4).unwrap(), &column));
        assert!(found.is_sorted() && found[0].abs() < 0.1 && found[2] > 0.5 && found[3] > 0.8, "{found:?}");
        assert_eq!(deal(0.0, &[3.0; 5], 2).unwrap().concat().len(), 5);
    }

    #[test]
    fn a_column_with_one_value_is_refused() {
        assert_says(&deal(0.5, &[3.0; 5], 2).unwrap_err(), &["`target`", "one value", "strictness 0"]);
    }
}
