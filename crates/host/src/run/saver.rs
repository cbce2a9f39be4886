//! Saves checkpoints: a thread writes and syncs while the next round trains. A crash meanwhile costs that round's work,
//! never its bits. Where the system gives no thread, the run's own thread writes before the next round.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, SyncSender},
    },
    thread::{Builder, JoinHandle},
};

use anyhow::Context;
use fedpipe_data::{refusal, sync_folder};
use fedpipe_record::{
    checkpoint::{Checkpoint, list, name},
    client_state::ClientFile,
    file::write_whole,
    names::{CHECKPOINTS, STATE},
    timeline::TimelineEvent,
};

use crate::disk::timeline_log::Timeline;

/// Checkpoints that are kept: the newest, and one to fall back to.
pub(super) const KEPT: usize = 2;

/// Saves checkpoints on a thread of its own, where the system gives one.
#[derive(Debug)]
pub(crate) struct Saver {
    place: Arc<SavePlace>,
    thread: Option<SaverThread>,
}

#[derive(Debug)]
struct SaverThread {
    queue: SyncSender<Checkpoint>,
    handle: JoinHandle<anyhow::Result<()>>,
}

/// The folder of checkpoints, and the ledger of which none must be ahead.
#[derive(Debug)]
struct SavePlace {
    folder: PathBuf,
    /// The folder of the clients' states.
    states: PathBuf,
    ledger: File,
    /// The last round whose client states are synced.
    synced: AtomicU64,
    timeline: Timeline,
}

impl SavePlace {
    fn save(&self, checkpoint: &Checkpoint) -> anyhow::Result<()> {
        let at = self.timeline.now();
        self.sync_states(checkpoint).context("cannot write the clients' states")?;
        refusal(self.ledger.sync_data()).context("cannot sync the ledger")?;
        let folder = &self.folder;
        save(checkpoint, folder).with_context(|| format!("cannot write a checkpoint to {}", folder.display()))?;
        let event = TimelineEvent::Checkpoint { round: checkpoint.meta.round };
        self.timeline.note(at, Some(self.timeline.now()), event);
        Ok(())
    }
}

impl SavePlace {
    /// Syncs the client states that the checkpoint names and the one before it did not, and their folder.
    fn sync_states(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let last = self.synced.swap(checkpoint.meta.round, Ordering::Relaxed);
        let mut new = checkpoint.meta.clients.iter().filter(|file| file.round > last).map(ClientFile::name).peekable();
        if new.peek().is_none() {
            return Ok(());
        }
        new.try_for_each(|name| refusal(File::open(self.states.join(name))?.sync_data()).map(drop))?;
        sync_folder(&self.states).map(drop)
    }
}

impl Saver {
    /// Saves into the run `directory`, syncing `ledger` first: a checkpoint must not be ahead of it.
    ///
    /// # Errors
    /// Returns the errors of making the folder.
    pub(crate) fn start(directory: &Path, ledger: File, timeline: Timeline) -> io::Result<Self> {
        Self::start_on(Builder::new(), directory, ledger, timeline)
    }

    /// Starts as [`Saver::start`] does, on a thread that `builder` describes.
    fn start_on(builder: Builder, directory: &Path, ledger: File, timeline: Timeline) -> io::Result<Self> {
        let folder = directory.join(CHECKPOINTS);
        fs::create_dir_all(&folder)?;
        let states = directory.join(STATE);
        let synced = AtomicU64::new(0);
        let place = Arc::new(SavePlace { folder, states, ledger, synced, timeline });
        // One may wait while one is written: a disk slower than the rounds slows them down.
        let (queue, waiting) = mpsc::sync_channel::<Checkpoint>(1);
        let of_thread = Arc::clone(&place);
        let save_all = move || waiting.iter().try_for_each(|checkpoint| of_thread.save(&checkpoint));
        let handle = builder.name("checkpoint".into()).spawn(save_all);
        Ok(Self { place, thread: handle.ok().map(|handle| SaverThread { queue, handle }) })
    }

    /// Saves `checkpoint` soon, or at once if there is no thread.
    ///
    /// # Errors
    /// The error of an earlier checkpoint; without a thread, of this one.
    pub(crate) fn save(&mut self, checkpoint: Checkpoint) -> anyhow::Result<()> {
        match &self.thread {
            None => self.place.save(&checkpoint),
            Some(thread) if thread.queue.send(checkpoint).is_ok() => Ok(()),
            // The thread ended, which it does for an error alone.
            Some(_) => self.finish().and_then(|()| anyhow::bail!("no checkpoint can be written any more")),
        }
    }

