//! The sentences about a run and its rounds, as pure functions of their records.

use fedpipe_data::{DatasetInfo, counted};
use fedpipe_record::{
    client_scores::ClientScores,
    finite::Finite,
    number_text::{rounded, significant},
    regression::Regression,
    round_line::Round,
    summary::{Stop, Summary},
    target::TargetTime,
};
use fedpipe_strategy::convergence::PATIENCE;

/// Returns the line about a dealt dataset; `sizes` are the examples of each client.
pub(crate) fn dataset_line(dataset: &DatasetInfo, sizes: &[u64]) -> String {
    // A client that never trains has no training examples.
    let training = || sizes.iter().filter(|size| **size > 0);
    let (least, most) = (training().min().unwrap_or(&0), training().max().unwrap_or(&0));
    let share = if least == most { format!("{least}") } else { format!("{least} to {most}") };
    let clients = counted(sizes.len(), "client");
    let trained = training().count();
    let clients = if trained < sizes.len() { format!("{trained} of {clients}") } else { clients };
    let DatasetInfo { name, train_examples, test_examples, .. } = dataset;
    if *test_examples == 0 {
        // The held-out examples of each client are the next line's.
        return format!(
            "{name}: {}, training and test ones merged; {clients} with {share} to train on",
            counted(*train_examples, "example")
        );
    }
    format!(
        "{name}: {train_examples} training and {}; {clients} with {share} each",
        counted(*test_examples, "test example")
    )
}

/// Returns the name of a round; `last` is the last one, unless the run ends by its results.
pub(crate) fn round_name(round: u64, last: Option<u64>) -> String {
    match last {
        Some(last) => format!("round {round:>width$}/{last}", width = last.to_string().len()),
        None => format!("round {round:>3}"),
    }
}

/// Returns the line about a round, without the round's name.
pub(crate) fn round_line(round: &Round) -> String {
    let Round { loss, accuracy, regression, seconds, failed, clients, late, virtual_seconds, training_loss, .. } =
        round;
    let number = |count: usize, what: &str| {
        if count > 0 { format!("  ({} {what})", counted(count, "client")) } else { String::new() }
    };
    let failed = match (clients, failed) {
        (0, 0) => "  (no client was sampled)".to_owned(),
        _ => number(*failed as usize, "failed") + &number(late.len(), "late"),
    };
    let time = virtual_seconds.map_or_else(String::new, |end| format!("  virtual {} s", rounded(end.get(), 2)));
    let score = match (loss, training_loss) {
        (Some(loss), _) => format!("loss {}  {}", significant(loss.get()), quality(*accuracy, *regression, 5)),
        (None, Some(loss)) => format!("training loss {}", significant(loss.get())),
        (None, None) => "no score".to_owned(),
    };
    let (clients, seconds) = (client_scores(round), rounded(seconds.get(), 2));
    format!("{score}{clients}  {seconds} s{time}{failed}")
}

/// Returns the part of a round's line about the clients that were scored; empty if none was.
fn client_scores(round: &Round) -> String {
    let part = |name: &str, scores: &Option<ClientScores>| {
        let ClientScores { accuracy, rmse, .. } = scores.as_ref()?;
        let by_accuracy = accuracy.map(|of| {
            let [mean, worst] = [of.mean, of.worst].map(|share| 100.0 * share.get());
            format!("  {name} {mean:.1} %, worst {worst:.1} %")
        });
        let by_rmse = rmse.map(|of| {
            let [mean, worst] = [of.mean, of.worst].map(|rmse| significant(rmse.get()));
            format!("  {name} RMSE {mean}, worst {worst}")
        });
        by_accuracy.or(by_rmse)
    };
    let Round { held_out, personal, new_clients, .. } = round;
    let parts = [part("held out", held_out), part("personal", personal), part("new", new_clients)];
    parts.into_iter().flatten().collect()
}

/// Returns the accuracy, padded to `width`, or the errors of a real target.
pub(crate) fn quality(accuracy: Option<Finite>, regression: Option<Regression>, width: usize) -> String {
    let accuracy = accuracy.map(|accuracy| format!("accuracy {:width$.2} %", 100.0 * accuracy.get()));
    let errors = regression.map(|Regression { rmse, mae, r2 }| {
        let r2 = r2.map_or_else(String::new, |r2| format!("  R² {}", rounded(r2.get(), 4)));
        format!("RMSE {}  MAE {}{r2}", significant(rmse.get()), significant(mae.get()))
    });
    accuracy.or(errors).unwrap_or_default()
}

