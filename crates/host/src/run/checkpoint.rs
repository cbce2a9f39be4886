//! The state of a run after a round, in a file that is whole or absent: what a resume starts from.
//!
//! `checkpoint/NNNNNN-DIGEST.safetensors` holds the weights and the server optimiser's state as tensors, and the round with
//! its place in the ledger as JSON in the file's metadata. The name follows from the contents, so that a truncated or
//! altered file is found; the ledger has the hashes of the weights and the state. All else that a run's next round depends
//! on is derived from the ledger. The checkpoint before is kept. A thread writes and syncs while the next round trains: a
//! crash meanwhile costs that round's work, never its bits. Where the system gives no thread, the run's own writes before
//! the next round.

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

use crate::{
    disk::{read_regular, write_whole},
    run::{ledger::Position, summary::bytes_sha256},
    strategy::server::ServerState,
};

/// The folder's name in the run directory.
pub(crate) const FOLDER: &str = "checkpoint";

/// Checkpoints that are kept: the newest, and one to fall back to.
const KEPT: usize = 2;

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
    /// The end of that round's line in the ledger.
    pub(crate) ledger: Position,
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
        let bytes = |name, dtype| {
            let tensor = tensors.tensor(name)?;
            anyhow::ensure!(tensor.dtype() == dtype, "its tensor {name} has the type {}", tensor.dtype());
            Ok(tensor.data().to_vec())
        };
        let values = |name| bytes(name, Dtype::F32).map(|bytes| bytemuck::pod_collect_to_vec::<u8, f32>(&bytes));
        let program = bytes("server.program", Dtype::U8)?;
        let server = ServerState { m: values("server.m")?, v: values("server.v")?, program };
        Ok(Self { meta, weights: Arc::new(values("weights")?), server })
    }

    /// Writes the checkpoint and removes those that are no longer kept.
    fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let bytes = self.to_bytes()?;
        write_whole(&folder.join(name(self.meta.round, &bytes)), &bytes)?;
        let old = list(folder)?;
        old.iter().rev().skip(KEPT).try_for_each(fs::remove_file)?;
        Ok(())
    }

    /// The checkpoints in the run `directory`, the newest first, each with its path. One that is not whole, or does not
    /// `fit` the ledger, is the reason.
    ///
    /// # Errors
    /// Those of listing the folder; a run without a checkpoint has none.
    pub(crate) fn all<'f>(
        directory: &Path,
        fits: &'f dyn Fn(&Self) -> Result<(), String>,
    ) -> io::Result<impl Iterator<Item = (PathBuf, Result<Self, Refused>)> + use<'f>> {
        let paths = list(&directory.join(FOLDER))?;
        Ok(paths.into_iter().rev().map(move |path| {
            let checked = load(&path).and_then(|checkpoint| match fits(&checkpoint) {
                Ok(()) => Ok(checkpoint),
                Err(why) => Err(Refused::Unfit(why)),
            });
            (path, checked)
        }))
    }
}

/// The reason why a file is not taken for a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The file cannot be read now, and may be whole.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// The contents are no checkpoint of this run.
    #[error("{0}")]
    Unfit(String),
}

/// The name of the checkpoint of a round with these contents.
fn name(round: u64, contents: &[u8]) -> String {
    const DIGITS: usize = 16;
    format!("{round:06}-{}.safetensors", &bytes_sha256(contents)[..DIGITS])
}

fn load(path: &Path) -> Result<Checkpoint, Refused> {
    let bytes = read_regular(path).map_err(|error| Refused::Unreadable(error.to_string()))?;
    let parse = || {
        let altered = "it was truncated or altered, or its name was";
        let round = round_of(path).context(altered)?;
        // Before the contents are looked into: what was altered may be anything.
        anyhow::ensure!(path.file_name().is_some_and(|named| named == name(round, &bytes).as_str()), altered);
        let checkpoint = Checkpoint::from_bytes(&bytes)?;
        anyhow::ensure!(checkpoint.meta.round == round, "it says round {}", checkpoint.meta.round);
        Ok(checkpoint)
    };
    parse().map_err(|error: anyhow::Error| Refused::Unfit(format!("{error:#}")))
}

/// The round in the name of a checkpoint; none for a file that has another name.
fn round_of(path: &Path) -> Option<u64> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".safetensors")?;
    stem.split_once('-')?.0.parse().ok()
}

