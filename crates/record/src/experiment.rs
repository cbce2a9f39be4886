//! The experiment, as `experiment.toml` keeps it: the sections and their keys.
//!
//! Every section but `[execution]` can change a result. `[execution]` says how this machine does the work: a session of
//! a run may have another one than the session before.

pub mod baseline;
mod checks;
mod effects;
mod round_clients;

use std::{collections::BTreeMap, ops::Deref, path::PathBuf, str::FromStr};

use fedpipe_data::{Deal, Holdout, ImageSize, Reading, Scheme, Source, TargetKind, TestSplit, TestSplitRule};
use fedpipe_protocol::{Level, MOMENTUM};
use fedpipe_spec::table::Named;
use fedpipe_strategy::{
    aggregator::mixed_chain::Aggregation,
    attack::Attack,
    clock::Clock,
    local_optimiser::LocalOptimiser,
    local_work::LocalWork,
    lr_schedule::LrSchedule,
    preset::Composition,
    sampler::Sampler,
    schedule::Schedule,
    server::ServerOptimiser,
    strategy::{Strategy, StrategyRows},
    term::ClientTerm,
    transform::chain::Transforms,
    uneven_work::UnevenWork,
    weighting::Weighting,
};
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::{
    availability::Availability,
    client_state::PROGRAM,
    epochs::Epochs,
    error::{Error, Result},
    evaluated_clients::EvaluatedClients,
    experiment_key::{ExperimentKey, section},
    format::{Format, check_table},
    initial_file::InitialFile,
    key_value::{KeyValue, read_word},
    memory_limit::MemoryLimit,
    seed::Seed,
    target::{MeasuredOn, TargetScore},
};

/// The section that has no influence on a result.
pub const EXECUTION: &str = "execution";

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

section! {
    /// `[data]`: the examples of each client.
    pub struct DataSection in "data" {
        /// fashion-mnist, sample, fcube, synthetic, or the path of your files (see `fedpipe data list`)
        source: Source = Source::FashionMnist => "--data DATA";
        /// The targets: classes, or real numbers for a regression
        target: TargetKind = TargetKind::Classes => "--target KIND";
        /// The column of a table that has the targets
        label: Option<String> = None => "--label COLUMN".default("none");
        /// The column of a table that names the natural client of each row
        client_column: Option<String> = None => "--client-column COLUMN".default("none");
        /// The file with the test set of a table
        test_data: Option<String> = None => "--test-data PATH".default("none");
        /// The part of the examples that becomes the test set, of each class alike, drawn by the seed of the
        /// partition; or per-client:SHARE,merge: each client holds out its share of the training and test examples,
        /// and there is no test set
        test_split: Option<TestSplitRule> = None => "--test-split X".within(|x| x > 0.0 && x < 1.0, "between 0 and 1").default("none");
        /// The size to which images are scaled, such as 28x28, or 28x28x3 for colour and 28x28x1 for grey
        image_size: Option<ImageSize> = None => "--image-size SIZE".default("that of the images");
        /// Standardise each feature by its mean and standard deviation over the training examples
        standardise: bool = false => "--standardise";
        /// The rule that deals the examples to the clients
        partition: Scheme = Scheme::default() => "--partition SCHEME";
        /// Share of each partition that is kept out of training, to score weights on it
        holdout: f64 = 0.0 => "--holdout SHARE".within(is_share, "at least 0 and below 1");
        /// Share of the clients that are kept out of training as a whole, and are scored apart
        holdout_clients: f64 = 0.0 => "--holdout-clients SHARE".within(is_share, "at least 0 and below 1");
    }
}

section! {
    /// `[clients]`: the clients of a round, and of its result. A crash is an accident; its consequence for the result
    /// is a choice.
    pub struct ClientsSection in "clients" {
        /// Clients, each with a partition of its own
        count: u32 = 4 => "--clients N".count();
        /// Part of the clients that is sampled for each round
        fraction: f64 = 1.0 => "--fraction X".within(|x| x > 0.0 && x <= 1.0, "above 0 and at most 1");
        /// A CSV file with the rounds in which each client is available, with the header client,first,last
        availability: Option<Availability> = None => "--availability FILE".default("all clients in all rounds");
        /// The cost of a crashed client: retry (nothing), drop (its update of the round), abort (the run)
        on_failure: OnFailure = OnFailure::Retry => "--on-failure POLICY";
        /// Fewest updates with which a round succeeds
        min_clients: Option<u32> = None => "--min-clients N".count().default("half of the sampled clients");
    }
}