/// Returns the reason why a run ended; `None` if all its rounds are done.
pub(crate) fn end_reason(summary: &Summary, tolerance: f64) -> Option<String> {
    let last = summary.rounds;
    let rounds = counted(summary.rounds, "whole round");
    Some(match summary.stopped {
        Stop::Rounds => return None,
        Stop::Converged => {
            let patience = counted(PATIENCE, "round");
            format!("converged: the loss fell by at most {tolerance} of its whole fall in each of the last {patience}")
        }
        Stop::Reached => {
            let target =
                summary.target.as_ref().map_or(String::new(), |time| format!(" {} on {}", time.target, time.on));
            format!("reached{target}")
        }
        Stop::MaxRounds => match &summary.target {
            Some(TargetTime { target, round: None, .. }) => {
                format!("stopped at --max-rounds {last} without reaching {target}")
            }
            _ => format!("stopped at --max-rounds {last} without converging"),
        },
        Stop::Signal(signal) => format!("stopped by signal {signal} after {rounds}"),
        Stop::Failed(_) => format!("the run ended after {rounds}"),
    })
}

/// The rounds that a session of a run had.
#[derive(Debug, Default)]
pub(crate) struct SeenRounds {
    /// The least test loss.
    pub(crate) least_loss: Option<f64>,
    /// `true` if a client was asked to train.
    pub(crate) have_clients: bool,
}

impl SeenRounds {
    /// Adds a round that ended.
    pub(crate) fn add(&mut self, round: &Round) {
        if let Some(loss) = round.loss.map(Finite::get) {
            self.least_loss = Some(self.least_loss.filter(|least| *least <= loss).unwrap_or(loss));
        }
        self.have_clients |= round.clients > 0 || round.failed > 0 || !round.late.is_empty();
    }
}

/// Returns the line about a finished run that was resumed and had nothing left to do; `None` for a run that did not
/// finish.
pub(crate) fn finished_line(summary: &Summary) -> Option<String> {
    let rounds = summary.rounds;
    let remedy = match &summary.stopped {
        Stop::Rounds => format!("give --rounds {} or more to continue it", rounds + 1),
        Stop::MaxRounds => format!("give --max-rounds {} or more to continue it", rounds + 1),
        Stop::Reached => "give another --until and --force to continue it".to_owned(),
        Stop::Converged => "give a lower --tolerance and --force to continue it".to_owned(),
        Stop::Signal(_) | Stop::Failed(_) => return None,
    };
    Some(format!("the run was finished after {}, and nothing was done; {remedy}", counted(rounds, "round")))
}

/// Returns the warning about a run in which no round was better than the initial weights, or than a guess.
pub(crate) fn no_progress_warning(summary: &Summary, rounds: &SeenRounds, remedy: &str) -> Option<String> {
    let initial = summary.initial_loss.filter(|_| summary.loss_fell == Some(false))?.get();
    let least = rounds.least_loss;
    if least.is_some() && !rounds.have_clients {
        return Some(
            "warning: no client was sampled, so that nobody trained and the weights stayed as they were; give a greater \
             rate of --sample, or another --availability"
                .to_owned(),
        );
    }
    let from = rounded(initial, 4);
    Some(match least.filter(|least| *least < initial).map(|least| rounded(least, 4)) {
        None => format!(
            "warning: no round was better than the initial weights (test loss {from}): the run has learned nothing; \
             {remedy}"
        ),
        Some(least) => {
            let guess = if summary.regression.is_some() { "of the mean target" } else { "among the classes" };
            let fall = if least == from {
                format!("hardly fell from {from}, and")
            } else {
                format!("fell from {from} to {least}, but")
            };
            format!(
                "warning: the test loss {fall} no round was better than a guess {guess}; more rounds or another --lr \
                 may help"
            )
        }
    })
}

/// Returns the result of a run and its directory. A run without a round has no result, and its directory has the
/// record alone.
pub(crate) fn result_lines(summary: &Summary, directory: &str) -> [String; 2] {
    let Summary { clients, rounds, wall_seconds, local_tensors, .. } = summary;
    let clients = counted(*clients, "client");
    let seconds = rounded(wall_seconds.get(), 2);
    if *rounds == 0 {
        let none = format!("no round was completed  ({clients}, {seconds} s)");
        return [none, format!("the record of the run is in {directory}")];
    }
    let score = match summary.loss {
        Some(loss) => {
            format!("{}  loss {}", quality(summary.accuracy, summary.regression, 0), significant(loss.get()))
        }
        None => {
            format!("no global score: each client has its own values of {}", counted(local_tensors.len(), "tensor"))
        }
    };
    let rounds = counted(*rounds, "round");
    let end = summary.virtual_seconds.map(|end| format!(", virtual {} s", rounded(end.get(), 2)));
    let time = end.unwrap_or_default();
    [format!("{score}  ({clients}, {rounds}, {seconds} s{time})"), format!("results in {directory}")]
}

