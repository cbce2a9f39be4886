//! A stretch of a history: consecutive rounds under one experiment, with the data and the model that they have.

use std::borrow::Cow;

use fedpipe_data::DatasetInfo;

use crate::{experiment::Experiment, identity::CodeIdentity, line::DataIdentity, names::PARTITIONS};

/// Consecutive rounds under one experiment. A forced resume begins another stretch.
#[derive(Debug, Clone)]
pub struct Stretch {
    pub first_round: u64,
    pub experiment: Experiment,
    pub dealt: Option<DealtLine>,
    pub ready: Option<ReadyLine>,
}

/// The data of a stretch.
#[derive(Debug, Clone, PartialEq)]
pub struct DealtLine {
    pub dataset: DatasetInfo,
    /// Examples of each client.
    pub sizes: Vec<u64>,
    /// Held-out examples of each client; empty if nothing is held out.
    pub held_out: Vec<u64>,
    /// Examples of each class, for each client; none of them if the clients have their own data.
    pub label_counts: Vec<Vec<u64>>,
    /// Of the list of all partitions.
    pub partitions_sha256: String,
}

/// The model of a stretch.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadyLine {
    pub model: String,
    pub version: String,
    pub program: CodeIdentity,
    /// Of the initial weights.
    pub weights_sha256: String,
}

/// A dylib in the run directory, by name, with the SHA-256 that the ledger has.
#[derive(Debug, PartialEq)]
pub struct DylibLine<'h> {
    pub name: String,
    pub sha256: &'h str,
}

impl Stretch {
    /// Returns the stretch under another experiment, with another program and other data where they are given.
    pub(super) fn forced(
        &self,
        experiment: Experiment,
        program: Option<Cow<'_, CodeIdentity>>,
        data: Option<Cow<'_, DataIdentity>>,
    ) -> Self {
        let mut forced = Self { experiment, ..self.clone() };
        if let (Some(ready), Some(program)) = (&mut forced.ready, program) {
            ready.program = program.into_owned();
        }
        if let (Some(dealt), Some(data)) = (&mut forced.dealt, data) {
            let DataIdentity { dataset_sha256, partitions_sha256 } = data.into_owned();
            dealt.dataset.sha256 = dataset_sha256;
            dealt.partitions_sha256 = partitions_sha256;
        }
        forced
    }
}

impl ReadyLine {
    pub(super) fn new([model, version, weights_sha256]: [Cow<'_, str>; 3], program: Cow<'_, CodeIdentity>) -> Self {
        Self {
            model: model.into_owned(),
            version: version.into_owned(),
            program: program.into_owned(),
            weights_sha256: weights_sha256.into_owned(),
        }
    }
}

impl DealtLine {
    /// Returns the difference of the data that were dealt now, a sentence.
    pub fn difference(&self, now: &DataIdentity) -> Option<String> {
        let differ = |what: &str, is: &str, was: &str| (is != was).then(|| format!("{what} {is}, was {was}"));
        differ("the dataset is", &now.dataset_sha256, &self.dataset.sha256).or_else(|| {
            let what = format!("{} has the SHA-256", PARTITIONS);
            differ(&what, &now.partitions_sha256, &self.partitions_sha256)
        })
    }
}
