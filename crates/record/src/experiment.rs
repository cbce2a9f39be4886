//! The experiment, as `experiment.toml` keeps it: its own keys, its sections, and the values that follow from them.

pub mod baseline;
mod checks;
mod effects;
mod round_clients;
mod sections;
mod strategy_section;

use std::{collections::BTreeMap, path::PathBuf};

use fedpipe_data::{Deal, Holdout, Reading, Source, TargetKind, TestSplit, TestSplitRule};
use fedpipe_protocol::MOMENTUM;

pub use self::{
    sections::{
        ClientsSection, DataSection, EXECUTION, EvaluationSection, ExecutionSection, LocalSection, OnFailure,
        TimeSection,
    },
    strategy_section::{StrategyKeys, StrategySection},
};
use crate::{
    client_state::PROGRAM,
    error::{Error, Result},
    experiment_key::{ExperimentKey, section},
    format::{Format, check_table},
    initial_file::InitialFile,
    seed::Seed,
    target::{MeasuredOn, TargetScore},
};

section! {
    /// An experiment. Every key has a default except the model, or the client in its place.
    pub struct Experiment in "" {
        parts {
            /// The format of the file.
            format: Format;
            /// The section `[data]`.
            data: DataSection;
            /// The section `[clients]`.
            clients: ClientsSection;
            /// The section `[local]`.
            local: LocalSection;
            /// The section `[strategy]`.
            strategy: StrategySection;
            /// The section `[time]`.
            time: TimeSection;
            /// The section `[evaluation]`.
            evaluation: EvaluationSection;
            /// The section `[execution]`.
            execution: ExecutionSection;
        }
        /// A model's name (see `fedpipe models`), or the path of a dylib, which has a `/` in it
        model: String = String::new() => "MODEL".instead_of("client");
        /// A client of your own instead of a model, such as "python3 client.py"; crates/protocol/README.md has its
        /// protocol
        client: Option<String> = None => "--client COMMAND".instead_of("model");
        /// An option of the model, such as hidden=256,64; may be repeated
        model_options: BTreeMap<String, String> = BTreeMap::new() => "--model-option KEY=VALUE";
        /// Rounds
        rounds: u64 = 5 => "--rounds N".count().not_with("until-converged");
        /// Run until the training loss no longer falls
        until_converged: bool = false => "--until-converged";
        /// End at a score, such as accuracy=0.85, loss=0.4, rmse=55 or r2=0.45, on held-out examples if there are some,
        /// else on the test set; with accuracy=0.85,stop=false only the time is recorded
        until: Option<TargetScore> = None => "--until TARGET".default("no target");
        /// The last round of a run with --until-converged or --until
        max_rounds: u64 = 200 => "--max-rounds N".count();
        /// Speed at which the loss may still fall, relative to its fall so far, three rounds in a row
        tolerance: f64 = 0.02 => "--tolerance X".within(|x| x > 0.0 && x < 1.0, "between 0 and 1");
        /// Seed of everything random
        seed: Seed = Seed(0) => "--seed N";
        /// Seed of the partition
        data_seed: Option<Seed> = None => "--data-seed N".default("that of --seed");
        /// Seed of the initial weights
        init_seed: Option<Seed> = None => "--init-seed N".default("that of --seed");
        /// Begin with the weights in this safetensors file, such as those of `fedpipe export`
        init_from: Option<InitialFile> = None => "--init-from FILE".default("those of the model");
        /// Seed of the clients of each round
        sample_seed: Option<Seed> = None => "--sample-seed N".default("that of --seed");
    }
}

impl Experiment {
    /// Returns every key, in the order of the help.
    pub fn keys() -> Vec<ExperimentKey> {
        let sections = [
            Self::section_keys(),
            DataSection::section_keys(),
            ClientsSection::section_keys(),
            LocalSection::section_keys(),
            StrategyKeys::section_keys(),
            TimeSection::section_keys(),
            EvaluationSection::section_keys(),
            ExecutionSection::section_keys(),
        ];
        sections.concat()
    }

    /// Reads an experiment from the table that `experiment.toml` holds.
    ///
    /// # Errors
    /// Returns [`Error::Experiment`] for another format, and for a key or value that an experiment has not.
    pub fn deserialize_from(table: toml::Table) -> Result<Self> {
        check_table(&table)?;
        if let Some(why) = Self::keys().iter().find_map(|key| key.refusal(&table)) {
            return Err(Error::Experiment(why));
        }
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

    /// Returns the deal of the dataset to the clients.
    pub fn deal(&self) -> Deal {
        let DataSection {
            source,
            target,
            label,
            client_column,
            test_data,
            test_split,
            image_size,
            standardise,
            partition,
            holdout,
            holdout_clients,
        } = self.data.clone();
        let per_client = test_split.and_then(TestSplitRule::per_client);
        let test_split = match test_split {
            Some(TestSplitRule::Drawn(fraction)) => Some(TestSplit { fraction, seed: self.data_seed() }),
            _ => None,
        };
        let test_data = test_data.map(PathBuf::from);
        let source = partition.directory().map_or(source, |directory| Source::Path(directory.to_owned()));
        let merges_test = per_client.is_some();
        let reading =
            Reading { target, label, client_column, test_data, test_split, merges_test, image_size, standardise };
        let (clients, seed) = (self.clients.count, self.data_seed());
        let holdout = Holdout { rows: per_client.unwrap_or(holdout), clients: holdout_clients };
        Deal { source, reading, scheme: partition, clients, seed, holdout, split_file: None }
    }

    /// Returns `true` if there is a common test set; `false` if each client has its own test examples.
    pub fn has_test_set(&self) -> bool {
        self.data.test_split.and_then(TestSplitRule::per_client).is_none()
    }

    /// Returns the examples on which a target is measured.
    pub fn measured_on(&self) -> MeasuredOn {
        if self.deal().holdout.rows > 0.0 { MeasuredOn::HeldOut } else { MeasuredOn::TestSet }
    }

    /// Returns `true` if the run ends by its results, at the latest after `max_rounds`.
    pub fn is_open_ended(&self) -> bool {
        self.until_converged || self.until.is_some_and(|target| target.stops)
    }

    /// Returns the seed of the partition.
    pub fn data_seed(&self) -> u64 {
        self.data_seed.unwrap_or(self.seed).0
    }

    /// Returns the seed of the initial weights.
    pub fn init_seed(&self) -> u64 {
        self.init_seed.unwrap_or(self.seed).0
    }

    /// Returns the seed of the clients of each round.
    pub fn sample_seed(&self) -> u64 {
        self.sample_seed.unwrap_or(self.seed).0
    }

    /// Returns the names of a client's slots that the strategy and the local optimiser set.
    pub fn client_slots(&self) -> Vec<&'static str> {
        let of_program = self.strategy.program.is_some().then_some(PROGRAM);
        let of_optimiser = self.local.optimiser.keeps_momentum().then_some(MOMENTUM);
        self.strategy.rules.client_slots().into_iter().chain(of_program).chain(of_optimiser).collect()
    }

