//! The experiment: everything that decides a result, as `experiment.toml` keeps it.

use std::collections::BTreeMap;

use fedpipe_data::{Scheme, Source, counted};
use fedpipe_protocol::Level;
use fedpipe_strategy::{local_optimiser::LocalOptimiser, refusals::refusal, sampler::Draw, strategy::Strategy};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    memory_limit::MemoryLimit,
};

/// An experiment. Every field has a default except the model, or the client in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Experiment {
    /// The model, as the user named it; empty if `client` is given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// The command of a client that is a program of the user's, its own model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The model's options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub model_options: BTreeMap<String, String>,
    /// The dataset.
    pub data: Source,
    /// The scheme that deals the dataset to the clients.
    pub partition: Scheme,
    /// Clients that hold a partition each.
    pub clients: u32,
    /// The part of the clients that is sampled for a round, in (0, 1].
    pub fraction: f64,
    /// The number of rounds; without meaning under `until_converged`.
    pub rounds: u64,
    /// `true` goes on until the weights have converged.
    pub until_converged: bool,
    /// The round at which `until_converged` gives up.
    pub max_rounds: u64,
    /// The tolerance of [`Convergence`](fedpipe_strategy::convergence::Convergence).
    pub tolerance: f64,
    /// The run's seed; all randomness follows from it. As text above 2⁶³ − 1, which TOML has no number for.
    #[serde(with = "seed")]
    pub seed: u64,
    /// The strategy that turns the updates into new weights.
    pub strategy: Strategy,
    /// The command of a strategy that is a program of the user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy_program: Option<String>,
    /// Local epochs a round.
    pub epochs: u64,
    /// Examples a mini-batch.
    pub batch_size: u64,
    /// The local learning rate.
    pub lr: f32,
    /// The local optimiser.
    pub optimiser: LocalOptimiser,
    /// The consequence of a client that crashes.
    pub on_failure: OnFailure,
    /// Updates below which a round fails; half of the sampled clients by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_clients: Option<u32>,
    /// Seconds a client has for one answer.
    pub client_timeout: f64,
    /// Client processes. If there are fewer processes than clients, each process serves several clients in turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// Clients that train at the same time; the number of the machine's cores by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// The isolation that the kernel is to enforce on a client.
    pub isolation: Level,
    /// Memory that a client's model may take; half of the machine's memory over the processes by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<MemoryLimit>,
    /// Seconds of processor time that a client process may take, over all rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<u64>,
    /// Rounds from one checkpoint to the next.
    pub checkpoint_every: u64,
}

/// A seed in TOML, whose integers end at 2⁶³ − 1.
mod seed {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a whole number from 0 to 18446744073709551615")]
    enum Seed {
        Number(u64),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(seed: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(*seed) {
            Ok(_) => serializer.serialize_u64(*seed),
            Err(_) => serializer.collect_str(seed),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        match Seed::deserialize(deserializer)? {
            Seed::Number(number) => Ok(number),
            Seed::Text(text) => text.parse().map_err(|_| {
                D::Error::custom(format!("{text:?} is no seed; give a whole number from 0 to {}", u64::MAX))
            }),
        }
    }
}

/// The consequence of a client that crashes in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// A fresh process does the work again. If it crashes, too, the client is dropped from the round.
    Retry,
    /// The client is dropped from the round.
    Drop,
    /// The run ends.
    Abort,
}

impl Default for Experiment {
    fn default() -> Self {
        Self {
            model: String::new(),
            client: None,
            model_options: BTreeMap::new(),
            data: Source::FashionMnist,
            partition: Scheme::Iid,
            clients: 4,
            fraction: 1.0,
            rounds: 5,
            until_converged: false,
            max_rounds: 200,
            tolerance: 0.02,
            seed: 0,
            strategy: Strategy::default(),
            strategy_program: None,
            epochs: 1,
            batch_size: 32,
            lr: 0.1,
            optimiser: LocalOptimiser::default(),
            on_failure: OnFailure::Retry,
            min_clients: None,
            client_timeout: 600.0,
            processes: None,
            jobs: None,
            isolation: Level::Auto,
            memory_limit: None,
            cpu_limit: None,
            checkpoint_every: 1,
        }
    }
}

impl Experiment {
    /// Reads an experiment from the table that `experiment.toml` holds.
    ///
    /// # Errors
    /// [`Error::Experiment`] for a key or value that an experiment has not.
    pub fn deserialize_from(table: toml::Table) -> Result<Self> {
        table
            .try_into()
            .map_err(|error: toml::de::Error| Error::Experiment(error.to_string().trim().replace('\n', " ")))
    }

    /// Returns the text of `experiment.toml`.
    ///
    /// # Errors
    /// Returns [`Error::Encoding`], which no experiment meets.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::Encoding(error.to_string()))
    }

    /// Refuses what cannot be run, whatever the data.
    ///
    /// # Errors
    /// [`Error::Experiment`] with the value, the reason and the remedy.
    pub fn check(&self) -> Result<()> {
        self.check_names()?;
        self.check_counts()?;
        self.check_ranges()?;
        let sampled = self.sampled_clients();
        if let Some(why) = refusal(&self.strategy, &self.optimiser) {
            return refuse(why);
        }
        match self.min_clients {
            Some(least) if least > sampled => refuse(format!(
                "--min-clients {least} can never be reached, since a round samples {sampled} of {}",
                counted(self.clients, "client")
            )),
            _ => Ok(()),
        }
    }

