//! The progress of fetching and dealing data.

use std::path::{Path, PathBuf};

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
    /// The folder in which something is hashed.
    hashed: PathBuf,
}

impl DataProgress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, bar: ProgressBar::hidden(), file: String::new(), hashed: PathBuf::new() }
    }

    pub(crate) fn show(&mut self, step: &DataStep) {
        match step {
            DataStep::Downloading { file, done, total } => self.show_download(file, *done, *total),
            DataStep::Dealing { .. } => {}
            DataStep::Hashing { place } if self.is_hashed_beside(place) => {}
            step @ DataStep::Unlocked { .. } => self.bar.suspend(|| print_error(format_args!("warning: {step}"))),
            step if !self.quiet => self.bar.suspend(|| print_error(step)),
            _ => {}
        }
    }

    /// Returns `true` if the step before hashed something in the same folder, where the entries of the cache are.
    fn is_hashed_beside(&mut self, place: &Path) -> bool {
        let folder = place.parent().unwrap_or(place);
        let is_beside = self.hashed == folder;
        folder.clone_into(&mut self.hashed);
        is_beside
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hashed_in_one_folder_is_said_once() {
        let mut progress = DataProgress::new(true);
        let places = ["cache/partitions/a", "cache/partitions/b", "data/t.csv", "cache/partitions/a"];
        let beside = places.map(|place| progress.is_hashed_beside(Path::new(place)));
        assert_eq!(beside, [false, true, false, false]);
    }
}
