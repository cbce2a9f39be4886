//! A run of another process on the screen: reads the new lines of its ledger and of its timeline.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use fedpipe_record::{
    experiment::Experiment,
    line::{Chained, Line},
    names::{LEDGER, TIMELINE},
    timeline::{TimelineEntry, TimelineEvent},
};
use indicatif::ProgressBar;

use crate::screen::{
    bar::bar,
    crash_text::{CrashTexts, strategy_crash},
    live_line::LiveLine,
    output::{print_error, print_progress},
    run_text::{dataset_line, end_reason, result_lines, round_line, round_name},
    score_text::score_lines,
};

/// A file that another process appends lines to.
#[derive(Debug)]
struct Followed {
    path: PathBuf,
    /// The bytes of the whole lines that were read.
    offset: u64,
}

impl Followed {
    /// Returns the whole lines that are new. A file that became shorter begins anew.
    fn new_lines(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut file = File::open(&self.path)?;
        if file.metadata()?.len() < self.offset {
            self.offset = 0;
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        self.offset += whole as u64;
        Ok(bytes[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
    }
}

/// Shows a run as its files tell of it.
#[derive(Debug)]
pub(crate) struct WatchScreen {
    directory: PathBuf,
    ledger: Followed,
    timeline: Followed,
    experiment: Experiment,
    /// The last round that was shown.
    round: u64,
    crashes: CrashTexts,
    live: LiveLine,
    /// The client that each process works for.
    at_work: BTreeMap<u32, u32>,
    bar: ProgressBar,
}

impl WatchScreen {
    /// Opens the files of a run.
    ///
    /// # Errors
    /// Returns those of reading the ledger.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let followed = |name| Followed { path: directory.join(name), offset: 0 };
        File::open(directory.join(LEDGER))?;
        Ok(Self {
            directory: directory.to_owned(),
            ledger: followed(LEDGER),
            timeline: followed(TIMELINE),
            experiment: Experiment::default(),
            round: 0,
            crashes: CrashTexts::default(),
            live: LiveLine::default(),
            at_work: BTreeMap::new(),
            bar: bar(false, "{wide_msg}"),
        })
    }

    /// Shows what is new. Returns `true` if the run has ended.
    pub(crate) fn refresh(&mut self) -> bool {
        // A resume replaces the file: a moment without it is no end.
        for line in self.ledger.new_lines().unwrap_or_default() {
            let Ok(Chained { line, .. }) = serde_json::from_slice::<Chained<'static>>(&line) else { continue };
            if self.show(line) {
                return true;
            }
        }
        for line in self.timeline.new_lines().unwrap_or_default() {
            if let Ok(entry) = serde_json::from_slice::<TimelineEntry<'_>>(&line) {
                self.note(&entry.event);
            }
        }
        self.bar.set_message(self.live.text());
        self.bar.tick();
        false
    }

    fn show(&mut self, line: Line<'static>) -> bool {
        match line {
            Line::Started { experiment, .. } => {
                self.experiment = experiment.into_owned();
                self.begin_round(1);
            }
            Line::Dealt { dataset, sizes, .. } => self.print(&dataset_line(&dataset, &sizes)),
            Line::Ready { model, version, .. } => self.print(&format!("{model} {version}")),
            Line::ClientCrashed(crash) => {
                let text = self.crashes.add(&crash);
                text.iter().for_each(|text| self.warn(text));
            }
            Line::StrategyCrashed(crash) => self.warn(&strategy_crash(&crash)),
            Line::Resumed { round, experiment, .. } => {
                self.experiment = experiment.map_or_else(|| self.experiment.clone(), std::borrow::Cow::into_owned);
                self.print(&format!("the run continues after round {round}"));
                self.begin_round(round + 1);
            }
            // The ledger of a resumed run has the rounds before it once more.
            Line::Round(round) if round.round <= self.round => {}
            Line::Round(round) => {
                self.crashes.end_round().iter().for_each(|text| self.warn(text));
                self.print(&format!("{}  {}", round_name(round.round, self.last_round()), round_line(&round)));
                self.live.ended(round.seconds.get());
                self.round = round.round;
                self.begin_round(round.round + 1);
            }
            Line::Finished(summary) => {
                self.bar.finish_and_clear();
                self.crashes.end_round().iter().for_each(|text| self.warn(text));
                end_reason(&summary, self.experiment.tolerance).iter().for_each(|reason| self.print(reason));
                score_lines(&summary).iter().for_each(|line| self.print(line));
                let directory = self.directory.display().to_string();
                result_lines(&summary, &directory).iter().for_each(|line| self.print(line));
                return true;
            }
            Line::Isolation { .. }
            | Line::StrategyIsolation(_)
            | Line::InitialScore(_)
            | Line::Reloaded { .. }
            | Line::ReloadRefused { .. }
            | Line::ByClass(_) => {}
        }
        false
    }

    fn last_round(&self) -> Option<u64> {
        (!self.experiment.is_open_ended()).then_some(self.experiment.rounds)
    }

    fn begin_round(&mut self, round: u64) {
        let last = self.last_round();
        let left = last.map(|last| last.saturating_sub(round));
        self.live.begin(round_name(round, last), std::iter::empty(), left);
    }

    fn note(&mut self, event: &TimelineEvent<'_>) {
        match event {
            TimelineEvent::Sent(message) => {
                if let Some(client) = message.client.filter(|_| message.message == "train") {
                    self.at_work.insert(message.process, client);
                    self.live.trains(client);
                }
            }
            TimelineEvent::Received(message) => {
                if let Some(client) = self.at_work.remove(&message.process).filter(|_| message.message == "update") {
                    self.live.trained(client);
                }
            }
            TimelineEvent::Exited { process, cause: Some(_) } => {
                let client = self.at_work.remove(process);
                self.live.crashed(client);
            }
            // The ledger may be read before the last messages of its round.
            TimelineEvent::Phase { phase, round } if phase == "commit" => self.begin_round(round + 1),
            _ => {}
        }
    }

    fn print(&self, text: &str) {
        self.bar.suspend(|| print_progress(text));
    }

    fn warn(&self, text: &str) {
        self.bar.suspend(|| print_error(text));
    }
}

impl Drop for WatchScreen {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    #[test]
    fn only_whole_lines_are_read_and_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "a\nb").unwrap();
        let mut followed = Followed { path: path.clone(), offset: 0 };
        let mut lines = || {
            let lines = followed.new_lines().unwrap();
            lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(lines(), ["a"]);
        File::options().append(true).open(&path).unwrap().write_all(b"c\nd\n").unwrap();
        assert_eq!(lines(), ["bc", "d"]);
        assert_eq!(lines(), [""; 0]);
        fs::write(&path, "z\n").unwrap();
        assert_eq!(lines(), ["z"]);
    }
}