section! {
    /// `[local]`: the training of a client in a round.
    pub struct LocalSection in "local" {
        /// Local epochs a round, or a part of one, such as 0.5
        epochs: Epochs = Epochs(1.0) => "--epochs N".within(|x| x > 0.0 && x <= 1e15, "above 0 and at most 1e15")
            .instead_of("local-steps");
        /// Mini-batches a client trains on in a round, in the place of local epochs
        local_steps: Option<u64> = None => "--local-steps N".count().instead_of("epochs")
            .default("those of --epochs");
        /// Examples a mini-batch
        batch_size: u64 = 32 => "--batch-size N".count();
        /// Local learning rate
        lr: f32 = 0.1 => "--lr X".within(|x| x > 0.0 && x.is_finite(), "a finite number above 0")
            .default("0.1, with adam 0.001");
        /// The learning rate of each round
        lr_schedule: Named<LrSchedule> = Named::default() => "--lr-schedule SCHEDULE";
        /// The part of the local epochs or steps that a client does in a round
        uneven: Named<UnevenWork> = Named::default() => "--uneven UNEVEN";
        /// The rule of a local step
        optimiser: LocalOptimiser = LocalOptimiser::default() => "--optimiser OPTIMISER".default("sgd");
    }
}

section! {
    /// The keys of `[strategy]`: a preset, and the rows in the place of the preset's.
    pub struct StrategyKeys in "strategy" {
        /// The rules of a round by name
        name: Named<Composition> = Default::default() => "--strategy STRATEGY".instead_of_section();
        /// A strategy of your own instead, such as "python3 strategy.py"; it receives the updates of each round
        program: Option<String> = None => "--strategy-program COMMAND".not_with("strategy").instead_of_section();
        /// The clients of a round, in the place of the strategy's
        sample: Option<Named<dyn Sampler>> = None => "--sample SAMPLER";
        /// The term that a client adds to its loss, in the place of the strategy's
        term: Option<Named<dyn ClientTerm>> = None => "--term TERM";
        /// The transforms of an update in the place of the strategy's, none or a chain such as clip:1+int8
        transform: Option<Transforms> = None => "--transform TRANSFORM";
        /// The attack of dishonest clients, which the host plays
        attack: Option<Named<dyn Attack>> = None => "--attack ATTACK";
        /// The weight of an update, in the place of the strategy's
        weighting: Option<Named<dyn Weighting>> = None => "--weighting WEIGHTING";
        /// The aggregate of the updates, in the place of the strategy's, or a chain such as nnm+krum:2
        aggregate: Option<Aggregation> = None => "--aggregate AGGREGATOR";
        /// The step of the global weights, in the place of the strategy's
        server: Option<Named<dyn ServerOptimiser>> = None => "--server SERVER";
        /// The updates that make new global weights, in the place of the strategy's
        schedule: Option<Named<dyn Schedule>> = None => "--schedule SCHEDULE";
    }
}

section! {
    /// `[time]`: virtual time, in which simulated clients train. It is a function of the experiment, so that it is the
    /// same on each machine.
    pub struct TimeSection in "time" {
        /// The simulated speed and link of each client, by which rounds and updates have a virtual time
        clock: Option<Named<dyn Clock>> = None => "--clock CLOCK".default("none");
        /// Virtual seconds of one mini-batch on the reference client
        step_time: f64 = 0.01 => "--step-time SECONDS".within(is_virtual, "1e-9 to 1e9 virtual seconds");
        /// Virtual seconds after which a round waits for no further client; those that are late are not trained
        deadline: Option<f64> = None => "--deadline SECONDS".within(is_virtual, "1e-9 to 1e9 virtual seconds")
            .default("none");
    }
}

section! {
    /// `[evaluation]`: the scores besides those of each round on the test set.
    pub struct EvaluationSection in "evaluation" {
        /// The clients whose held-out examples are scored: all, sampled (those of the round), or a number
        clients: EvaluatedClients = EvaluatedClients::All => "--evaluate-clients CLIENTS";
        /// Rounds from one score of the clients to the next
        every: u64 = 1 => "--evaluate-every N".count();
        /// Local epochs that each scored client trains before its personal score, which leave no other trace
        fine_tune: Option<u64> = None => "--fine-tune EPOCHS".default("0, with fedbabu 1");
        /// Score the final weights by class: confusion matrix, precision, recall, F1, and the AUC of two classes
        by_class: bool = false => "--by-class";
    }
}

