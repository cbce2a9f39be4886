//! Datasets that are made from a rule. A generator is one file and one row of the table. It has natural clients, and the
//! same parameters make the same bits on every machine.

use std::fmt;

use fedpipe_random::key::{Key, Use};
use fedpipe_spec::table::{TableRow, Tabled};

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

/// Returns `true` for the text of a generator.
pub(super) fn is_generator(text: &str) -> bool {
    let name = text.split(':').next();
    ROWS.iter().any(|row| Some(row.name) == name)
}

/// Returns the key of a client's examples; `round` tells several streams of a client apart.
pub(super) fn key(client: u32, round: u64) -> Key {
    Key { seed: 0, purpose: Use::Generate, client, round, epoch: 0 }
}

/// Examples with labels, client after client.
#[derive(Debug, Default)]
pub(super) struct Examples {
    pub(super) features: Vec<f32>,
    pub(super) labels: Vec<u32>,
    /// The natural client of each example.
    pub(super) clients: Vec<u32>,
}

impl Examples {
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
pub(super) fn splits([train, test]: [Examples; 2], size: usize, clients: u32) -> Generated {
    Generated(ReadSplits {
        train: train.split(size, clients),
        test: test.split(size, clients),
        class_names: Vec::new(),
        feature_names: Vec::new(),
        sha256: None,
        test_files: Default::default(),
    })
}
