//! The scores of the final weights by class, from the predictions for the test set.

use std::sync::Arc;

use fedpipe_protocol::{CONFUSION, Parts, Predictions, Request, SCORES, Target};
use fedpipe_record::{by_class::ByClass, cause::Cause};

use crate::{
    error::{Error, Result},
    fleet::job::Job,
    run::{active::ActiveRun, event::Event},
};

/// The predictions of all processes.
pub(crate) struct AllPredictions {
    /// (classes, classes)
    pub(crate) confusion: Vec<u64>,
    /// The scores of the examples with the labels 0 and 1, in block order.
    pub(crate) scores: Option<[Vec<f32>; 2]>,
}

impl ActiveRun<'_> {
    /// Scores the weights after the last round by class, if the experiment asks for it.
    ///
    /// # Errors
    /// Returns the errors of an evaluation.
    pub(super) fn score_by_class(&mut self) -> Result<()> {
        let round = self.state.last_round();
        if !self.context.experiment.evaluation.by_class || round == 0 {
            return Ok(());
        }
        let is_own = self.context.experiment.data.partition.is_own();
        let Target::Classes(classes) = self.clients.target else { return Ok(()) };
        if is_own && classes == 2 {
            self.journal.emit(&Event::Warning(
                "the AUC is left out: it needs the score of each example, which --partition own excludes",
            ))?;
        }
        let asked = if is_own { Predictions::Confusion } else { Predictions::Scores };
        let mut jobs = self.evaluate_jobs(&Arc::clone(self.state.output(self.context.experiment)));
        for Job { request, .. } in &mut jobs {
            if let Request::Evaluate(evaluate) = request {
                evaluate.predictions = Some(asked);
            }
        }
        let settled = self.score_test_set(round, jobs)?;
        let failed = |cause: Cause| Error::Round(format!("the classes are not scored: {cause}"));
        let parts =
            settled.into_iter().map(|settled| settled.map(|(_, parts)| parts).map_err(|exit| failed(exit.cause)));
        match merged(parts.collect::<Result<Vec<_>>>()?, classes) {
            Some(AllPredictions { confusion, scores }) => {
                let scores = ByClass::new(&confusion, classes, scores);
                self.journal.emit(&Event::ByClass(&scores))?;
                self.state.set_by_class(scores);
                Ok(())
            }
            None => {
                let model = &self.clients.model()?.name;
                let warning = format!("the model {model} does not predict, so that --by-class has no scores");
                self.journal.emit(&Event::Warning(&warning))
            }
        }
    }
}