    /// Returns the epochs that a client trains before its personal score.
    pub fn fine_tuning_epochs(&self) -> u64 {
        self.evaluation.fine_tune.unwrap_or_else(|| self.strategy.rules.term.fine_tuning_epochs())
    }

    /// Returns the strategy, as the summary has it.
    pub fn strategy_name(&self) -> String {
        let StrategySection { rules, program } = &self.strategy;
        program.as_ref().map_or_else(|| rules.to_string(), |command| format!("program {command}"))
    }

    /// Returns the advice for training that left the range of numbers, or that taught nothing.
    pub fn remedy(&self) -> String {
        let server = &self.strategy.server;
        let moved = format!(", or the rate of the server optimiser {server}");
        let server = if server.keeps_aggregate() { "" } else { &moved };
        let target = if self.data.target == TargetKind::Real { ", or scale the target to values near 1" } else { "" };
        format!("lower --lr{server}{target}")
    }

    /// Returns the local learning rate of a round.
    pub fn learning_rate(&self, round: u64) -> f32 {
        self.local.lr_schedule.rate(self.local.lr, round, self.last_round())
    }

    /// Returns the last round.
    pub fn last_round(&self) -> u64 {
        if self.is_open_ended() { self.max_rounds } else { self.rounds }
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::Level;

    use super::*;
    use crate::memory_limit::MemoryLimit;

    #[test]
    fn an_experiment_survives_its_file() {
        let mut experiment = Experiment {
            model: "mlp".into(),
            model_options: BTreeMap::from([("hidden".into(), "16".into())]),
            strategy: "fedadam:rate=0.01".parse().unwrap(),
            init_seed: Some(Seed(3)),
            ..Experiment::default()
        };
        experiment.data.partition = "dirichlet:0.3".parse().unwrap();
        experiment.execution.isolation = Level::Require;
        experiment.execution.memory_limit = Some(MemoryLimit::Bytes(3 << 29));
        for seed in [0, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
            let experiment = Experiment { seed: Seed(seed), ..experiment.clone() };
            let text = experiment.to_toml().unwrap();
            assert!(text.starts_with("format = 2\n"), "{text}");
            assert_eq!(Experiment::deserialize_from(text.parse().unwrap()).unwrap(), experiment, "{text}");
            let json = serde_json::to_string(&experiment).unwrap();
            assert_eq!(serde_json::from_str::<Experiment>(&json).unwrap(), experiment, "{json}");
        }
    }

    #[test]
    fn another_format_is_refused_with_both() {
        let refused = |text: &str| Experiment::deserialize_from(text.parse().unwrap()).unwrap_err().to_string();
        for text in ["", "model = 'mlp'\npartition = 'iid'", "format = 1"] {
            let why = refused(text);
            assert!(why.contains("has format 1, and this fedpipe reads format 2; begin it anew"), "{why}");
        }
        assert!(refused("format = 3").contains("has format 3, and this fedpipe reads format 2; take a newer"));
        assert!(refused("format = 'x'").contains("give format = 2"));
        let json = r#"{"format":1,"model":"mlp"}"#;
        assert!(serde_json::from_str::<Experiment>(json).unwrap_err().to_string().contains("format 1, and"));
    }

    #[test]
    fn each_key_is_found_in_the_file_of_an_experiment_and_its_flag_is_its_own() {
        let mut seen = Vec::new();
        let table = toml::Table::try_from(Experiment::default()).unwrap();
        for key in Experiment::keys() {
            // A key without a default in its own type is absent.
            let is_absent = key.find(&table).is_none();
            let words = ["model", "client", "model-options", "program"].contains(&key.name.as_str());
            assert!(!is_absent || words || key.default.is_some(), "{}", key.path());
            assert!(!key.help.ends_with('.') && !key.help.is_empty(), "{}", key.help);
            assert!(key.excluded.is_none_or(|flag| Experiment::keys().iter().any(|key| key.id() == flag)));
            assert!(!seen.contains(&key.id().to_owned()), "{}", key.id());
            seen.push(key.id().to_owned());
        }
        let written: usize = table.values().map(|value| value.as_table().map_or(1, toml::Table::len)).sum();
        let present = Experiment::keys().iter().filter(|key| key.find(&table).is_some()).count();
        // The format is no key.
        assert_eq!(written, present + 1);
    }
}