/// The checkpoints in `folder`, by round, oldest first. Files of other names are not this crate's.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| round_of(path).is_some());
    paths.sort_by_key(|path| (round_of(path), path.clone()));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(round: u64) -> Checkpoint {
        let meta = Meta { round, ledger: Position::default() };
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

    type Found = (PathBuf, Result<Checkpoint, Refused>);

    fn all(directory: &tempfile::TempDir) -> Vec<Found> {
        Checkpoint::all(directory.path(), &|_| Ok(())).unwrap().collect()
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
            assert_eq!(all(&directory)[0].1, Ok(checkpoint(round)));
        }
        fs::remove_dir_all(directory.path().join(FOLDER)).unwrap();
        assert!(saver.save(checkpoint(4)).unwrap_err().to_string().starts_with("cannot write a checkpoint to "));
        saver.finish().unwrap();
    }

    #[test]
    fn the_newest_is_read_back_to_the_bit_and_one_more_is_kept() {
        let found: Vec<Checkpoint> = all(&saved(5)).into_iter().map(|(_, checkpoint)| checkpoint.unwrap()).collect();
        assert_eq!(found, [checkpoint(5), checkpoint(4)]);
        assert_eq!(found.len(), KEPT);
    }

    #[test]
    fn an_altered_one_is_refused_at_every_byte() {
        let directory = saved(2);
        let newest = list(&directory.path().join(FOLDER)).unwrap().pop().unwrap();
        let whole = fs::read(&newest).unwrap();
        for position in 0..whole.len() {
            let mut altered = whole.clone();
            altered[position] ^= 1;
            fs::write(&newest, altered).unwrap();
            let found = all(&directory);
            let why = found[0].1.as_ref().unwrap_err().to_string();
            assert!(why.contains("truncated or altered"), "byte {position}: {why}");
            assert_eq!(found[1].1.as_ref().unwrap().meta.round, 1);
        }
    }

    #[test]
    fn one_under_another_name_is_refused() {
        let directory = saved(2);
        let folder = directory.path().join(FOLDER);
        let newest = list(&folder).unwrap().pop().unwrap();
        let whole = newest.file_name().unwrap().to_str().unwrap().to_owned();
        let digest = &whole[7..];
        for name in ["000002-.safetensors", &whole[..9], &format!("000003-{digest}"), &format!("2-{digest}")] {
            let name = if name.ends_with(".safetensors") { name.to_owned() } else { format!("{name}.safetensors") };
            let renamed = folder.join(&name);
            fs::rename(&newest, &renamed).unwrap();
            let refused = all(&directory).into_iter().find(|(path, _)| *path == renamed).unwrap().1;
            let why = refused.unwrap_err().to_string();
            assert!(why.contains("altered") || why == "it says round 2", "{name}: {why}");
            fs::rename(&renamed, &newest).unwrap();
        }
    }

    #[test]
    fn one_of_another_round_or_type_is_refused_although_its_name_fits() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join(FOLDER);
        fs::create_dir(&folder).unwrap();
        let write = |round: u64, bytes: &[u8]| fs::write(folder.join(name(round, bytes)), bytes).unwrap();
        write(7, &checkpoint(3).to_bytes().unwrap());
        let mut bytes = checkpoint(2).to_bytes().unwrap();
        for start in 0..bytes.len() - 4 {
            if bytes[start..].starts_with(b"\"F32\"") {
                bytes[start + 1] = b'I';
            }
        }
        write(2, &bytes);
        let reasons: Vec<String> =
            all(&directory).into_iter().map(|(_, refused)| refused.unwrap_err().to_string()).collect();
        assert_eq!(reasons, ["it says round 3", "its tensor server.m has the type I32"]);
    }

    #[test]
    fn one_that_does_not_fit_the_ledger_is_refused() {
        let directory = saved(2);
        let fits = |checkpoint: &Checkpoint| {
            if checkpoint.meta.round == 1 { Ok(()) } else { Err("the ledger has no such line".into()) }
        };
        let found: Vec<Found> = Checkpoint::all(directory.path(), &fits).unwrap().collect();
        assert_eq!(found[0].1, Err(Refused::Unfit("the ledger has no such line".into())));
        assert_eq!(found[1].1, Ok(checkpoint(1)));
    }

    #[test]
    fn other_files_and_rounds_of_any_length_lose_no_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let mut saver = Saver::start(directory.path(), tempfile::tempfile().unwrap()).unwrap();
        for name in ["a.safetensors", "mine.safetensors", "zz-top.safetensors", "000009.safetensors"] {
            fs::write(directory.path().join(FOLDER).join(name), "").unwrap();
        }
        (999_998..=1_000_001).for_each(|round| saver.save(checkpoint(round)).unwrap());
        saver.finish().unwrap();
        let rounds: Vec<u64> = all(&directory).into_iter().map(|(_, found)| found.unwrap().meta.round).collect();
        assert_eq!(rounds, [1_000_001, 1_000_000]);
        assert_eq!(fs::read_dir(directory.path().join(FOLDER)).unwrap().count(), KEPT + 4);
    }

    #[test]
    fn a_run_without_checkpoints_has_none() {
        assert!(all(&tempfile::tempdir().unwrap()).is_empty());
    }
}
