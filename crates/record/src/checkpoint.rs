//! Checkpoints: the state of a run after a round, from which a resume continues. The file is whole or absent.
//!
//! `checkpoint/NNNNNN-DIGEST.safetensors` holds the weights and the server's state as tensors, and under a schedule in
//! virtual time the earlier weights with which clients are at work. Its metadata holds the round, and the end of the
//! round's line in the ledger, as JSON. DIGEST is a hash of the contents, so that a truncated or altered file is
//! recognised. The ledger has the hashes of the weights and of the state, and everything else that the next round
//! depends on.
//!
//! The newest checkpoint and the one before are kept. A thread writes and syncs a checkpoint while the next round
//! trains. A crash of the host in that time costs the work of that round, and changes no bit. If the system starts no
//! thread, the run's own thread writes the checkpoint before the next round.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use fedpipe_strategy::slots::{Slot, Slots};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{client_state::ClientFile, digest::bytes_sha256, file::read_regular, line::Position, names::CHECKPOINTS};

/// The state that a run's next round depends on, besides the experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub meta: Meta,
    pub weights: Arc<Vec<f32>>,
    pub server: Slots,
    /// The earlier weights with which clients are at work in virtual time, by the round that made them.
    pub versions: BTreeMap<u64, Arc<Vec<f32>>>,
}

/// The part of a checkpoint that is not stored as tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// The last whole round.
    pub round: u64,
    /// The end of that round's line in the ledger.
    pub ledger: Position,
    /// The state of each client that has one, by client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientFile>,
}

impl Checkpoint {
    /// Returns the contents of the checkpoint's file.
    ///
    /// # Errors
    /// Returns an error of serialising, which no checkpoint causes.
    pub fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let weights = Slot::F32(Arc::clone(&self.weights));
        let server = self.server.iter().map(|(name, slot)| Ok((format!("{SERVER}{name}"), view(slot)?)));
        let mut views = server.collect::<anyhow::Result<Vec<_>>>()?;
        let versions: Vec<_> =
            self.versions.iter().map(|(version, weights)| (version, Slot::F32(Arc::clone(weights)))).collect();
        for (version, weights) in &versions {
            views.push((format!("{VERSION}{version}"), view(weights)?));
        }
        views.push(("weights".into(), view(&weights)?));
        let metadata = HashMap::from([("state".to_owned(), serde_json::to_string(&self.meta)?)]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    fn from_bytes(bytes: &[u8]) -> anyhow::Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let state = header.metadata().as_ref().and_then(|metadata| metadata.get("state"));
        let meta = serde_json::from_str(state.context("it has no state")?)?;
        let tensors = SafeTensors::deserialize(bytes)?;
        let weights = vector("weights", &tensors.tensor("weights")?)?;
        let mut versions = BTreeMap::new();
        for (name, tensor) in tensors.iter() {
            if let Some(version) = name.strip_prefix(VERSION) {
                versions.insert(version.parse()?, vector(name, &tensor)?);
            }
        }
        let server = tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(SERVER)?.to_owned(), tensor)));
        let server = server.map(|(name, tensor)| Ok((name, slot(&tensor)?))).collect::<anyhow::Result<Slots>>()?;
        Ok(Self { meta, weights, server, versions })
    }

    /// Returns the checkpoints in the run `directory`, the newest first, each with its path. In the place of a file
    /// that is not whole, or that `fits` refuses, stands the reason.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read. A run without a checkpoint has an empty list.
    pub fn all<'f>(
        directory: &Path,
        fits: &'f dyn Fn(&Self) -> Result<(), String>,
    ) -> io::Result<impl Iterator<Item = (PathBuf, Result<Self, Refused>)> + use<'f>> {
        let paths = list(&directory.join(CHECKPOINTS))?;
        Ok(paths.into_iter().rev().map(move |path| {
            let checked = load(&path).and_then(|checkpoint| match fits(&checkpoint) {
                Ok(()) => Ok(checkpoint),
                Err(why) => Err(Refused::Unfit(why)),
            });
            (path, checked)
        }))
    }
}

/// The prefix of the names of the server's slots.
const SERVER: &str = "server.";

/// The prefix of the names of earlier weights.
const VERSION: &str = "version.";

/// Returns the weights that a tensor holds.
fn vector(name: &str, tensor: &TensorView<'_>) -> anyhow::Result<Arc<Vec<f32>>> {
    match slot(tensor)? {
        Slot::F32(weights) => Ok(weights),
        Slot::Bytes(_) => anyhow::bail!("its tensor {name} has the type U8"),
    }
}

/// Returns a slot as a tensor.
pub(crate) fn view(slot: &Slot) -> anyhow::Result<TensorView<'_>> {
    let (dtype, length) = match slot {
        Slot::F32(values) => (Dtype::F32, values.len()),
        Slot::Bytes(bytes) => (Dtype::U8, bytes.len()),
    };
    Ok(TensorView::new(dtype, vec![length], slot.bytes())?)
}

