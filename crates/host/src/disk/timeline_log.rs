//! Writes `timeline.jsonl`, which `record` describes. A file that cannot be written costs the timeline alone.

use std::{
    fmt,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use fedpipe_record::{
    names::TIMELINE,
    timeline::{TIMELINE_FORMAT, TimelineEntry, TimelineEvent},
};

/// The bytes after which only every tenth of the rounds so far is recorded, and so on.
const STEP: u64 = 8 << 20;

/// The steps after which nothing more is recorded.
const STEPS: u32 = 4;

/// A span of time, and the entries that are written at once in it, so that a reader sees what goes on. More entries
/// wait for its end, since a write of its own for each would take time of a round with many clients.
const DELAY: Duration = Duration::from_millis(100);
const AT_ONCE: u32 = 64;

/// A writer that all threads of a host share. The default value writes nothing.
#[derive(Clone, Default)]
pub(crate) struct Timeline(Option<Arc<OpenTimeline>>);

struct OpenTimeline {
    start: Instant,
    /// The round that is under way, 0 before the first one.
    round: AtomicU64,
    file: Mutex<TimelineFile>,
}

struct TimelineFile {
    out: BufWriter<File>,
    bytes: u64,
    /// The begin of the present span, and the entries that were written at once since.
    since: Instant,
    at_once: u32,
}

impl TimelineFile {
    fn flush(&mut self) {
        // A full disk costs the rest of the timeline.
        let _ = self.out.flush();
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timeline").field(&self.0.is_some()).finish()
    }
}

impl Timeline {
    /// Begins a session in the run directory.
    pub(crate) fn open(directory: &Path) -> Self {
        let Ok(file) = File::options().create(true).append(true).open(directory.join(TIMELINE)) else {
            return Self::default();
        };
        let bytes = file.metadata().map_or(0, |data| data.len());
        let (start, unix) = (Instant::now(), SystemTime::now().duration_since(SystemTime::UNIX_EPOCH));
        let mut out = BufWriter::with_capacity(1 << 16, file);
        if bytes > 0 {
            // The last line of a host that was killed may be torn.
            let _ = out.write_all(b"\n");
        }
        let file = Mutex::new(TimelineFile { out, bytes, since: start, at_once: 0 });
        let timeline = Self(Some(Arc::new(OpenTimeline { start, round: AtomicU64::new(0), file })));
        let unix_us = unix.map_or(0, |unix| unix.as_micros() as u64);
        timeline.note(0, None, TimelineEvent::Session { format: TIMELINE_FORMAT, unix_us, host: std::process::id() });
        timeline
    }

    /// Returns the microseconds since the start of the session.
    pub(crate) fn now(&self) -> u64 {
        self.0.as_ref().map_or(0, |open| open.start.elapsed().as_micros() as u64)
    }

    /// Begins a round, and writes the entries of the rounds before.
    pub(crate) fn begin_round(&self, round: u64) {
        if let Some(open) = &self.0 {
            open.round.store(round, Ordering::Relaxed);
            self.flush();
        }
    }

    /// Records a part of a round that began `at` and ends now.
    pub(crate) fn end_phase(&self, at: u64, phase: &'static str, round: u64) {
        self.note(at, Some(self.now()), TimelineEvent::Phase { phase: phase.into(), round });
    }

    /// Records an event, unless the file is so long that it lacks this round.
    pub(crate) fn note(&self, at: u64, until: Option<u64>, event: TimelineEvent<'_>) {
        let Some(open) = &self.0 else { return };
        let is_rare = matches!(event, TimelineEvent::Session { .. } | TimelineEvent::Exited { .. });
        // Written before the lock is taken, so that other threads do not wait for it.
        let Ok(mut line) = serde_json::to_vec(&TimelineEntry { at, until, event }) else { return };
        line.push(b'\n');
        let mut file = open.file.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = (file.bytes / STEP).min(u64::from(STEPS)) as u32;
        let is_kept = is_rare || open.round.load(Ordering::Relaxed).is_multiple_of(10_u64.pow(steps));
        if !is_kept || steps == STEPS {
            return;
        }
        file.bytes += line.len() as u64;
        let _ = file.out.write_all(&line);
        if file.since.elapsed() > DELAY {
            (file.since, file.at_once) = (Instant::now(), 0);
        }
        if file.at_once < AT_ONCE {
            file.at_once += 1;
            file.flush();
        }
    }

    fn flush(&self) {
        if let Some(open) = &self.0 {
            open.file.lock().unwrap_or_else(PoisonError::into_inner).flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_record::timeline::TimelineSession;

    use super::*;

    #[test]
    fn a_session_follows_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        for round in 1..=2 {
            let timeline = Timeline::open(folder.path());
            timeline.begin_round(round);
            timeline.end_phase(0, "train", round);
        }
        let sessions = TimelineSession::read(folder.path()).unwrap();
        let rounds: Vec<_> = sessions.iter().map(|session| session.entries[0].event.clone()).collect();
        assert_eq!(rounds, [1, 2].map(|round| TimelineEvent::Phase { phase: "train".into(), round }));
    }

    #[test]
    fn a_long_run_has_fewer_and_fewer_rounds() {
        let folder = tempfile::tempdir().unwrap();
        let rounds = |bytes: u64| {
            std::fs::write(folder.path().join(TIMELINE), vec![b'\n'; bytes as usize]).unwrap();
            let timeline = Timeline::open(folder.path());
            for round in 1..=200 {
                timeline.begin_round(round);
                timeline.end_phase(0, "train", round);
            }
            drop(timeline);
            let sessions = TimelineSession::read(folder.path()).unwrap();
            sessions.last().map_or(0, |session| session.entries.len())
        };
        assert_eq!([0, STEP, 2 * STEP].map(rounds), [200, 20, 2]);
    }

    #[test]
    fn a_place_that_cannot_be_written_has_no_timeline() {
        let timeline = Timeline::open(Path::new("/nonexistent"));
        timeline.begin_round(1);
        timeline.end_phase(timeline.now(), "train", 1);
        assert_eq!(timeline.now(), 0);
    }
}
