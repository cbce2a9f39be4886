//! The experiment, as `experiment.toml` keeps it: the sections and their keys.
//!
//! Every section but `[execution]` can change a result. `[execution]` says how this machine does the work: a session of
//! a run may have another one than the session before.

use std::{collections::BTreeMap, ops::Deref, path::PathBuf, str::FromStr};

use fedpipe_data::{Deal, Holdout, ImageSize, Reading, Scheme, Source, TargetKind, TestSplit, counted};
use fedpipe_protocol::{Level, MOMENTUM};
use fedpipe_spec::table::Named;
use fedpipe_strategy::{
    aggregator::chain::Aggregation,
    attack::{Attack, attackers},
    local_optimiser::LocalOptimiser,
    local_work::LocalWork,
    lr_schedule::LrSchedule,
    preset::Composition,
    refusals::{pull_refusal, refusal},
    sampler::{Draw, Sampler},
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
    client_state::PROGRAM,
    epochs::Epochs,
    error::{Error, Result},
    evaluated_clients::EvaluatedClients,
    experiment_key::{ExperimentKey, KeyValue, read_word, section},
    format::{Format, check_table},
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
        /// End at a score, such as accuracy=0.85 or loss=0.4, on held-out examples if there are some, else on the test
        /// set; with accuracy=0.85,stop=false only the time is recorded
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
        /// The part of the examples that becomes the test set, of each class alike, drawn by the seed of the partition
        test_split: Option<f64> = None => "--test-split X".within(|x| x > 0.0 && x < 1.0, "between 0 and 1").default("none");
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
        epochs: Epochs = Epochs(1.0) => "--epochs N".within(|x| x > 0.0 && x.is_finite(), "a finite number above 0")
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
    }
}

section! {
    /// `[evaluation]`: the scores besides those of each round on the test set.
    pub struct EvaluationSection in "evaluation" {
        /// The clients whose held-out examples are scored: all, sampled (those of the round), or a number
        clients: EvaluatedClients = EvaluatedClients::All => "--evaluate-clients CLIENTS";
        /// Rounds from one score of the clients to the next
        every: u64 = 1 => "--evaluate-every N".count();
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
            .within(|seconds| (0.001..1e9).contains(&seconds), "seconds above 0");
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
        let StrategyKeys { name, program, sample, term, transform: transforms, attack, weighting, aggregate, server } =
            keys;
        let rules = StrategyRows { name, sample, term, transforms, attack, weighting, aggregate, server };
        Self { rules: rules.into(), program }
    }
}

impl From<StrategySection> for StrategyKeys {
    fn from(section: StrategySection) -> Self {
        let StrategyRows { name, sample, term, transforms, attack, weighting, aggregate, server } =
            section.rules.into();
        let (program, transform) = (section.program, transforms);
        Self { name, program, sample, term, transform, attack, weighting, aggregate, server }
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
        self.check_ranges()?;
        self.check_holdout()?;
        self.check_evaluation()?;
        let LocalSection { optimiser, lr, .. } = &self.local;
        if let Some(why) = refusal(&self.strategy, optimiser).or_else(|| pull_refusal(&self.strategy, *lr)) {
            return refuse(why);
        }
        self.check_schedule()?;
        self.check_attack()?;
        self.check_uneven_work()?;
        self.check_quorum()
    }

    /// Refuses a schedule that needs the last round, where the run decides it.
    fn check_schedule(&self) -> Result<()> {
        let schedule = &self.local.lr_schedule;
        if self.is_open_ended() && schedule.needs_last_round() {
            return refuse(format!(
                "the learning rate schedule {schedule} needs the last round, which --until-converged and --until do not know; give \
                 --rounds, or another schedule"
            ));
        }
        Ok(())
    }

    /// Refuses local work that cannot be drawn.
    fn check_uneven_work(&self) -> Result<()> {
        let uneven = &self.local.uneven;
        match uneven.refusal(self.local.work()) {
            Some(why) => refuse(format!("the uneven work {uneven} does not suit the local work: {why}")),
            None => Ok(()),
        }
    }