/// Returns the slot that a tensor holds.
pub(crate) fn slot(tensor: &TensorView<'_>) -> anyhow::Result<Slot> {
    match tensor.dtype() {
        Dtype::F32 => Ok(Slot::F32(Arc::new(bytemuck::pod_collect_to_vec(tensor.data())))),
        Dtype::U8 => Ok(Slot::Bytes(Arc::new(tensor.data().to_vec()))),
        other => anyhow::bail!("a tensor has the type {other}"),
    }
}

/// The reason why a file is not taken for a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The file could not be read, and may be whole.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// The contents are not a checkpoint of this run.
    #[error("{0}")]
    Unfit(String),
}

/// Returns the file name of the checkpoint of a round with these contents.
pub fn name(round: u64, contents: &[u8]) -> String {
    const DIGITS: usize = 16;
    format!("{round:06}-{}.safetensors", &bytes_sha256(contents)[..DIGITS])
}

fn load(path: &Path) -> Result<Checkpoint, Refused> {
    let bytes = read_regular(path).map_err(|error| Refused::Unreadable(error.to_string()))?;
    let parse = || {
        let altered = "it was truncated or altered, or another name was given to it";
        let round = round_of(path).context(altered)?;
        // The name is checked before the contents are parsed, since altered contents may be anything.
        anyhow::ensure!(path.file_name().is_some_and(|named| named == name(round, &bytes).as_str()), altered);
        let checkpoint = Checkpoint::from_bytes(&bytes)?;
        anyhow::ensure!(checkpoint.meta.round == round, "its contents are of round {}", checkpoint.meta.round);
        Ok(checkpoint)
    };
    parse().map_err(|error: anyhow::Error| Refused::Unfit(format!("{error:#}")))
}

/// Returns the round in the name of a checkpoint; none for a file that has another kind of name.
fn round_of(path: &Path) -> Option<u64> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".safetensors")?;
    stem.split_once('-')?.0.parse().ok()
}

/// Returns the paths of the checkpoints in `folder`, the oldest first, without files that have another kind of name.
///
/// # Errors
/// Returns an error if the folder cannot be read. A missing folder has an empty list.
pub fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| round_of(path).is_some());
    paths.sort_by_key(|path| (round_of(path), path.clone()));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(round: u64) -> Checkpoint {
        let meta = Meta { round, ledger: Position::default(), clients: Vec::new() };
        let m = Slot::F32(Arc::new(vec![0.1, f32::MIN_POSITIVE]));
        let server = Slots::from_iter([("m", m), ("program", Slot::Bytes(Arc::new(vec![7; 3])))]);
        let versions = BTreeMap::from([(round.saturating_sub(1), Arc::new(vec![0.25, -1.0]))]);
        Checkpoint { meta, weights: Arc::new(vec![round as f32, -0.0]), server, versions }
    }

    /// Writes the checkpoints of the rounds 1 to `rounds`.
    fn saved(rounds: u64) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join(CHECKPOINTS);
        fs::create_dir(&folder).unwrap();
        for round in 1..=rounds {
            let bytes = checkpoint(round).to_bytes().unwrap();
            fs::write(folder.join(name(round, &bytes)), bytes).unwrap();
        }
        directory
    }

    type Found = (PathBuf, Result<Checkpoint, Refused>);

    fn all(directory: &tempfile::TempDir) -> Vec<Found> {
        Checkpoint::all(directory.path(), &|_| Ok(())).unwrap().collect()
    }

    #[test]
    fn an_altered_one_is_refused_at_every_byte() {
        let directory = saved(2);
        let newest = list(&directory.path().join(CHECKPOINTS)).unwrap().pop().unwrap();
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
        let folder = directory.path().join(CHECKPOINTS);
        let newest = list(&folder).unwrap().pop().unwrap();
        let whole = newest.file_name().unwrap().to_str().unwrap().to_owned();
        let digest = &whole[7..];
        for name in ["000002-.safetensors", &whole[..9], &format!("000003-{digest}"), &format!("2-{digest}")] {
            let name = if name.ends_with(".safetensors") { name.to_owned() } else { format!("{name}.safetensors") };
            let renamed = folder.join(&name);
            fs::rename(&newest, &renamed).unwrap();
            let refused = all(&directory).into_iter().find(|(path, _)| *path == renamed).unwrap().1;
            let why = refused.unwrap_err().to_string();
            assert!(why.contains("altered") || why == "its contents are of round 2", "{name}: {why}");
            fs::rename(&renamed, &newest).unwrap();
        }
    }

    #[test]
    fn one_of_another_round_or_type_is_refused_although_its_name_fits() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join(CHECKPOINTS);
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
        assert_eq!(reasons, ["its contents are of round 3", "a tensor has the type I32"]);
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
    fn a_run_without_checkpoints_has_none() {
        assert!(all(&tempfile::tempdir().unwrap()).is_empty());
    }
}
