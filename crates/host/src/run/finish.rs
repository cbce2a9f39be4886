//! The end of a run: the score of the initial weights, the last checkpoint, the summary and the results.

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
        if ended.is_ok() {
            self.score_initial_weights();
        }
        self.context.control.begin_writing();
        let (stop, failure) = match ended {
            Ok(stop) => (stop, None),
            Err(Error::Stopped(signal)) => (Stop::Signal(signal), None),
            Err(error) => (Stop::Failed(error.to_string()), Some(error)),
        };
        let written = self.write_results(&mut saver, stop, wall);
        // The failure of the rounds is the cause of a later one, such as a full disk.
        failure.map_or(written, Err)
    }

    /// Scores the initial weights, so that a run in which no round was better can be told. The score is taken after the
    /// rounds, which would start later otherwise. Without the score, a run that is done loses nothing.
    fn score_initial_weights(&mut self) {
        let Some(weights) = self.state.initial_weights().cloned() else { return };
        if let Ok(score) = self.evaluate(self.state.last_round(), &weights) {
            self.state.set_initial_loss(score.loss);
        }
    }

    fn write_results(&mut self, saver: &mut Saver, stop: Stop, wall: Duration) -> Result<Summary> {
        let saved = self.save(saver).and_then(|()| saver.finish().map_err(|error| Error::of_record(&error)));
        let summary = self.state.summary(self.context.experiment, &self.clients.model()?.name, stop, wall);
        // The line comes before the files: where a result is, the ledger has the end.
        self.journal.record(&Event::Finished(&summary))?;
        self.state.write_results(self.context.directory, self.clients.layout()?, &summary)?;
        saved?;
        self.journal.show(&Event::Finished(&summary))?;
        Ok(summary)
    }
}