/// Returns the names of some clients, whose numbers ascend: "clients 0 to 2, 5".
pub(crate) fn numbered(clients: &[u32]) -> String {
    let runs = clients.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => one.to_string(),
        [first, .., last] => format!("{first} to {last}"),
        [] => String::new(),
    });
    let runs: Vec<String> = runs.collect();
    format!("{} {}", if clients.len() == 1 { "client" } else { "clients" }, runs.join(", "))
}

#[cfg(test)]
mod tests {
    use fedpipe_record::client_scores::ClientScore;

    use super::*;

    fn summary(clients: u32, rounds: u64, stopped: Stop) -> Summary {
        let score = if rounds > 0 { 0.5 } else { f64::NAN };
        let json = serde_json::json!({
            "model": "mlp", "dataset": "sample", "clients": clients, "rounds": rounds, "strategy": "fedavg",
            "partition": "iid", "seed": 0, "accuracy": score, "loss": score, "weights_sha256": "", "wall_seconds": 1.5,
            "failures": 0, "clients_dropped": false, "stopped": stopped,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_dataset_without_a_test_set_says_so() {
        let of = |test_examples: u64| {
            let json = serde_json::json!({
                "name": "sample", "sha256": "", "shape": [1], "classes": 2, "train_examples": 40,
                "test_examples": test_examples, "sample": true,
            });
            dataset_line(&serde_json::from_value(json).unwrap(), &[15, 15])
        };
        assert_eq!(of(0), "sample: 40 examples, training and test ones merged; 2 clients with 15 to train on");
        assert_eq!(of(4), "sample: 40 training and 4 test examples; 2 clients with 15 each");
    }

    #[test]
    fn the_end_of_a_run_is_two_or_three_sentences() {
        let failed = || Stop::Failed("a reason".into());
        let one = "accuracy 50.00 %  loss 0.5000  (1 client, 1 round, 1.50 s)\nresults in out";
        let two = "accuracy 50.00 %  loss 0.5000  (2 clients, 2 rounds, 1.50 s)\nresults in out";
        let none = "no round was completed  (2 clients, 1.50 s)\nthe record of the run is in out";
        let cases = [
            (1, 1, Stop::Rounds, None, one),
            (2, 2, Stop::MaxRounds, Some("stopped at --max-rounds 2 without converging"), two),
            (1, 1, Stop::Signal(15), Some("stopped by signal 15 after 1 whole round"), one),
            (2, 2, failed(), Some("the run ended after 2 whole rounds"), two),
            (2, 0, Stop::Signal(2), Some("stopped by signal 2 after 0 whole rounds"), none),
            (2, 0, failed(), Some("the run ended after 0 whole rounds"), none),
        ];
        for (clients, rounds, stopped, why, expected) in cases {
            let summary = summary(clients, rounds, stopped);
            assert_eq!(end_reason(&summary, 0.1).as_deref(), why);
            assert_eq!(result_lines(&summary, "out").join("\n"), expected);
        }
        let converged = "converged: the loss fell by at most 0.1 of its whole fall in each of the last 3 rounds";
        assert_eq!(end_reason(&summary(2, 3, Stop::Converged), 0.1).unwrap(), converged);
    }

    #[test]
    fn a_loss_that_fell_is_not_called_a_run_that_learned_nothing() {
        let finite = |number: f64| Some(Finite::try_from(number).unwrap());
        let of = |loss_fell, least| {
            let summary = Summary { initial_loss: finite(124.0867), loss_fell, ..summary(1, 1, Stop::Rounds) };
            no_progress_warning(&summary, &SeenRounds { least_loss: least, have_clients: true }, "lower --lr")
        };
        let nothing = "warning: no round was better than the initial weights (test loss 124.0867): the run has learned \
                       nothing; lower --lr";
        assert_eq!(of(Some(false), Some(124.0867)).as_deref(), Some(nothing));
        let fell = "warning: the test loss fell from 124.0867 to 15.7000, but no round was better than a guess among the \
                    classes; more rounds or another --lr may help";
        assert_eq!(of(Some(false), Some(15.7)).as_deref(), Some(fell));
        let hardly = "warning: the test loss hardly fell from 124.0867, and no round was better than a guess among the \
                      classes; more rounds or another --lr may help";
        assert_eq!(of(Some(false), Some(124.086_69)).as_deref(), Some(hardly));
        assert_eq!([of(Some(true), Some(15.7)), of(None, None)], [None, None]);
    }

    #[test]
    fn a_run_without_a_client_has_no_advice_on_its_rate() {
        let loss = Finite::try_from(0.5).unwrap();
        let of = |clients| {
            let mut seen = SeenRounds::default();
            [0, clients, 0]
                .into_iter()
                .for_each(|clients| seen.add(&Round { loss: Some(loss), clients, ..Round::blank(1) }));
            let summary = Summary { initial_loss: Some(loss), loss_fell: Some(false), ..summary(4, 3, Stop::Rounds) };
            no_progress_warning(&summary, &seen, "lower --lr").unwrap()
        };
        assert!(of(0).contains("no client was sampled") && !of(0).contains("--lr"), "{}", of(0));
        assert!(of(1).ends_with("lower --lr"));
    }

    #[test]
    fn a_finished_run_says_how_it_goes_on() {
        let line = |stopped| finished_line(&summary(2, 3, stopped));
        let of_rounds =
            "the run was finished after 3 rounds, and nothing was done; give --rounds 4 or more to continue it";
        assert_eq!(line(Stop::Rounds).as_deref(), Some(of_rounds));
        for (stopped, remedy) in
            [(Stop::MaxRounds, "--max-rounds 4"), (Stop::Reached, "--until"), (Stop::Converged, "--tolerance")]
        {
            assert!(line(stopped.clone()).unwrap().contains(remedy), "{stopped:?}");
        }
        assert_eq!([line(Stop::Signal(2)), line(Stop::Failed("why".into()))], [None, None]);
    }

    #[test]
    fn failed_clients_are_counted() {
        for (failed, expected) in [(0, "0.10 s"), (1, "0.10 s  (1 client failed)"), (2, "0.10 s  (2 clients failed)")] {
            let json = serde_json::json!({
                "round": 1, "accuracy": 0.5, "loss": 0.5, "training_loss": 0.5, "clients": 4, "failed": failed,
                "weights_sha256": "", "bytes_sent": 0, "bytes_received": 0, "weights_change": null, "seconds": 0.1,
            });
            let round = serde_json::from_value(json).unwrap();
            assert_eq!(round_line(&round), format!("loss 0.5000  accuracy 50.00 %  {expected}"));
        }
    }

    #[test]
    fn virtual_time_stands_beside_the_real_one() {
        let virtual_seconds = Some(Finite::try_from(12.345).unwrap());
        let round = Round { virtual_seconds, late: vec![1, 4], failed: 1, ..Round::blank(1) };
        assert!(round_line(&round).ends_with("  0.00 s  virtual 12.35 s  (1 client failed)  (2 clients late)"));
        let summary = Summary { virtual_seconds, ..summary(2, 2, Stop::Rounds) };
        assert!(result_lines(&summary, "out")[0].ends_with("(2 clients, 2 rounds, 1.50 s, virtual 12.35 s)"));
    }

    #[test]
    fn a_real_target_has_errors_in_place_of_an_accuracy() {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let regression = Some(Regression { rmse: finite(2.5), mae: finite(1.25e-5), r2: Some(finite(-0.5)) });
        let round = Round { regression, loss: Some(finite(6.25e7)), clients: 1, ..Round::blank(1) };
        assert_eq!(round_line(&round), "loss 6.2500e7  RMSE 2.5000  MAE 1.2500e-5  R² -0.5000  0.00 s");
        let summary = Summary { accuracy: None, regression, ..summary(1, 1, Stop::Rounds) };
        let expected = "RMSE 2.5000  MAE 1.2500e-5  R² -0.5000  loss 0.5000  (1 client, 1 round, 1.50 s)";
        assert_eq!(result_lines(&summary, "out")[0], expected);
        assert_eq!(
            quality(None, regression.map(|errors| Regression { r2: None, ..errors }), 0),
            "RMSE 2.5000  MAE 1.2500e-5"
        );
    }

    #[test]
    fn a_run_whose_clients_keep_tensors_has_their_scores_and_no_global_one() {
        let score = ClientScore { client: 0, examples: 4, correct: Some(3), errors: None, loss_sum: 1.0 };
        let training_loss = Some(Finite::try_from(0.25).unwrap());
        let unscored = Round { loss: None, training_loss, clients: 1, ..Round::blank(1) };
        assert_eq!(round_line(&unscored), "training loss 0.2500  0.00 s");
        let round = Round { personal: ClientScores::new(&[score]).unwrap(), ..unscored };
        assert_eq!(round_line(&round), "training loss 0.2500  personal 75.0 %, worst 75.0 %  0.00 s");
        let local_tensors = vec!["head.weight".to_owned(), "head.bias".to_owned()];
        let summary = Summary { accuracy: None, loss: None, local_tensors, ..summary(2, 1, Stop::Rounds) };
        let expected = "no global score: each client has its own values of 2 tensors  (2 clients, 1 round, 1.50 s)";
        assert_eq!(result_lines(&summary, "out"), [expected, "results in out"]);
    }

    #[test]
    fn clients_are_numbered_in_runs() {
        let cases: [(&[u32], &str); 4] = [
            (&[3], "client 3"),
            (&[0, 1], "clients 0 to 1"),
            (&[0, 2], "clients 0, 2"),
            (&[0, 1, 2, 5], "clients 0 to 2, 5"),
        ];
        for (clients, expected) in cases {
            assert_eq!(numbered(clients), expected);
        }
    }
}
