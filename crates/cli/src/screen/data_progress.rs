//! The progress of fetching and dealing data.

use fedpipe_data::DataStep;
use indicatif::ProgressBar;

use crate::screen::{bar::bar, output::print_error};

/// Shows the steps of fetching and dealing on standard error.
#[derive(Debug)]
pub(crate) struct DataProgress {
    quiet: bool,
    bar: ProgressBar,
    /// The file whose download the bar shows.
    file: String,
}

impl DataProgress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, bar: ProgressBar::hidden(), file: String::new() }
    }

    pub(crate) fn show(&mut self, step: &DataStep) {
        match step {
            DataStep::Downloading { file, done, total } => self.show_download(file, *done, *total),
            DataStep::Dealing { .. } => {}
            step @ DataStep::Unlocked { .. } => self.bar.suspend(|| print_error(format_args!("warning: {step}"))),
            step if !self.quiet => self.bar.suspend(|| print_error(step)),
            _ => {}
        }
    }

    fn show_download(&mut self, file: &str, done: u64, total: Option<u64>) {
        if self.file != file {
            self.clear();
            self.bar = bar(self.quiet, "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}");
            self.bar.set_message(file.to_owned());
            file.clone_into(&mut self.file);
        }
        self.bar.set_length(total.unwrap_or(done));
        self.bar.set_position(done);
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