section! {
    /// `[execution]`: the work of this machine. No key of it changes a bit of a result. A limit or a deadline may
    /// cause a crash, whose consequence `[clients]` decides and the ledger records.
    pub struct ExecutionSection in EXECUTION {
        /// Seconds in which a client, or a strategy of your own, must answer
        client_timeout: f64 = 600.0 => "--client-timeout SECONDS"
            .within(|seconds| (0.001..=1e9).contains(&seconds), "0.001 to 1e9 seconds");
        /// Client processes; if there are fewer than clients, each serves several in turn
        processes: Option<u32> = None => "--processes N".count()
            .default("one a client up to 64, then two a job, or one with --client or --jobs 1");
        /// Clients that train at the same time
        jobs: Option<u32> = None => "--jobs N".count().default("the machine's cores");
        /// The isolation that the kernel enforces on clients and a strategy of your own: require (all of it, or no
        /// run), auto (as much as it can), off
        isolation: Level = Level::Auto => "--isolation LEVEL";
        /// Memory that a client's model may take, such as 512M or 2G, or none
        memory_limit: Option<MemoryLimit> = None => "--memory-limit BYTES"
            .default("half of the machine's over the processes, at least 256M");
        /// Seconds of processor time that a client process may take, over all rounds
        cpu_limit: Option<u64> = None => "--cpu-limit SECONDS".count().default("no limit");
        /// Rounds from one checkpoint to the next
        checkpoint_every: u64 = 1 => "--checkpoint-every N".count();
    }
}

/// `[strategy]`: the rules of a round, resolved, or a program in their place. It dereferences to the rules.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StrategyKeys", into = "StrategyKeys")]
pub struct StrategySection {
    /// The rules.
    pub rules: Strategy,
    /// The command of a strategy that is a program of the user's.
    pub program: Option<String>,
}

/// The consequence of a client that crashes in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum OnFailure {
    /// A fresh process does the work again. If it crashes, too, the client is dropped from the round.
    Retry,
    /// The client is dropped from the round.
    Drop,
    /// The run ends.
    Abort,
}

impl KeyValue for OnFailure {
    const CHOICES: &'static [&'static str] = Self::VARIANTS;

    fn read(text: &str) -> std::result::Result<Self, String> {
        read_word(text)
    }
}

impl LocalSection {
    /// Returns the work of a client in a round.
    pub fn work(&self) -> LocalWork {
        self.local_steps.map_or(LocalWork::Epochs(self.epochs.0), LocalWork::Steps)
    }

    /// Returns the features that each client needs for the training, each with the key that needs it.
    pub fn features(&self) -> impl Iterator<Item = (String, &'static str)> {
        let of_work = self.work().features().map(|name| (name, "a part of a local epoch"));
        let of_optimiser = self.optimiser.feature.map(|name| (name, "--optimiser"));
        of_work.into_iter().chain(of_optimiser).map(|(name, by)| (name.to_owned(), by))
    }
}

impl Deref for StrategySection {
    type Target = Strategy;

    fn deref(&self) -> &Strategy {
        &self.rules
    }
}

impl FromStr for StrategySection {
    type Err = fedpipe_spec::error::Error;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(Self { rules: text.parse()?, program: None })
    }
}

impl From<StrategyKeys> for StrategySection {
    fn from(keys: StrategyKeys) -> Self {
        let StrategyKeys {
            name,
            program,
            sample,
            term,
            transform: transforms,
            attack,
            weighting,
            aggregate,
            server,
            schedule,
        } = keys;
        let rules = StrategyRows { name, sample, term, transforms, attack, weighting, aggregate, server, schedule };
        Self { rules: rules.into(), program }
    }
}

impl From<StrategySection> for StrategyKeys {
    fn from(section: StrategySection) -> Self {
        let StrategyRows { name, sample, term, transforms, attack, weighting, aggregate, server, schedule } =
            section.rules.into();
        let (program, transform) = (section.program, transforms);
        Self { name, program, sample, term, transform, attack, weighting, aggregate, server, schedule }
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

/// Returns `true` for virtual seconds that do not vanish beside each other.
fn is_virtual(seconds: f64) -> bool {
    (1e-9..=1e9).contains(&seconds)
}

/// Returns `true` for a share that leaves something.
fn is_share(share: f64) -> bool {
    (0.0..1.0).contains(&share)
}

#[cfg(test)]
mod tests {
    use super::*;

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