/// Merges the parts of the replies; `None` if the model does not predict.
pub(crate) fn merged(parts: Vec<Parts>, classes: usize) -> Option<AllPredictions> {
    let mut all = AllPredictions { confusion: vec![0; classes * classes], scores: None };
    for mut parts in parts {
        let confusion = parts.take_u32(CONFUSION)?;
        all.confusion.iter_mut().zip(confusion).for_each(|(sum, count)| *sum += u64::from(count));
        if let [Some(negative), Some(positive)] = SCORES.map(|name| parts.take_f32(name)) {
            let scores = all.scores.get_or_insert_with(Default::default);
            scores[0].extend(negative);
            scores[1].extend(positive);
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use std::{process::ExitStatus, time::Instant};

    use fedpipe_protocol::{BlockSums, Evaluate, Part, Reply};

    use super::*;
    use crate::{
        process::scripted::{ScriptedClient, exit, ready},
        run::scripted_run::{Stage, experiment},
    };

    /// Serves with the predictions that a request asks for, of blocks with an example each. A model that does not
    /// predict sends none.
    fn serve_predictions(client: &mut ScriptedClient, predicts: bool) -> ExitStatus {
        client.greet();
        client.say(&Reply::Ready(ready()), None);
        while let Some((request, parts)) = client.next() {
            let Request::Evaluate(Evaluate { blocks, predictions: Some(asked), .. }) = &request else {
                client.answer(&request, parts);
                continue;
            };
            let sums = |&block| BlockSums { block, loss_sum: 0.5, correct: 1, examples: 1, regression: None };
            let reply = Reply::Evaluated { blocks: blocks.iter().map(sums).collect() };
            let all = [Part::U32(CONFUSION, &[0, 0, 0, 1]), Part::F32(SCORES[0], &[]), Part::F32(SCORES[1], &[0.5])];
            let count = if *asked == Predictions::Scores { 3 } else { 1 };
            client.send(&reply, if predicts { &all[..count] } else { &[] });
        }
        exit(0)
    }

    /// Returns the scores by class after a round, with the warnings.
    fn by_class(predicts: bool, is_asked: bool) -> (Option<ByClass>, Vec<String>) {
        by_class_under("iid", predicts, is_asked)
    }

    fn by_class_under(partition: &str, predicts: bool, is_asked: bool) -> (Option<ByClass>, Vec<String>) {
        let mut experiment = experiment();
        experiment.data.partition = partition.parse().unwrap();
        experiment.evaluation.by_class = is_asked;
        let stage = Stage::new(experiment);
        let mut warnings = Vec::new();
        let mut observer = |event: &Event<'_>| {
            if let Event::Warning(warning) = event {
                warnings.push((*warning).to_owned());
            }
            Ok(())
        };
        let script = move |client: &mut ScriptedClient| serve_predictions(client, predicts);
        stage.begin_observed(&mut observer, script, |mut run| {
            run.clients.target = Target::Classes(2);
            run.score_by_class().unwrap();
            let result = run.round(1).unwrap();
            run.commit(1, result, Instant::now()).unwrap();
            run.score_by_class().unwrap();
        });
        (stage.history().by_class, warnings)
    }

    #[test]
    fn the_scores_by_class_are_asked_for_once_after_the_last_round() {
        let (scores, warnings) = by_class(true, true);
        let scores = scores.unwrap();
        assert_eq!(scores.confusion, [[0, 0], [0, 1]]);
        assert_eq!((scores.recall[1].get(), scores.macro_f1.get(), scores.auc), (1.0, 1.0, None));
        assert_eq!(warnings, [""; 0]);
        assert_eq!(by_class(true, false), (None, vec![]));
    }

    #[test]
    fn the_score_of_each_example_is_not_asked_for_where_clients_have_their_own() {
        let (scores, warnings) = by_class_under("own", true, true);
        assert_eq!(scores.unwrap().confusion, [[0, 0], [0, 1]]);
        let why = "the AUC is left out: it needs the score of each example, which --partition own excludes";
        assert_eq!(warnings, [why]);
    }

    #[test]
    fn a_model_without_predictions_is_named_once() {
        let warning = "the model scripted does not predict, so that --by-class has no scores".to_owned();
        assert_eq!(by_class(false, true), (None, vec![warning]));
    }

    #[test]
    fn the_parts_of_all_processes_are_added() {
        let settled = |confusion: &[u32], scores: [&[f32]; 2]| {
            let mut bytes = Vec::new();
            let parts =
                [Part::U32(CONFUSION, confusion), Part::F32(SCORES[0], scores[0]), Part::F32(SCORES[1], scores[1])];
            fedpipe_protocol::write(&mut bytes, &Reply::Evaluated { blocks: vec![] }, &parts).unwrap();
            fedpipe_protocol::read::<Reply>(&mut bytes.as_slice(), fedpipe_protocol::Limits::reply(100)).unwrap().1
        };
        let all = vec![settled(&[1, 0, 0, 1], [&[0.5], &[0.25]]), settled(&[0, 1, 0, 1], [&[1.0], &[2.0]])];
        let AllPredictions { confusion, scores } = merged(all, 2).unwrap();
        assert_eq!((confusion, scores), (vec![1, 1, 0, 2], Some([vec![0.5, 1.0], vec![0.25, 2.0]])));
    }
}
