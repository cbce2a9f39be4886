//! Tests of the resume of a run of a program that was killed.

use fedpipe_record::{
    epochs::Epochs,
    experiment::{ClientsSection, ExecutionSection},
    seed::Seed,
};

use super::*;

#[test]
fn differences_are_named_with_both_values() {
    let recorded = Experiment { seed: Seed(1), ..Experiment::default() };
    let mut given = Experiment { seed: Seed(u64::MAX), ..Experiment::default() };
    given.clients = ClientsSection { count: 7, min_clients: Some(3), ..given.clients };
    given.execution = ExecutionSection { jobs: Some(2), cpu_limit: Some(9), checkpoint_every: 3, ..given.execution };
    given.strategy = "fedprox:0.1".parse().unwrap();
    let all = [
        "seed is \"18446744073709551615\", was 1",
        "clients.count is 7, was 4",
        "clients.min-clients is 3, was not set",
        "strategy.name is \"fedprox:mu=0.1\", was \"fedavg\"",
        "strategy.term is \"proximal:mu=0.1\", was \"none\"",
    ];
    assert_eq!(differences(&recorded, &given).unwrap(), all);
    assert!(differences(&recorded, &recorded).unwrap().is_empty());
}

/// A round of a run whose weights are `weights`.
fn round(number: u64, weights: &[f32]) -> fedpipe_record::round_line::Round {
    let weights_sha256 = fedpipe_record::digest::weights_sha256(weights);
    fedpipe_record::round_line::Round { clients: 4, weights_sha256, ..fedpipe_record::round_line::Round::blank(number) }
}

/// A run of a program, killed in round 2, after the checkpoint of round 1.
struct Killed {
    place: tempfile::TempDir,
    experiment: Experiment,
    checkpoint: Checkpoint,
}

impl Killed {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let experiment = Experiment { client: Some("true".into()), ..Experiment::default() };
        let (directory, ledger) = RunDir::create(&experiment, None, Some(&place.path().join("run")), false).unwrap();
        let mut observer = |_: &Event<'_>| Ok(());
        let mut journal = Journal::new(ledger, &mut observer);
        let weights = vec![1.0, 2.0];
        journal.emit(&Event::RoundEnded(&round(1, &weights))).unwrap();
        let meta =
            fedpipe_record::checkpoint::Meta { round: 1, ledger: journal.position().clone(), clients: Vec::new() };
        let server = Default::default();
        let checkpoint =
            Checkpoint { meta, weights: std::sync::Arc::new(weights), server, versions: Default::default() };
        let killed = Self { place, experiment, checkpoint };
        killed.save(&killed.checkpoint);
        journal.emit(&Event::RoundEnded(&round(2, &[3.0, 4.0]))).unwrap();
        drop(directory);
        killed
    }

    fn path(&self) -> PathBuf {
        self.place.path().join("run")
    }

    /// Saves a checkpoint and no other.
    fn save(&self, checkpoint: &Checkpoint) {
        let _ = fs::remove_dir_all(self.path().join("checkpoint"));
        let mut saver =
            crate::run::saver::Saver::start(&self.path(), tempfile::tempfile().unwrap(), Default::default()).unwrap();
        saver.save(checkpoint.clone()).unwrap();
        saver.finish().unwrap();
    }

    /// Resumes under an experiment and is killed at once: the differences that the ledger then has.
    fn resume(&self, experiment: &Experiment, force: bool) -> Result<Vec<String>> {
        let directory = RunDir::open(&self.path())?;
        let resume = Resume { directory: &self.path(), force };
        let point = Point::find(&resume, &directory, experiment, &mut |_| ())?;
        point.journal(&directory, experiment, &mut |_: &Event<'_>| Ok(()))?;
        Ok(point.forced)
    }

    /// Returns the warning about a replaced checkpoint.
    fn refusal(&self, checkpoint: &Checkpoint) -> String {
        self.save(checkpoint);
        let directory = RunDir::open(&self.path()).unwrap();
        let resume = Resume { directory: &self.path(), force: false };
        let mut warnings = Vec::new();
        let point = Point::find(&resume, &directory, &self.experiment, &mut |why| warnings.push(why)).unwrap();
        assert_eq!(point.round(), 0);
        warnings.concat()
    }
}

