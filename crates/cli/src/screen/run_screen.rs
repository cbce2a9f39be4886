//! A run on the screen: a progress bar for each round on a terminal, plain lines elsewhere.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fedpipe_data::{DatasetInfo, Source, counted};
use fedpipe_host::{Event, Observer, Ready};
use fedpipe_record::{
    crash::{ClientCrash, Consequence, StrategyCrash},
    experiment::Experiment,
    round_line::Round,
    summary::{Stop, Summary},
};
use indicatif::ProgressBar;

use crate::screen::{
    bar::bar,
    crash_text::{CrashTexts, strategy_crash},
    data_progress::DataProgress,
    dataset_text::dealt_lines,
    live_line::LiveLine,
    output::{print_error, print_progress},
    run_text::{
        SeenRounds, end_reason, finished_line, no_progress_warning, numbered, result_lines, round_line, round_name,
    },
    score_text::score_lines,
};

/// Shows a run. Results go to standard output, warnings and progress to standard error.
#[derive(Debug)]
pub(crate) struct RunScreen {
    quiet: bool,
    data: DataProgress,
    bar: ProgressBar,
    live: LiveLine,
    /// The last round, unless the run ends on convergence.
    last_round: Option<u64>,
    directory: PathBuf,
    /// The round after which a resumed run continues, until its next round begins.
    resumed_after: Option<u64>,
    /// `true` if the dataset has no known name, so that its contents are said.
    has_own_data: bool,
    /// The consequences of the experiment that a user may not expect.
    hints: Vec<String>,
    tolerance: f64,
    remedy: String,
    rounds: SeenRounds,
    crashes: CrashTexts,
    /// The clients elsewhere that have reported an isolation, by its text. They report one after the other and are
    /// shown together.
    confined: BTreeMap<String, Vec<u32>>,
}

