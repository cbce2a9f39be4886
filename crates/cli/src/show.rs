//! What a run looks like on the screen: a progress bar a round on a terminal, plain lines elsewhere.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use fedpipe_data::{DataStep, DatasetInfo, counted};
use fedpipe_host::{Event, Observer};
use fedpipe_record::{
    crash::{ClientCrash, Consequence},
    experiment::Experiment,
    round::Round,
    summary::{Stop, Summary},
};
use fedpipe_strategy::convergence::PATIENCE;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    losses::{self, Losses},
    output::{print_error, print_progress},
};

/// Draws a run. Results go to standard output, everything passing to standard error.
#[derive(Debug)]
pub(crate) struct Screen {
    quiet: bool,
    data: DataProgress,
    bar: ProgressBar,
    last_round: Option<u64>,
    directory: PathBuf,
    tolerance: f64,
    remedy: String,
    losses: Losses,
    /// The isolation of clients elsewhere, and of which: not yet shown, since they say it one after the other.
    confined: BTreeMap<String, Vec<u32>>,
}

impl Screen {
    pub(crate) fn new(quiet: bool) -> Self {
        let (data, bar) = (DataProgress::new(quiet), ProgressBar::hidden());
        let (losses, confined, remedy) = (Losses::default(), BTreeMap::new(), String::new());
        let directory = PathBuf::new();
        Self { quiet, data, bar, last_round: None, directory, tolerance: 0.0, remedy, losses, confined }
    }

    /// Returns the run directory; `None` before the run has one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        Some(self.directory.as_path()).filter(|path| !path.as_os_str().is_empty())
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            self.print(text);
        }
    }

    /// Prints a result. A closed standard output ends no run.
    fn print(&self, text: &str) {
        self.bar.suspend(|| print_progress(text));
    }

    fn warn(&self, text: &str) {
        self.bar.suspend(|| print_error(text));
    }

    fn round_name(&self, round: u64) -> String {
        match self.last_round {
            Some(last) => format!("round {round:>width$}/{last}", width = last.to_string().len()),
            None => format!("round {round:>3}"),
        }
    }

    fn begin(&mut self, experiment: &Experiment, directory: &Path) {
        self.last_round = (!experiment.until_converged).then_some(experiment.rounds);
        self.tolerance = experiment.tolerance;
        self.remedy = experiment.remedy();
        self.directory = directory.to_path_buf();
    }

    fn dealt(&self, dataset: &DatasetInfo, sizes: &[u64]) {
        self.data.clear();
        let (least, most) = (sizes.iter().min().unwrap_or(&0), sizes.iter().max().unwrap_or(&0));
        let share = if least == most { format!("{least}") } else { format!("{least} to {most}") };
        let DatasetInfo { name, train_examples, test_examples, .. } = dataset;
        self.line(&format!(
            "{name}: {train_examples} training and {}; {} with {share} each",
            counted(*test_examples, "test example"),
            counted(sizes.len(), "client")
        ));
        if dataset.sample {
            self.line("this is a small sample: its accuracies say nothing about the whole dataset");
        }
    }

    fn round_ended(&mut self, round: &Round) {
        self.bar.finish_and_clear();
        self.tell_equal_losses();
        self.line(&format!("{}  {}", self.round_name(round.round), round_result(round)));
    }

    fn lost(&mut self, lost: &ClientCrash) {
        if let Some(text) = self.losses.take(lost) {
            self.warn(&text);
        }
    }

    fn tell_equal_losses(&mut self) {
        for text in self.losses.rest() {
            self.warn(&text);
        }
    }

    /// Shows what is in force on clients elsewhere, those of which it is the same together.
    fn confined(&mut self) {
        for (in_force, mut clients) in std::mem::take(&mut self.confined) {
            clients.sort_unstable();
            self.line(&format!("isolation of {}: {in_force}", numbered(&clients)));
        }
    }

    fn finished(&mut self, summary: &Summary) {
        self.bar.finish_and_clear();
        self.tell_equal_losses();
        match (&summary.stopped, end(summary, self.tolerance)) {
            (_, None) => {}
            (Stop::Signal(_) | Stop::Failed(_), Some(end)) => self.warn(&end),
            (_, Some(end)) => self.line(&end),
        }
        if let Some(warning) = learned_nothing(summary, &self.remedy) {
            self.warn(&warning);
        }
        result(summary, &shown(&self.directory)).iter().for_each(|line| self.print(line));
    }
}