    /// Refuses two names for one thing.
    fn check_names(&self) -> Result<()> {
        if self.strategy_program.is_some() && self.strategy != Strategy::default() {
            return refuse(format!(
                "both the strategy {} and a program for it are named; leave one out",
                self.strategy
            ));
        }
        match &self.client {
            Some(client) if !self.model.is_empty() => {
                refuse(format!("both the model {} and the client {client:?} are named; leave one out", self.model))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a count of zero.
    fn check_counts(&self) -> Result<()> {
        let positive = [
            ("--clients", u64::from(self.clients)),
            ("--rounds", self.rounds),
            ("--max-rounds", self.max_rounds),
            ("--epochs", self.epochs),
            ("--batch-size", self.batch_size),
            ("--processes", self.processes.map_or(1, u64::from)),
            ("--checkpoint-every", self.checkpoint_every),
            ("--jobs", self.jobs.map_or(1, u64::from)),
            ("--cpu-limit", self.cpu_limit.unwrap_or(1)),
            ("--min-clients", self.min_clients.map_or(1, u64::from)),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => refuse(format!("{name} is 0; give at least 1")),
            None => Ok(()),
        }
    }

    /// Refuses a number outside its range.
    fn check_ranges(&self) -> Result<()> {
        let ranges = [
            ("--fraction", self.fraction, self.fraction > 0.0 && self.fraction <= 1.0, "above 0 and at most 1"),
            ("--lr", self.lr.into(), self.lr > 0.0 && self.lr.is_finite(), "a finite number above 0"),
            ("--client-timeout", self.client_timeout, (0.001..1e9).contains(&self.client_timeout), "seconds above 0"),
            ("--tolerance", self.tolerance, self.tolerance > 0.0 && self.tolerance < 1.0, "between 0 and 1"),
        ];
        match ranges.iter().find(|(_, _, fits, _)| !fits) {
            Some((name, value, _, wants)) => refuse(format!("{name} is {value}; give {wants}")),
            None => Ok(()),
        }
    }

    /// Returns the strategy, as the summary has it.
    pub fn strategy_name(&self) -> String {
        self.strategy_program.as_ref().map_or_else(|| self.strategy.to_string(), |command| format!("program {command}"))
    }

    /// Returns the advice for training that left the range of numbers, or that taught nothing.
    pub fn remedy(&self) -> String {
        if self.strategy.is_plain() {
            return "lower --lr".into();
        }
        format!("lower --lr, or the rate of --strategy {}", self.strategy)
    }

    /// Returns the number of clients that a round samples: the fraction of all, rounded, at least one.
    pub fn sampled_clients(&self) -> u32 {
        ((f64::from(self.clients) * self.fraction).round() as u32).clamp(1, self.clients.max(1))
    }

    /// Returns the clients of a round, ascending.
    pub fn sample(&self, round: u64) -> Vec<u32> {
        let (seed, clients, count) = (self.seed, self.clients, self.sampled_clients());
        self.strategy.sampler.sample(&Draw { seed, round, clients, count })
    }

    /// Returns the number of updates below which a round fails, at least 1.
    pub fn quorum(&self) -> u32 {
        self.min_clients.unwrap_or_else(|| self.sampled_clients().div_ceil(2))
    }

    /// Returns the last round.
    pub fn last_round(&self) -> u64 {
        if self.until_converged { self.max_rounds } else { self.rounds }
    }
}

fn refuse<T>(why: String) -> Result<T> {
    Err(Error::Experiment(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_experiment_survives_its_file() {
        let experiment = Experiment {
            model: "mlp".into(),
            model_options: BTreeMap::from([("hidden".into(), "16".into())]),
            strategy: "fedadam:rate=0.01".parse().unwrap(),
            partition: "dirichlet:0.3".parse().unwrap(),
            isolation: Level::Require,
            memory_limit: Some(MemoryLimit::Bytes(3 << 29)),
            ..Experiment::default()
        };
        for seed in [0, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
            let experiment = Experiment { seed, ..experiment.clone() };
            let text = toml::to_string(&experiment).unwrap();
            assert_eq!(toml::from_str::<Experiment>(&text).unwrap(), experiment, "{text}");
            let json = serde_json::to_string(&experiment).unwrap();
            assert_eq!(serde_json::from_str::<Experiment>(&json).unwrap(), experiment, "{json}");
        }
    }

    #[test]
    fn what_cannot_run_is_refused_by_name() {
        let both = Experiment { model: "mlp".into(), client: Some("true".into()), ..Experiment::default() };
        let cases: [(&str, Experiment); 7] = [
            ("both the model mlp and the client \"true\"", both),
            ("--clients is 0", Experiment { clients: 0, ..Experiment::default() }),
            ("--lr is -1", Experiment { lr: -1.0, ..Experiment::default() }),
            ("--fraction is 1.5", Experiment { fraction: 1.5, ..Experiment::default() }),
            ("--lr is NaN", Experiment { lr: f32::NAN, ..Experiment::default() }),
            ("--min-clients is 0", Experiment { min_clients: Some(0), ..Experiment::default() }),
            ("--min-clients 5", Experiment { min_clients: Some(5), ..Experiment::default() }),
        ];
        for (expected, experiment) in cases {
            let error = experiment.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// The cases are ties, a product that f64 rounds below a tie, and both limits.
    #[test]
    fn a_round_has_as_many_clients_as_the_readme_of_strategy_says() {
        let readme = include_str!("../../strategy/README.md");
        let rows = readme.lines().filter_map(|line| line.strip_prefix("| clients of a round: ")?.strip_suffix(" |"));
        let mut cases = 0;
        for row in rows {
            let (product, count) = row.split_once(" | ").unwrap();
            let (clients, fraction) = product.split_once(" · ").unwrap();
            let (clients, fraction) = (clients.parse().unwrap(), fraction.parse().unwrap());
            let sampled = Experiment { clients, fraction, ..Experiment::default() }.sampled_clients();
            assert_eq!(sampled.to_string(), count, "{product}");
            cases += 1;
        }
        assert_eq!(cases, 6);
    }
}
