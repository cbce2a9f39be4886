//! The sections of an experiment, in the order of the help. A section is a table of keys.
//!
//! Every section but `[execution]` can change a result. `[execution]` says how this machine does the work: a session of
//! a run may have another one than the session before.

use fedpipe_data::{ImageSize, Scheme, Source, TargetKind, TestSplitRule};
use fedpipe_protocol::Level;
use fedpipe_spec::table::Named;
use fedpipe_strategy::{
    clock::Clock, local_optimiser::LocalOptimiser, local_work::LocalWork, lr_schedule::LrSchedule,
    uneven_work::UnevenWork,
};
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::{
    availability::Availability,
    epochs::Epochs,
    evaluated_clients::EvaluatedClients,
    experiment_key::section,
    key_value::{KeyValue, read_word},
    memory_limit::MemoryLimit,
};

/// The section that has no influence on a result.
pub const EXECUTION: &str = "execution";

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

/// Returns `true` for virtual seconds that do not vanish beside each other.
fn is_virtual(seconds: f64) -> bool {
    (1e-9..=1e9).contains(&seconds)
}

/// Returns `true` for a share that leaves something.
fn is_share(share: f64) -> bool {
    (0.0..1.0).contains(&share)
}