    /// Waits until all are saved.
    ///
    /// # Errors
    /// The first that occurred.
    pub(crate) fn finish(&mut self) -> anyhow::Result<()> {
        // The queue ends with its only sender.
        match self.thread.take().map(|thread| thread.handle).map(JoinHandle::join) {
            Some(Ok(saved)) => saved,
            Some(Err(_)) => anyhow::bail!("the thread that writes checkpoints panicked"),
            None => Ok(()),
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

/// Writes the checkpoint and removes those that are no longer kept.
fn save(checkpoint: &Checkpoint, folder: &Path) -> anyhow::Result<()> {
    let bytes = checkpoint.to_bytes()?;
    write_whole(&folder.join(name(checkpoint.meta.round, &bytes)), &bytes)?;
    let old = list(folder)?;
    old.iter().rev().skip(KEPT).try_for_each(fs::remove_file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use fedpipe_record::{checkpoint::Meta, line::Position};
    use fedpipe_strategy::slots::{Slot, Slots};
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    use super::*;
    use crate::error::Error;

    fn checkpoint(round: u64) -> Checkpoint {
        let meta = Meta { round, ledger: Position::default(), clients: Vec::new() };
        let server = Slots::from_iter([("program", Slot::Bytes(Arc::new(vec![7; 3])))]);
        Checkpoint { meta, weights: Arc::new(vec![round as f32, -0.0]), server, versions: Default::default() }
    }

    fn saved(rounds: u64) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut saver = Saver::start(directory.path(), tempfile::tempfile().unwrap(), Timeline::default()).unwrap();
        (1..=rounds).for_each(|round| saver.save(checkpoint(round)).unwrap());
        saver.finish().unwrap();
        directory
    }

    fn all(directory: &tempfile::TempDir) -> Vec<Checkpoint> {
        let all = Checkpoint::all(directory.path(), &|_| Ok(())).unwrap();
        all.map(|(_, checkpoint)| checkpoint.unwrap()).collect()
    }

    #[test]
    fn without_a_thread_each_is_saved_at_once() {
        let directory = tempfile::tempdir().unwrap();
        // No address space has room for such a stack.
        let refused = Builder::new().stack_size(1 << 60);
        let mut saver =
            Saver::start_on(refused, directory.path(), tempfile::tempfile().unwrap(), Timeline::default()).unwrap();
        assert!(saver.thread.is_none());
        for round in 1..=3 {
            saver.save(checkpoint(round)).unwrap();
            assert_eq!(all(&directory)[0], checkpoint(round));
        }
        fs::remove_dir_all(directory.path().join(CHECKPOINTS)).unwrap();
        assert!(saver.save(checkpoint(4)).unwrap_err().to_string().starts_with("cannot write a checkpoint to "));
        saver.finish().unwrap();
    }

    #[test]
    fn the_newest_is_read_back_to_the_bit_and_one_more_is_kept() {
        let found = all(&saved(5));
        assert_eq!(found, [checkpoint(5), checkpoint(4)]);
        assert_eq!(found.len(), KEPT);
    }

    #[test]
    fn other_files_and_rounds_of_any_length_lose_no_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let mut saver = Saver::start(directory.path(), tempfile::tempfile().unwrap(), Timeline::default()).unwrap();
        for name in ["a.safetensors", "mine.safetensors", "zz-top.safetensors", "000009.safetensors"] {
            fs::write(directory.path().join(CHECKPOINTS).join(name), "").unwrap();
        }
        (999_998..=1_000_001).for_each(|round| saver.save(checkpoint(round)).unwrap());
        saver.finish().unwrap();
        let rounds: Vec<u64> = all(&directory).iter().map(|checkpoint| checkpoint.meta.round).collect();
        assert_eq!(rounds, [1_000_001, 1_000_000]);
        assert_eq!(fs::read_dir(directory.path().join(CHECKPOINTS)).unwrap().count(), KEPT + 4);
    }

    /// Has `act` run on a thread for which the disk is full: the system `call` fails there, and in the threads that it
    /// starts.
    fn without_room<T: Send>(call: i64, act: impl FnOnce() -> T + Send) -> T {
        let full = SeccompAction::Errno(libc::ENOSPC as u32);
        let target = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new([(call, Vec::new())].into(), SeccompAction::Allow, full, target).unwrap();
        let filter = BpfProgram::try_from(filter).unwrap();
        let start = move || {
            apply_filter(&filter).unwrap();
            act()
        };
        std::thread::scope(|scope| Builder::new().spawn_scoped(scope, start).unwrap().join().unwrap())
    }

    /// The files are synced by their data, and the folder as a whole.
    #[test]
    fn the_folder_of_the_states_is_synced_before_a_checkpoint_names_them() {
        let directory = tempfile::tempdir().unwrap();
        let states = directory.path().join(STATE);
        fs::create_dir(&states).unwrap();
        let file = ClientFile { client: 0, round: 1, sha256: String::new() };
        fs::write(states.join(file.name()), "x").unwrap();
        let saved = |clients| {
            without_room(libc::SYS_fsync, || {
                let mut saver =
                    Saver::start(directory.path(), tempfile::tempfile().unwrap(), Timeline::default()).unwrap();
                let meta = Meta { clients, ..checkpoint(1).meta };
                saver.save(Checkpoint { meta, ..checkpoint(1) }).and_then(|()| saver.finish())
            })
        };
        let why = format!("{:#}", saved(vec![file]).unwrap_err());
        assert!(why.starts_with("cannot write the clients' states: No space left on device"), "{why}");
        let why = format!("{:#}", saved(Vec::new()).unwrap_err());
        assert!(why.starts_with("cannot write a checkpoint to "), "{why}");
    }

    #[test]
    fn a_checkpoint_without_room_is_refused_with_its_place_and_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join(CHECKPOINTS);
        let checkpoint_failed = format!("cannot write a checkpoint to {}", folder.display());
        let cases = [
            (libc::SYS_write, checkpoint_failed.as_str()),
            (libc::SYS_fsync, &checkpoint_failed),
            (libc::SYS_fdatasync, "cannot sync the ledger"),
        ];
        for (call, what) in cases {
            let saved = without_room(call, || {
                let mut saver =
                    Saver::start(directory.path(), tempfile::tempfile().unwrap(), Timeline::default()).unwrap();
                saver.save(checkpoint(1)).and_then(|()| saver.finish())
            });
            let why = Error::of_record(&saved.unwrap_err()).to_string();
            assert!(why.starts_with(&format!("{what}: No space left on device (os error 28)")), "{why}");
            assert!(why.ends_with("; free some space, after which --resume continues"), "{why}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "a part of a checkpoint is left");
        }
    }
}