/// A round in a line, after its name.
fn round_result(round: &Round) -> String {
    let Round { loss, accuracy, seconds, failed, .. } = round;
    let failed = if *failed > 0 { format!("  ({} failed)", counted(*failed, "client")) } else { String::new() };
    let (loss, accuracy, seconds) = (loss.get(), 100.0 * accuracy.get(), seconds.get());
    format!("loss {loss:.4}  accuracy {accuracy:5.2} %  {seconds:.2} s{failed}")
}

/// The reason why a run ended, unless its rounds were done.
fn end(summary: &Summary, tolerance: f64) -> Option<String> {
    let (last, rounds) = (summary.rounds, counted(summary.rounds, "whole round"));
    Some(match summary.stopped {
        Stop::Rounds => return None,
        Stop::Converged => {
            let patience = counted(PATIENCE, "round");
            format!(
                "converged: weights and training loss changed by less than {tolerance} in each of the last {patience}"
            )
        }
        Stop::MaxRounds => format!("stopped at --max-rounds {last} without converging"),
        Stop::Signal(signal) => format!("stopped by signal {signal} after {rounds}"),
        Stop::Failed(_) => format!("the run ended after {rounds}"),
    })
}

/// Returns the warning of a run whose test loss never fell below that of the initial weights.
fn learned_nothing(summary: &Summary, remedy: &str) -> Option<String> {
    let initial = summary.initial_loss.filter(|_| summary.loss_fell == Some(false))?.get();
    Some(format!(
        "warning: the test loss never fell below {initial:.4}, that of the initial weights: the run has learned nothing; \
         {remedy}"
    ))
}

/// The result of a run, and the folder that has it. Without a round there is no result, and the folder has the record alone.
fn result(summary: &Summary, directory: &str) -> [String; 2] {
    let Summary { clients, rounds, wall_seconds, .. } = summary;
    let (clients, seconds) = (counted(*clients, "client"), wall_seconds.get());
    match (summary.accuracy, summary.loss) {
        (Some(accuracy), Some(loss)) => {
            let (accuracy, loss, rounds) = (100.0 * accuracy.get(), loss.get(), counted(*rounds, "round"));
            let score = format!("accuracy {accuracy:.2} %  loss {loss:.4}  ({clients}, {rounds}, {seconds:.2} s)");
            [score, format!("results in {directory}")]
        }
        _ => {
            let none = format!("no round was completed  ({clients}, {seconds:.2} s)");
            [none, format!("the record of the run is in {directory}")]
        }
    }
}

/// A run that ends with an error has no last event.
impl Drop for Screen {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.tell_equal_losses();
    }
}