    /// Refuses an attack that makes no sense with the clients and targets of the run.
    fn check_attack(&self) -> Result<()> {
        let attack = &self.strategy.attack;
        if attack.flips_labels() && self.data.target == TargetKind::Real {
            return refuse(format!(
                "the attack {attack} needs classes, and --target real has none; take another attack"
            ));
        }
        match attack.refusal(self.training_clients(), &self.attackers()) {
            Some(why) => refuse(why),
            None => Ok(()),
        }
    }

    /// Refuses a share of the clients that holds out none, and rules that may train on a held-out client.
    fn check_holdout(&self) -> Result<()> {
        let (share, count) = (self.data.holdout_clients, self.clients.count);
        let excluded = match () {
            () if share == 0.0 => return Ok(()),
            () if self.new_clients().is_empty() => {
                let clients = counted(count, "client");
                let least = Holdout::least_share(u64::from(count));
                return refuse(format!("--holdout-clients {share} holds out none of {clients}; give at least {least}"));
            }
            () if self.strategy.program.is_some() => "a --strategy-program may sample any client",
            () if self.data.partition.is_own() => "under --partition own this host deals none",
            () => return Ok(()),
        };
        refuse(format!("--holdout-clients keeps clients from being sampled, and {excluded}; leave one out"))
    }

    /// Refuses an evaluation that no round has, and one of classes where there are none.
    fn check_evaluation(&self) -> Result<()> {
        let EvaluationSection { every, clients, by_class } = self.evaluation;
        let (last, training) = (self.last_round(), self.training_clients());
        let is_real = self.data.target == TargetKind::Real;
        match clients {
            EvaluatedClients::Count(asked) if asked == 0 || asked > training => {
                refuse(format!("--evaluate-clients is {asked}; give 1 to {training}, the clients that train"))
            }
            _ if every > last && !self.deal().holdout.is_none() => refuse(format!(
                "--evaluate-every {every} scores the clients after none of {}; give a smaller one",
                counted(last, "round")
            )),
            _ if is_real && by_class => {
                refuse("--by-class needs classes, and --target real has none; leave it out".into())
            }
            _ if is_real && self.until.is_some_and(TargetScore::needs_classes) => {
                refuse("--until accuracy needs classes, and --target real has none; give a loss".into())
            }
            _ => Ok(()),
        }
    }

    /// Refuses a quorum that no round can reach, and one with which the aggregator has no effect of its own.
    fn check_quorum(&self) -> Result<()> {
        let sampled = self.fewest_sampled();
        let (quorum, aggregator) = (self.quorum(sampled), &self.strategy.aggregator);
        let needed = aggregator.least_updates();
        if quorum > sampled {
            return refuse(format!(
                "--min-clients {quorum} {} be reached, since a round {} {sampled} of {}",
                if sampled < self.sampled_clients() { "may not" } else { "can never" },
                if sampled < self.sampled_clients() { "may have" } else { "samples" },
                counted(self.training_clients(), "client")
            ));
        }
        if quorum < needed {
            return refuse(format!(
                "the aggregator {aggregator} needs {} ({}), but a round of {} may succeed with {quorum}; give other \
                 parameters, or --min-clients {needed} with at least as many clients a round",
                counted(needed, "update"),
                aggregator.bound(),
                counted(sampled, "client")
            ));
        }
        Ok(())
    }

