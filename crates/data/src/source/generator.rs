//! Datasets that are made from a rule. A generator is one file and one row of the table. It has natural clients. The
//! same parameters make the same bits on every machine.

use std::fmt;

use fedpipe_random::key::{Key, Use};
use fedpipe_spec::table::{TableRow, Tabled, entries};

pub use fedpipe_spec::table::Entry;

use super::{fcube, synthetic};
use crate::dataset::ReadSplits;
use crate::split::{NaturalClients, Split, SplitFeatures, SplitTargets};

/// A rule that makes a dataset.
pub trait Generator: fmt::Debug + Send + Sync {
    /// Makes both splits.
    fn generate(&self) -> Generated;
}

/// The splits of a dataset that a generator made.
#[derive(Debug)]
pub struct Generated(pub(crate) ReadSplits);

static ROWS: [TableRow<dyn Generator>; 2] = [fcube::ROW, synthetic::ROW];

impl Tabled for dyn Generator {
    const WHAT: &'static str = "generator";
    const LIST: &'static str = "generators";
    const SHOWS_DEFAULTS: bool = false;

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

/// Returns the rows of the generators.
pub fn generators() -> Vec<Entry> {
    entries::<dyn Generator>()
}

/// Returns `true` for the text of a generator.
pub(super) fn is_generator(text: &str) -> bool {
    let name = text.split(':').next();
    ROWS.iter().any(|row| Some(row.name) == name)
}

/// Returns the key of a client's examples; `round` tells several streams of a client apart.
pub(super) fn key(client: u32, round: u64) -> Key {
    Key { seed: 0, purpose: Use::Generate, client, round, epoch: 0 }
}

/// MadeExamples with labels, client after client.
#[derive(Debug, Default)]
pub(super) struct MadeExamples {
    pub(super) features: Vec<f32>,
    pub(super) labels: Vec<u32>,
    /// The natural client of each example.
    pub(super) clients: Vec<u32>,
}

impl MadeExamples {
    /// Adds an example.
    pub(super) fn push(&mut self, features: impl IntoIterator<Item = f32>, label: u32, client: u32) {
        self.features.extend(features);
        self.labels.push(label);
        self.clients.push(client);
    }

    /// Returns the examples of `clients` clients as a split, with `size` features each.
    fn split(self, size: usize, clients: u32) -> Split {
        let names = (0..clients).map(|client| client.to_string()).collect();
        Split {
            shape: vec![size],
            features: SplitFeatures::F32(self.features),
            targets: SplitTargets::Classes(self.labels),
            clients: Some(NaturalClients { names, of_row: self.clients }),
        }
    }
}

/// Returns both splits of a dataset whose examples have `size` features.
pub(super) fn splits([train, test]: [MadeExamples; 2], size: usize, clients: u32) -> Generated {
    Generated(ReadSplits {
        train: train.split(size, clients),
        test: test.split(size, clients),
        class_names: Vec::new(),
        feature_names: Vec::new(),
        sha256: None,
        drawn_from: None,
        test_files: Default::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in the README comes from `vectors.py`, which is independent of this crate.
    #[test]
    fn examples_are_those_of_the_readme() {
        let [fcube, synthetic] = ROWS.each_ref().map(|row| {
            let named: fedpipe_spec::table::Named<dyn Generator> = row.name.parse().unwrap();
            named.generate().0
        });
        let first = |split: &Split, client: u32| {
            let SplitFeatures::F32(features) = &split.features else { panic!("features are numbers") };
            let rows =
                split.clients.as_ref().unwrap().of_row.iter().enumerate().filter(|(_, of_row)| **of_row == client);
            let shown = rows.take(3).map(|(row, _)| {
                let values: Vec<String> =
                    features[row * split.shape[0]..][..3].iter().map(|value| format!("{value:.6}")).collect();
                format!("{}: {}", split.labels()[row], values.join(" "))
            });
            shown.collect::<Vec<_>>().join("; ")
        };
        let all: Vec<u32> = (0..synthetic.train.len() as u32).collect();
        let counts: Vec<String> = synthetic.train.label_counts(&all, Some(10)).iter().map(u64::to_string).collect();
        let rows = [
            ("`fcube`, client 2: labels and points", first(&fcube.train, 2)),
            ("`synthetic`, client 1: labels and first features", first(&synthetic.train, 1)),
            ("`synthetic`: training examples of each class", counts.join(" ")),
            ("`synthetic`: test examples", synthetic.test.len().to_string()),
        ];
        for (name, value) in rows {
            let row = format!("| {name} | {value} |");
            assert!(include_str!("../../README.md").contains(&row), "{row}");
        }
    }
}