impl Observer for Screen {
    fn observe(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        if !matches!(event, Event::Isolated { .. }) {
            self.confined();
        }
        match event {
            Event::Started { experiment, directory } => self.begin(experiment, directory),
            Event::Resumed { experiment, directory, round, .. } => {
                self.begin(experiment, directory);
                self.line(&format!("going on after round {round} of {}", shown(directory)));
            }
            Event::Warning(text) => self.warn(&format!("warning: {text}")),
            Event::Reloaded { round, dylib_sha256 } => {
                self.line(&format!("from round {round} on, the model is {}", &dylib_sha256[..16]));
            }
            Event::ReloadRefused { reason, .. } => {
                // That of a round that begins again.
                self.bar.finish_and_clear();
                self.warn(&format!("warning: the model stays as it is: {reason}"));
            }
            Event::Data(step) => self.data.show(step),
            Event::Dealt { dataset, sizes, .. } => self.dealt(dataset, sizes),
            Event::Ready { model, .. } => {
                let weights: usize = model.layout.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
                self.line(&format!("{} {}: {}", model.name, model.version, counted(weights, "weight")));
            }
            Event::Isolated { process: None, in_force } => self.line(&format!("isolation: {in_force}")),
            Event::Isolated { process: Some(process), in_force } => {
                self.confined.entry(in_force.to_string()).or_default().push(*process);
            }
            Event::StrategyIsolated(in_force) => self.line(&format!("isolation of the strategy: {in_force}")),
            Event::RoundStarted { round, sampled } => {
                self.bar = bar(self.quiet, "{msg} [{bar:30}] {pos}/{len} trained");
                self.bar.set_length(u64::from(*sampled));
                self.bar.set_message(self.round_name(*round));
                self.bar.tick();
            }
            Event::Trained { .. } => self.bar.inc(1),
            Event::Crashed(lost) => self.lost(lost),
            // Where the run ends, its error tells of the crash.
            Event::StrategyCrashed(lost) if lost.then == Consequence::Aborted => {}
            Event::StrategyCrashed(lost) => self.warn(&losses::of_strategy(lost)),
            Event::RoundEnded(round) => self.round_ended(round),
            Event::Finished(summary) => self.finished(summary),
        }
        Ok(())
    }
}

/// Draws the fetching and dealing of data.
#[derive(Debug)]
pub(crate) struct DataProgress {
    quiet: bool,
    bar: ProgressBar,
    /// What the bar counts.
    file: String,
}

impl DataProgress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, bar: ProgressBar::hidden(), file: String::new() }
    }

    pub(crate) fn show(&mut self, step: &DataStep) {
        match step {
            DataStep::Downloading { file, done, total } => {
                if self.file != *file {
                    self.clear();
                    self.bar = bar(self.quiet, "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}");
                    self.bar.set_message(file.clone());
                    self.file.clone_from(file);
                }
                self.bar.set_length(total.unwrap_or(*done));
                self.bar.set_position(*done);
            }
            DataStep::Dealing { .. } => {}
            step @ DataStep::Unlocked { .. } => self.bar.suspend(|| print_error(format_args!("warning: {step}"))),
            step if !self.quiet => self.bar.suspend(|| print_error(step)),
            _ => {}
        }
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar on standard error, or none that is seen.
fn bar(quiet: bool, template: &str) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()).progress_chars("=> ");
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
}

/// Some clients by their numbers, which ascend.
fn numbered(clients: &[u32]) -> String {
    let runs = clients.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => one.to_string(),
        [first, .., last] => format!("{first} to {last}"),
        [] => String::new(),
    });
    let runs: Vec<String> = runs.collect();
    format!("{} {}", if clients.len() == 1 { "client" } else { "clients" }, runs.join(", "))
}

/// Relative to the current folder where it is below it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
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
    fn the_end_of_a_run_is_told_in_sentences() {
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
            assert_eq!(end(&summary, 0.1).as_deref(), why);
            assert_eq!(result(&summary, "out").join("\n"), expected);
        }
        let converged = "converged: weights and training loss changed by less than 0.1 in each of the last 3 rounds";
        assert_eq!(end(&summary(2, 3, Stop::Converged), 0.1).unwrap(), converged);
    }

    #[test]
    fn failed_clients_are_counted() {
        for (failed, expected) in [(0, "0.10 s"), (1, "0.10 s  (1 client failed)"), (2, "0.10 s  (2 clients failed)")] {
            let json = serde_json::json!({
                "round": 1, "accuracy": 0.5, "loss": 0.5, "training_loss": 0.5, "clients": 4, "failed": failed,
                "weights_sha256": "", "weights_change": null, "seconds": 0.1,
            });
            let round = serde_json::from_value(json).unwrap();
            assert_eq!(round_result(&round), format!("loss 0.5000  accuracy 50.00 %  {expected}"));
        }
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
