//! The state of a run after a round, in a file that is whole or absent: what a resume starts from.
//!
//! `checkpoint/NNNNNN-DIGEST.safetensors` holds the weights and the server optimiser's state as tensors and the rest as
//! JSON in the file's metadata. The digest in the name is that of the contents, so that a truncated or altered file is
//! found. The one before is kept. A thread writes and syncs while the next round trains: a crash meanwhile costs that
//! round's work, never its bits. Where the system gives no thread, the run's own writes before the next round.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, SyncSender},
    },
    thread::{Builder, JoinHandle},
};

use anyhow::Context;
use fedpipe_data::refusal;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{Convergence, ServerState, files::write_whole, ledger::Position, summary::bytes_sha256};

/// The folder's name in the run directory.
pub(crate) const FOLDER: &str = "checkpoint";

/// Checkpoints that are kept: the newest, and one to fall back to.
const KEPT: usize = 2;

const DIGEST_LENGTH: usize = 16;

/// All that a run's next round depends on, besides the experiment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    pub(crate) meta: Meta,
    pub(crate) weights: Arc<Vec<f32>>,
    pub(crate) server: ServerState,
}

/// The part of a checkpoint that is not tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// The last whole round.
    pub(crate) round: u64,
    /// Where the ledger stood.
    pub(crate) ledger: Position,
    /// Client processes lost so far.
    pub(crate) failures: u64,
    pub(crate) convergence: Convergence,
}

impl Checkpoint {
    fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let tensors = [("weights", &*self.weights), ("server.m", &self.server.m), ("server.v", &self.server.v)];
        let views = tensors.map(|(name, values)| {
            Ok((name, TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values))?))
        });
        let mut views = views.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let program = &self.server.program;
        views.push(("server.program", TensorView::new(Dtype::U8, vec![program.len()], program)?));
        let metadata = HashMap::from([("state".to_owned(), serde_json::to_string(&self.meta)?)]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    fn from_bytes(bytes: &[u8]) -> anyhow::Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let state = header.metadata().as_ref().and_then(|metadata| metadata.get("state"));
        let meta = serde_json::from_str(state.context("it has no state")?)?;
        let tensors = SafeTensors::deserialize(bytes)?;
        let values =
            |name| -> anyhow::Result<Vec<f32>> { Ok(bytemuck::pod_collect_to_vec(tensors.tensor(name)?.data())) };
        let program = tensors.tensor("server.program")?.data().to_vec();
        let server = ServerState { m: values("server.m")?, v: values("server.v")?, program };
        Ok(Self { meta, weights: Arc::new(values("weights")?), server })
    }

    /// Writes the checkpoint and removes those that are no longer kept.
    fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let bytes = self.to_bytes()?;
        let digest = bytes_sha256(&bytes);
        let name = format!("{:06}-{}.safetensors", self.meta.round, &digest[..DIGEST_LENGTH]);
        write_whole(&folder.join(name), &bytes)?;
        let old = list(folder)?;
        old.iter().rev().skip(KEPT).try_for_each(fs::remove_file)?;
        Ok(())
    }

    /// The newest checkpoint in the run `directory` that is whole and whose place in the ledger `fits`; `refused` hears
    /// of those that are not, by name.
    ///
    /// # Errors
    /// Those of listing the folder; a run without a checkpoint has none.
    pub(crate) fn newest(
        directory: &Path,
        fits: &dyn Fn(&Position) -> bool,
        refused: &mut dyn FnMut(String),
    ) -> io::Result<Option<Self>> {
        for path in list(&directory.join(FOLDER))?.iter().rev() {
            match load(path) {
                Ok(checkpoint) if fits(&checkpoint.meta.ledger) => return Ok(Some(checkpoint)),
                Ok(_) => refused(format!("{} is refused: the ledger has no such line", path.display())),
                Err(error) => refused(format!("{} is refused: {error:#}", path.display())),
            }
        }
        Ok(None)
    }
}

fn load(path: &Path) -> anyhow::Result<Checkpoint> {
    let bytes = fs::read(path)?;
    let named = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.split_once('-'));
    let (_, digest) = named.context("its name has no digest")?;
    anyhow::ensure!(bytes_sha256(&bytes).starts_with(digest), "it was truncated or altered");
    Checkpoint::from_bytes(&bytes)
}

/// The checkpoints in `folder`, oldest first: by name, whose number has a fixed width.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    paths.sort();
    Ok(paths)
}

/// Saves checkpoints on a thread of its own, where the system gives one.
#[derive(Debug)]
pub(crate) struct Saver {
    place: Arc<Place>,
    thread: Option<SaverThread>,
}

#[derive(Debug)]
struct SaverThread {
    queue: SyncSender<Checkpoint>,
    handle: JoinHandle<anyhow::Result<()>>,
}

/// The folder of checkpoints, and the ledger of which none must be ahead.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    ledger: File,
}

