//! The end of a run: the last checkpoint, the summary and the results.

use std::time::Duration;

use fedpipe_record::summary::{Stop, Summary};

use crate::{
    error::{Error, Result},
    run::{active::ActiveRun, event::Event, saver::Saver},
};

impl ActiveRun<'_> {
    /// Leaves the results of the run, whose rounds have `ended` after the time `wall`.
    ///
    /// # Errors
    /// Returns the failure that ended the rounds, else the failure to write the results.
    pub(super) fn finish(mut self, mut saver: Saver, ended: Result<Stop>, wall: Duration) -> Result<Summary> {
        let (stop, failure) = match ended {
            Ok(stop) => (stop, None),
            Err(Error::Stopped(signal)) => (Stop::Signal(signal), None),
            Err(error) => (Stop::Failed(error.to_string()), Some(error)),
        };
        let written = self.write_results(&mut saver, stop, wall);
        // The failure of the rounds is the cause of a later one, such as a full disk.
        failure.map_or(written, Err)
    }

    fn write_results(&mut self, saver: &mut Saver, stop: Stop, wall: Duration) -> Result<Summary> {
        let saved = self.save(saver).and_then(|()| saver.finish().map_err(|error| Error::of_record(&error)));
        let saved = saved.and_then(|()| self.state.clients.prune());
        let model = (&*self.clients.model()?.name, self.clients.local_tensors()?);
        let summary = self.state.summary(self.context.experiment, model, stop, wall);
        // The line comes before the files: where a result is, the ledger has the end.
        self.journal.record(&Event::Finished(&summary))?;
        let written = self.state.write_results(
            (self.context.experiment, self.context.directory),
            self.clients.layout()?,
            &summary,
        );
        // The checkpoint was written first, so that its failure is the cause of a later one.
        saved.and(written)?;
        self.journal.show(&Event::Finished(&summary))?;
        Ok(summary)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::ExitStatus};

    use fedpipe_protocol::{BlockSums, Reply, Request};
    use fedpipe_record::{experiment::Experiment, names};

    use super::*;
    use crate::{
        process::scripted::{ScriptedClient, exit, ready},
        run::{
            rounds,
            scripted_run::{Stage, experiment},
        },
    };

    /// Does a round and finishes the run as if the rounds had `ended` so.
    fn finish(mut run: ActiveRun<'_>, ended: Result<Stop>) -> Result<Summary> {
        let saver = run.start_saver().unwrap();
        run.score_initial_weights().unwrap();
        let result = run.round(1).unwrap();
        run.commit(1, result, std::time::Instant::now()).unwrap();
        run.finish(saver, ended, Duration::ZERO)
    }

    /// Returns the summary on the disk.
    fn summary(stage: &Stage) -> Summary {
        serde_json::from_slice(&fs::read(stage.path().join(names::SUMMARY)).unwrap()).unwrap()
    }

    #[test]
    fn the_results_are_whole_before_the_end_is_shown() {
        let stage = Stage::new(experiment());
        let mut ends = 0;
        let mut observer = |event: &Event<'_>| {
            if let Event::Finished(shown) = event {
                ends += 1;
                assert_eq!((*shown, stage.history().finished.as_ref()), (&summary(&stage), Some(&summary(&stage))));
                assert_eq!(stage.checkpoints(), [1]);
                assert!(stage.path().join(names::FINAL_WEIGHTS).exists());
            }
            Ok(())
        };
        let finished =
            stage.begin_observed(&mut observer, ScriptedClient::serve, |run| finish(run, Ok(Stop::Rounds))).unwrap();
        assert_eq!((ends, finished.stopped, finished.rounds), (1, Stop::Rounds, 1));
        assert!(finished.initial_loss.is_some() && finished.initial_accuracy.is_some());
    }

    #[test]
    fn a_stopped_run_ends_well() {
        let stage = Stage::new(experiment());
        let finished = stage.begin(ScriptedClient::serve, |run| finish(run, Err(Error::Stopped(15)))).unwrap();
        assert_eq!(finished.stopped, Stop::Signal(15));
        assert_eq!((summary(&stage).rounds, stage.checkpoints()), (1, vec![1]));
    }

    #[test]
    fn a_failed_run_leaves_the_results_of_its_last_whole_round() {
        let stage = Stage::new(experiment());
        let failed = stage.begin(ScriptedClient::serve, |run| finish(run, Err(Error::Round("no quorum".into()))));
        assert!(matches!(failed, Err(Error::Round(why)) if why == "no quorum"));
        assert_eq!((summary(&stage).stopped, summary(&stage).rounds), (Stop::Failed("no quorum".into()), 1));
        assert_eq!(stage.checkpoints(), [1]);
    }

    #[test]
    fn a_failure_of_the_rounds_is_reported_before_one_of_writing() {
        for (ended, expected) in
            [(Ok(Stop::Rounds), "cannot write "), (Err(Error::Round("no quorum".into())), "no quorum")]
        {
            let stage = Stage::new(experiment());
            let failed = stage.begin(ScriptedClient::serve, |run| {
                // A folder in its place keeps the summary from being written.
                fs::create_dir_all(stage.path().join(names::SUMMARY).join("full")).unwrap();
                finish(run, ended)
            });
            let why = failed.unwrap_err().to_string();
            assert!(why.starts_with(expected), "{why}");
        }
    }

    #[test]
    fn a_run_whose_initial_weights_cannot_be_scored_fails_before_its_first_round() {
        let stage = Stage::new(experiment());
        let unscored =
            |client: &mut ScriptedClient| serve_scored(client, |weights| (weights > 0.0).then_some((1.0, 0)));
        let why = stage.begin(unscored, |mut run| {
            run.clients.test_examples = 10;
            let mut saver = run.start_saver().unwrap();
            let ended = rounds(&mut run, &mut saver);
            run.finish(saver, ended, Duration::ZERO).unwrap_err().to_string()
        });
        assert!(why.starts_with("round 0 could not be evaluated: "), "{why}");
        assert_eq!((summary(&stage).rounds, stage.history().initial), (0, None));
    }

    /// Serves; `score` returns the loss sum and the correct predictions for the first weight, or none to exit.
    fn serve_scored(client: &mut ScriptedClient, score: impl Fn(f32) -> Option<(f64, u64)>) -> ExitStatus {
        let examples = 10;
        client.greet();
        client.say(&Reply::Ready(ready()), None);
        let mut weight = 0.0;
        while let Some((request, mut parts)) = client.next() {
            let Request::Evaluate(evaluate) = &request else {
                client.answer(&request, parts);
                continue;
            };
            weight = parts.take_f32(fedpipe_protocol::WEIGHTS).map_or(weight, |weights| weights[0]);
            let Some((loss_sum, correct)) = score(weight) else { return exit(4) };
            let sums = BlockSums { block: evaluate.blocks[0], loss_sum, correct, examples, regression: None };
            client.say(&Reply::Evaluated { blocks: vec![sums] }, None);
        }
        exit(0)
    }

    /// A guess among 10 classes has a loss of ln 10 and an accuracy of 0.1.
    #[test]
    fn a_model_that_only_guesses_has_no_loss_that_fell() {
        for (loss, correct, fell) in [(2.307, 1, false), (2.307, 6, true), (1.0, 1, true), (2.4, 6, false)] {
            let stage = Stage::new(Experiment { rounds: 2, ..experiment() });
            let script = move |client: &mut ScriptedClient| {
                serve_scored(client, |weight| Some(if weight == 0.0 { (23.85, 1) } else { (10.0 * loss, correct) }))
            };
            let finished = stage.begin(script, |mut run| {
                run.clients.test_examples = 10;
                let mut saver = run.start_saver().unwrap();
                let ended = rounds(&mut run, &mut saver);
                run.finish(saver, ended, Duration::ZERO).unwrap()
            });
            assert_eq!(finished.initial_loss.map(|loss| loss.get()), Some(23.85 / 10.0));
            assert_eq!(finished.loss_fell, Some(fell), "a loss of {loss}, {correct} of 10 correct");
            assert_eq!(summary(&stage).loss_fell, Some(fell));
        }
    }
}