    /// Refuses two names for one thing.
    fn check_names(&self) -> Result<()> {
        if self.strategy.program.is_some() && self.strategy.rules != Strategy::default() {
            let rules = &self.strategy.rules;
            return refuse(format!("both the strategy {rules} and a program for it are named; leave one out"));
        }
        match &self.client {
            Some(client) if !self.model.is_empty() => {
                refuse(format!("both the model {} and the client {client:?} are named; leave one out", self.model))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a number outside its range.
    fn check_ranges(&self) -> Result<()> {
        let table = toml::Table::try_from(self).map_err(|error| Error::Experiment(error.to_string()))?;
        match Self::keys().iter().find_map(|key| key.refusal(&table)) {
            Some(why) => refuse(why),
            None => Ok(()),
        }
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
        let test_split = test_split.map(|fraction| TestSplit { fraction, seed: self.data_seed() });
        let test_data = test_data.map(PathBuf::from);
        let source = partition.directory().map_or(source, |directory| Source::Path(directory.to_owned()));
        let reading = Reading { target, label, client_column, test_data, test_split, image_size, standardise };
        let (clients, seed) = (self.clients.count, self.data_seed());
        let holdout = Holdout { rows: holdout, clients: holdout_clients };
        Deal { source, reading, scheme: partition, clients, seed, holdout, split_file: None }
    }

    /// Returns the clients that never train, ascending.
    pub fn new_clients(&self) -> Vec<u32> {
        self.deal().holdout.new_clients(self.data_seed(), self.clients.count)
    }

    /// Returns the number of clients that may train.
    pub fn training_clients(&self) -> u32 {
        self.clients.count - self.new_clients().len() as u32
    }

    /// Returns the clients that may train, ascending.
    fn training_list(&self) -> Vec<u32> {
        let new = self.new_clients();
        (0..self.clients.count).filter(|client| new.binary_search(client).is_err()).collect()
    }

    /// Returns the clients that attack, ascending.
    pub fn attackers(&self) -> Vec<u32> {
        attackers(self.seed.0, self.strategy.attack.fraction(), &self.training_list())
    }

    /// Returns the examples on which a target is measured.
    pub fn measured_on(&self) -> MeasuredOn {
        if self.data.holdout > 0.0 { MeasuredOn::HeldOut } else { MeasuredOn::TestSet }
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

    /// Returns the strategy, as the summary has it.
    pub fn strategy_name(&self) -> String {
        let StrategySection { rules, program } = &self.strategy;
        program.as_ref().map_or_else(|| rules.to_string(), |command| format!("program {command}"))
    }

    /// Returns the advice for training that left the range of numbers, or that taught nothing.
    pub fn remedy(&self) -> String {
        if self.strategy.server.keeps_aggregate() {
            return "lower --lr".into();
        }
        format!("lower --lr, or the rate of the server optimiser {}", self.strategy.server)
    }

    /// Returns the number of clients that a round samples: the fraction of those that may train, rounded, at least one.
    pub fn sampled_clients(&self) -> u32 {
        let count = self.training_clients();
        ((f64::from(count) * self.clients.fraction).round() as u32).clamp(1, count.max(1))
    }

    /// Returns the fewest clients that a round may have.
    fn fewest_sampled(&self) -> u32 {
        let least = self.strategy.sampler.least(self.sampled_clients());
        least - self.local.uneven.dropped(least)
    }

    /// Returns the clients of a round, ascending: those that are drawn, without the stragglers that are dropped. `sizes`
    /// has the examples of each client.
    pub fn sample(&self, round: u64, sizes: &[u64]) -> Vec<u32> {
        let mut sampled = self.draws(round, sizes);
        sampled.dedup();
        if self.local.uneven.dropped(sampled.len() as u32) > 0 {
            let stragglers = self.local.uneven.stragglers(self.sample_seed(), round, &sampled);
            sampled.retain(|client| stragglers.binary_search(client).is_err());
        }
        sampled
    }

    /// Returns the clients of a round that do a part of the local work, ascending.
    pub fn stragglers(&self, round: u64, sizes: &[u64]) -> Vec<u32> {
        let mut sampled = self.draws(round, sizes);
        sampled.dedup();
        self.local.uneven.stragglers(self.sample_seed(), round, &sampled)
    }

    /// Returns the clients that are drawn for a round, ascending, each as often as it is drawn.
    pub fn draws(&self, round: u64, sizes: &[u64]) -> Vec<u32> {
        let (seed, count) = (self.sample_seed(), self.sampled_clients());
        let new = self.new_clients();
        let training: Vec<u32> = (0..sizes.len() as u32).filter(|client| new.binary_search(client).is_err()).collect();
        let sizes: Vec<u64> = training.iter().map(|&client| sizes[client as usize]).collect();
        let drawn = self.strategy.sampler.draw(&Draw { seed, round, count, sizes: &sizes });
        drawn.into_iter().map(|place| training[place as usize]).collect()
    }

    /// Returns `true` if the clients are scored after this round.
    pub fn scores_clients_after(&self, round: u64) -> bool {
        !self.deal().holdout.is_none() && round.is_multiple_of(self.evaluation.every)
    }

    /// Returns the clients that are scored after a round which aggregated the updates of `participants`, ascending.
    pub fn scored_clients(&self, round: u64, participants: &[u32]) -> Vec<u32> {
        let training = self.training_list();
        match self.evaluation.clients {
            EvaluatedClients::All => training,
            EvaluatedClients::Sampled => participants.to_vec(),
            EvaluatedClients::Count(count) => {
                let sizes = vec![1; training.len()];
                let draw = Draw { seed: self.sample_seed(), round, count, sizes: &sizes };
                draw.scored().into_iter().map(|place| training[place as usize]).collect()
            }
        }
    }

    /// Returns the number of updates below which a round with so many `sampled` clients fails, at least 1.
    pub fn quorum(&self, sampled: u32) -> u32 {
        self.clients.min_clients.unwrap_or_else(|| sampled.div_ceil(2))
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

/// Returns `true` for a share that leaves something.
fn is_share(share: f64) -> bool {
    (0.0..1.0).contains(&share)
}

fn refuse<T>(why: String) -> Result<T> {
    Err(Error::Experiment(why))
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

    #[test]
    fn what_cannot_run_is_refused_by_name() {
        let changed = |change: fn(&mut Experiment)| {
            let mut experiment = Experiment::default();
            change(&mut experiment);
            experiment
        };
        let both = Experiment { model: "mlp".into(), client: Some("true".into()), ..Experiment::default() };
        let cases: [(&str, Experiment); 11] = [
            ("both the model mlp and the client \"true\"", both),
            ("--clients is 0; give at least 1", changed(|of| of.clients.count = 0)),
            ("--lr is -1", changed(|of| of.local.lr = -1.0)),
            ("--fraction is 1.5; give above 0 and at most 1", changed(|of| of.clients.fraction = 1.5)),
            ("--lr is NaN", changed(|of| of.local.lr = f32::NAN)),
            ("--epochs is 0; give a finite number above 0", changed(|of| of.local.epochs = Epochs(0.0))),
            ("--local-steps is 0", changed(|of| of.local.local_steps = Some(0))),
            (
                "the learning rate schedule cosine:to=0,warmup=0 needs the last round, which --until-converged",
                changed(|of| (of.until_converged, of.local.lr_schedule) = (true, "cosine".parse().unwrap())),
            ),
            ("--min-clients is 0", changed(|of| of.clients.min_clients = Some(0))),
            ("--min-clients 5", changed(|of| of.clients.min_clients = Some(5))),
            ("--jobs is 0", changed(|of| of.execution.jobs = Some(0))),
        ];
        for (expected, experiment) in cases {
            let error = experiment.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// Without the refusal the rule is the mean, which one dishonest client decides.
    #[test]
    fn a_trimmed_mean_is_refused_where_a_round_may_trim_nothing() {
        let check = |aggregator: &str, (count, fraction): (u32, f64), min_clients| {
            let strategy = StrategyKeys { aggregate: Some(aggregator.parse().unwrap()), ..StrategyKeys::default() };
            let clients = ClientsSection { count, fraction, min_clients, ..ClientsSection::default() };
            Experiment { strategy: strategy.into(), clients, ..Experiment::default() }.check()
        };
        let why = check("trimmed-mean", (8, 0.5), None).unwrap_err().to_string();
        assert!(
            why.ends_with(
                "the aggregator trimmed-mean:beta=0.1,f=beta needs 10 updates (n ≥ 1/β; of fewer it leaves out none), but \
                 a round of 4 clients may succeed with 2; give other parameters, or --min-clients 10 with at least as many \
                 clients a round"
            ),
            "{why}"
        );
        let cases = [
            ("trimmed-mean", 10, None, false),
            ("trimmed-mean", 10, Some(9), false),
            ("trimmed-mean", 10, Some(10), true),
            ("trimmed-mean", 20, None, true),
            ("trimmed-mean:beta=0.25", 4, None, false),
            ("trimmed-mean:beta=0.25", 4, Some(4), true),
            ("trimmed-mean:beta=0", 1, None, true),
            ("krum:2", 10, None, false),
            ("krum:2", 10, Some(7), true),
            ("krum:2", 13, None, true),
            ("bulyan:1", 10, Some(6), false),
            ("bulyan:1", 10, Some(7), true),
            ("nnm+trimmed-mean:f=2", 10, None, true),
            ("bucketing:2+krum:1", 10, Some(8), false),
            ("bucketing:2+krum:1", 10, Some(9), true),
            ("median", 1, None, true),
            ("mean", 1, None, true),
        ];
        for (aggregator, count, least, is_taken) in cases {
            assert_eq!(check(aggregator, (count, 1.0), least).is_ok(), is_taken, "{aggregator} {count} {least:?}");
        }
    }

    #[test]
    fn an_attack_that_makes_no_sense_is_refused() {
        let check = |attack: &str, count, target| {
            let strategy = StrategyKeys { attack: Some(attack.parse().unwrap()), ..StrategyKeys::default() };
            let mut experiment = Experiment { strategy: strategy.into(), ..Experiment::default() };
            (experiment.clients.count, experiment.data.target) = (count, target);
            (experiment.check().err().map(|error| error.to_string()), experiment.attackers().len())
        };
        let (classes, real) = (TargetKind::Classes, TargetKind::Real);
        let (why, attackers) = check("alie:fraction=0.2", 10, classes);
        assert_eq!(attackers, 2);
        assert!(why.unwrap().contains("alie with 2 of 10 clients has z = 0.00, at which they need no supporters"));
        assert_eq!(check("alie:fraction=0.3", 10, classes), (None, 3));
        assert_eq!(check("alie:fraction=0.2,z=1.5", 10, classes), (None, 2));
        assert_eq!(check("alie:fraction=0", 10, classes), (None, 0));
        assert_eq!(check("label-flip:0.2", 10, classes), (None, 2));
        assert!(check("label-flip:0.2", 10, real).0.unwrap().contains("needs classes, and --target real has none"));
        assert!(check("mimic:fraction=0.2,client=10", 10, classes).0.unwrap().contains("there are 10 clients"));
    }

    #[test]
    fn a_seed_of_its_own_changes_its_draws_alone() {
        let of = |sample_seed| Experiment { seed: Seed(1), sample_seed, ..Experiment::default() };
        let mut both = [of(None), of(Some(Seed(2)))];
        both.iter_mut().for_each(|of| of.clients = ClientsSection { count: 100, fraction: 0.1, ..of.clients.clone() });
        let [same, other] = both;
        assert_ne!(same.sample(1, &[1; 100]), other.sample(1, &[1; 100]));
        assert_eq!((other.data_seed(), other.init_seed(), other.sample_seed()), (1, 1, 2));
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
            let section = ClientsSection { count: clients, fraction, ..ClientsSection::default() };
            let sampled = Experiment { clients: section, ..Experiment::default() }.sampled_clients();
            assert_eq!(sampled.to_string(), count, "{product}");
            cases += 1;
        }
        assert_eq!(cases, 6);
    }
}