impl Place {
    fn save(&self, checkpoint: &Checkpoint) -> anyhow::Result<()> {
        refusal(self.ledger.sync_data())?;
        let folder = &self.folder;
        checkpoint.save(folder).with_context(|| format!("cannot write a checkpoint to {}", folder.display()))
    }
}

impl Saver {
    /// Saves into the run `directory`, syncing `ledger` first: a checkpoint must not be ahead of it.
    ///
    /// # Errors
    /// Those of making the folder.
    pub(crate) fn start(directory: &Path, ledger: File) -> io::Result<Self> {
        Self::start_on(Builder::new(), directory, ledger)
    }

    /// As [`Saver::start`], on a thread that `builder` describes.
    fn start_on(builder: Builder, directory: &Path, ledger: File) -> io::Result<Self> {
        let folder = directory.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let place = Arc::new(Place { folder, ledger });
        // One may wait while one is written: a disk slower than the rounds slows them down.
        let (queue, waiting) = mpsc::sync_channel::<Checkpoint>(1);
        let of_thread = Arc::clone(&place);
        let save_all = move || waiting.iter().try_for_each(|checkpoint| of_thread.save(&checkpoint));
        let handle = builder.name("checkpoint".into()).spawn(save_all);
        Ok(Self { place, thread: handle.ok().map(|handle| SaverThread { queue, handle }) })
    }

    /// Has `checkpoint` saved soon, or at once where there is no thread.
    ///
    /// # Errors
    /// That of an earlier one, or without a thread its own.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(round: u64) -> Checkpoint {
        let mut convergence = Convergence::new(0.1);
        convergence.observe(&[1.0], &[1.1], 0.1 + 0.2);
        let meta = Meta { round, ledger: Position::default(), failures: 3, convergence };
        let server = ServerState { m: vec![0.1, f32::MIN_POSITIVE], v: Vec::new(), program: vec![7; 3] };
        Checkpoint { meta, weights: Arc::new(vec![round as f32, -0.0]), server }
    }

    fn saved(rounds: u64) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut saver = Saver::start(directory.path(), tempfile::tempfile().unwrap()).unwrap();
        (1..=rounds).for_each(|round| saver.save(checkpoint(round)).unwrap());
        saver.finish().unwrap();
        directory
    }

    #[test]
    fn the_newest_is_read_back_to_the_bit_and_one_more_is_kept() {
        let directory = saved(5);
        let newest = Checkpoint::newest(directory.path(), &|_| true, &mut |_| panic!()).unwrap();
        assert_eq!(newest, Some(checkpoint(5)));
        assert_eq!(list(&directory.path().join(FOLDER)).unwrap().len(), KEPT);
    }

    #[test]
    fn without_a_thread_each_is_saved_at_once() {
        let directory = tempfile::tempdir().unwrap();
        // No address space has room for such a stack.
        let refused = Builder::new().stack_size(1 << 60);
        let mut saver = Saver::start_on(refused, directory.path(), tempfile::tempfile().unwrap()).unwrap();
        assert!(saver.thread.is_none());
        for round in 1..=3 {
            saver.save(checkpoint(round)).unwrap();
            let newest = Checkpoint::newest(directory.path(), &|_| true, &mut |_| panic!()).unwrap();
            assert_eq!(newest, Some(checkpoint(round)));
        }
        fs::remove_dir_all(directory.path().join(FOLDER)).unwrap();
        assert!(saver.save(checkpoint(4)).unwrap_err().to_string().starts_with("cannot write a checkpoint to "));
        saver.finish().unwrap();
    }

    #[test]
    fn an_altered_one_is_refused_by_name_at_every_byte() {
        let directory = saved(2);
        let newest = list(&directory.path().join(FOLDER)).unwrap().pop().unwrap();
        let whole = fs::read(&newest).unwrap();
        for position in 0..whole.len() {
            let mut altered = whole.clone();
            altered[position] ^= 1;
            fs::write(&newest, altered).unwrap();
            let mut names = Vec::new();
            let found = Checkpoint::newest(directory.path(), &|_| true, &mut |why| names.push(why)).unwrap();
            assert_eq!(found.unwrap().meta.round, 1, "byte {position}");
            assert!(names[0].contains("000002-") && names[0].contains("truncated or altered"));
        }
    }

    #[test]
    fn one_that_does_not_fit_the_ledger_gives_way_to_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut saver = Saver::start(directory.path(), tempfile::tempfile().unwrap()).unwrap();
        for round in 1..=2 {
            let mut checkpoint = checkpoint(round);
            checkpoint.meta.ledger.bytes = 100 * round;
            saver.save(checkpoint).unwrap();
        }
        saver.finish().unwrap();
        let mut names = Vec::new();
        let found = Checkpoint::newest(directory.path(), &|place| place.bytes <= 100, &mut |why| names.push(why));
        assert_eq!(found.unwrap().unwrap().meta.round, 1);
        assert!(names[0].contains("000002-") && names[0].contains("no such line"));
    }

    #[test]
    fn a_run_without_checkpoints_has_none() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Checkpoint::newest(directory.path(), &|_| true, &mut |_| panic!()).unwrap(), None);
    }
}