impl RunScreen {
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            data: DataProgress::new(quiet),
            bar: ProgressBar::hidden(),
            live: LiveLine::default(),
            last_round: None,
            directory: PathBuf::new(),
            resumed_after: None,
            has_own_data: false,
            hints: Vec::new(),
            tolerance: 0.0,
            remedy: String::new(),
            rounds: SeenRounds::default(),
            crashes: CrashTexts::default(),
            confined: BTreeMap::new(),
        }
    }

    /// Returns the run directory; `None` before the run has one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        Some(self.directory.as_path()).filter(|path| !path.as_os_str().is_empty())
    }

    fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Started { experiment, directory } => self.begin(experiment, directory),
            Event::Resumed { experiment, directory, round, .. } => {
                self.begin(experiment, directory);
                self.resumed_after = Some(*round);
            }
            Event::Warning(text) => self.warn(&format!("warning: {text}")),
            Event::Reloaded { round, dylib_sha256 } => {
                self.line(&format!("from round {round} on, the model is {}", &dylib_sha256[..16]));
            }
            Event::ReloadRefused { reason, .. } => {
                // The round may begin again, with a bar of its own.
                self.bar.finish_and_clear();
                self.warn(&format!("warning: the model stays as it is: {reason}"));
            }
            Event::Data(step) => self.data.show(step),
            Event::Dealt { dataset, sizes, held_out, .. } => self.show_dataset(dataset, sizes, held_out),
            Event::Ready { model, .. } => self.show_model(model),
            Event::Isolated { process: None, in_force } => self.line(&format!("isolation: {in_force}")),
            Event::Isolated { process: Some(process), in_force } => {
                self.confined.entry(in_force.to_string()).or_default().push(*process);
            }
            Event::StrategyIsolated(in_force) => self.line(&format!("isolation of the strategy: {in_force}")),
            // The summary has the scores by class; the initial score is shown if no round is better.
            Event::InitialScored(_) | Event::ByClass(_) => {}
            Event::RoundStarted { round, sampled } => self.begin_round(*round, sampled),
            Event::TrainingBegun { client, .. } => {
                self.live.trains(*client);
                self.show_live();
            }
            Event::Trained { client, .. } => {
                self.live.trained(*client);
                self.show_live();
            }
            Event::Crashed(crash) => self.show_crash(crash),
            // The error that ends the run reports the crash.
            Event::StrategyCrashed(StrategyCrash { crash, .. }) if crash.then == Consequence::Aborted => {}
            Event::StrategyCrashed(crash) => self.warn(&strategy_crash(crash)),
            Event::RoundEnded(round) => self.end_round(round),
            Event::Finished(summary) => self.finish(summary),
        }
    }

    fn begin(&mut self, experiment: &Experiment, directory: &Path) {
        self.last_round = (!experiment.is_open_ended()).then_some(experiment.rounds);
        self.tolerance = experiment.tolerance;
        self.remedy = experiment.remedy();
        self.directory = directory.to_path_buf();
        self.has_own_data = matches!(experiment.deal().source, Source::Path(_));
        self.hints = experiment.hints();
    }

    fn show_dataset(&self, dataset: &DatasetInfo, sizes: &[u64], held_out: &[u64]) {
        self.data.clear();
        dealt_lines(dataset, self.has_own_data, sizes, held_out).iter().for_each(|line| self.line(line));
        if dataset.sample {
            self.line("this is a small sample: its accuracies say nothing about the whole dataset");
        }
        self.hints.iter().for_each(|hint| self.line(hint));
    }

    fn show_model(&self, model: &Ready) {
        let weights: usize = model.layout.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        self.line(&format!("{} {}: {}", model.name, model.version, counted(weights, "weight")));
        // Other processors than x86-64 multiply and add in hardware without further instruction sets.
        if model.instruction_set == "portable" && cfg!(target_arch = "x86_64") {
            self.warn("warning: multiply-add runs in software: the same bits, some fifty times slower");
        }
    }

    fn begin_round(&mut self, round: u64, sampled: &[u32]) {
        if let Some(last) = self.resumed_after.take() {
            self.line(&format!("continuing after round {last} of {}", relative(&self.directory)));
        }
        let left = self.last_round.map(|last| last.saturating_sub(round));
        self.live.begin(round_name(round, self.last_round), sampled.iter().copied(), left);
        self.bar = bar(self.quiet, "{wide_msg}");
        self.show_live();
    }

    fn show_live(&self) {
        if !self.bar.is_hidden() {
            self.bar.set_message(self.live.text());
        }
    }

    fn end_round(&mut self, round: &Round) {
        self.bar.finish_and_clear();
        self.live.ended(round.seconds.get());
        self.rounds.add(round);
        self.show_equal_crashes();
        self.line(&format!("{}  {}", round_name(round.round, self.last_round), round_line(round)));
    }

    fn show_crash(&mut self, crash: &ClientCrash) {
        self.live.crashed(crash.client);
        self.show_live();
        if let Some(text) = self.crashes.add(crash) {
            self.warn(&text);
        }
    }

    fn show_equal_crashes(&mut self) {
        for text in self.crashes.end_round() {
            self.warn(&text);
        }
    }

    /// Shows the isolation of clients elsewhere; those with the same isolation share a line.
    fn show_isolations(&mut self) {
        for (in_force, mut clients) in std::mem::take(&mut self.confined) {
            clients.sort_unstable();
            self.line(&format!("isolation of {}: {in_force}", numbered(&clients)));
        }
    }

    fn finish(&mut self, summary: &Summary) {
        self.bar.finish_and_clear();
        self.show_equal_crashes();
        match (&summary.stopped, end_reason(summary, self.tolerance)) {
            (_, None) => {}
            (Stop::Signal(_) | Stop::Failed(_), Some(reason)) => self.warn(&reason),
            (_, Some(reason)) => self.line(&reason),
        }
        if let Some(line) = self.resumed_after.and_then(|_| finished_line(summary)) {
            self.line(&line);
        }
        if let Some(warning) = no_progress_warning(summary, &self.rounds, &self.remedy) {
            self.warn(&warning);
        }
        score_lines(summary).iter().for_each(|line| self.print(line));
        result_lines(summary, &relative(&self.directory)).iter().for_each(|line| self.print(line));
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            self.print(text);
        }
    }

    /// Prints a result. A closed standard output does not end a run.
    fn print(&self, text: &str) {
        self.bar.suspend(|| print_progress(text));
    }

    fn warn(&self, text: &str) {
        self.bar.suspend(|| print_error(text));
    }
}

impl Observer for RunScreen {
    fn observe(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        if !matches!(event, Event::Isolated { .. }) {
            self.show_isolations();
        }
        self.show(event);
        Ok(())
    }
}

/// Shows the crashes that were counted last: a run that ends with an error has no last event.
impl Drop for RunScreen {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.show_equal_crashes();
    }
}

/// Returns `path` relative to the current folder if it is below it.
fn relative(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