#[test]
fn a_forced_change_holds_although_its_session_left_no_checkpoint() {
    let killed = Killed::new();
    let mut more = Experiment { rounds: 4000, ..killed.experiment.clone() };
    more.local.epochs = Epochs(2.0);
    assert!(killed.resume(&more, false).unwrap_err().to_string().contains("local.epochs is 2, was 1"));
    for force in [true, false, false] {
        assert_eq!(killed.resume(&more, force).unwrap(), ["rounds is 4000, was 5", "local.epochs is 2, was 1"]);
        let history = History::read(&killed.path()).unwrap();
        assert_eq!((history.rounds.len(), history.experiment()), (1, &more));
        let first_rounds: Vec<u64> = history.stretches.iter().map(|stretch| stretch.first_round).collect();
        assert_eq!(first_rounds, [1, 2]);
        let text = fs::read_to_string(killed.path().join("experiment.toml")).unwrap();
        assert_eq!(Experiment::deserialize_from(text.parse().unwrap()).unwrap(), more);
    }
    // Back to the first is a change, too.
    let message = killed.resume(&killed.experiment, false).unwrap_err().to_string();
    assert!(message.contains("rounds is 5, was 4000"), "{message}");
    assert_eq!(killed.resume(&killed.experiment, true).unwrap(), ["rounds is 5, was 4000", "local.epochs is 1, was 2"]);
}

/// The rates of the rounds that are left would follow another cosine.
#[test]
fn more_rounds_are_another_experiment_where_the_rates_follow_from_the_last_one() {
    let killed = Killed::new();
    let cosine = |rounds| {
        let mut experiment = Experiment { rounds, ..killed.experiment.clone() };
        experiment.local.lr_schedule = "cosine".parse().unwrap();
        experiment
    };
    killed.resume(&cosine(5), true).unwrap();
    let why = killed.resume(&cosine(9), false).unwrap_err().to_string();
    assert!(why.contains("rounds is 9, was 5"), "{why}");
    killed.resume(&cosine(9), true).unwrap();
    assert_eq!(History::read(&killed.path()).unwrap().experiment(), &cosine(9));
}

#[test]
fn a_run_continues_for_longer_without_being_forced_and_not_for_shorter() {
    let killed = Killed::new();
    let rounds = |rounds| Experiment { rounds, ..killed.experiment.clone() };
    assert_eq!(killed.resume(&rounds(9), false).unwrap(), ["rounds is 9, was 5"]);
    assert_eq!(History::read(&killed.path()).unwrap().experiment(), &rounds(9));
    let message = killed.resume(&rounds(8), false).unwrap_err().to_string();
    assert!(message.contains("rounds is 8, was 9"), "{message}");
}

#[test]
fn a_checkpoint_is_taken_if_it_is_the_state_of_its_round_in_the_ledger() {
    let killed = Killed::new();
    let whole = &killed.checkpoint;
    let other = |change: fn(&mut Checkpoint)| {
        let mut other = whole.clone();
        change(&mut other);
        killed.refusal(&other)
    };
    let weights = other(|other| other.weights = std::sync::Arc::new(vec![1.0, 2.5]));
    assert!(weights.contains("its weights are not those of round 1"), "{weights}");
    let fewer = other(|other| other.weights = std::sync::Arc::new(vec![1.0]));
    assert!(fewer.contains("its weights are not those of round 1"), "{fewer}");
    let server = other(|other| other.server.set_vector("m", vec![0.5, 0.5]));
    assert!(server.contains("its server state is not that of round 1"), "{server}");
    let round = other(|other| other.meta.round = 2);
    assert!(round.contains("its contents are of round 2, and its place in the ledger is that of round 1"), "{round}");
    let place = other(|other| other.meta.ledger.bytes += 1);
    assert!(place.contains("the ledger has no such line"), "{place}");
    let start = other(|other| other.meta.ledger = fedpipe_record::line::Position::default());
    assert!(start.contains("the ledger has no such line"), "{start}");
    killed.save(whole);
    assert_eq!(killed.resume(&killed.experiment, false).unwrap(), Vec::<String>::new());
}
