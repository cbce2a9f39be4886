//! The place of the bench: the binary, the dylibs, the cache, and a folder for runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fedpipe_data::{Cache, Deal, Dealt, Reading, Scheme, Source};
use tempfile::TempDir;

/// The place of one bench.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) binary: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    pub(crate) mlp: PathBuf,
    pub(crate) idle: PathBuf,
    /// A folder on the disk of the target directory, since runs are on a disk and not in memory.
    pub(crate) scratch: TempDir,
    cache: Cache,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_fedpipe"));
        let beside = binary.parent().context("the binary is in no folder")?;
        let target = beside.parent().context("the binary is in no target directory")?.to_owned();
        let (mlp, idle) = (dylib(beside, "libmlp.so")?, dylib(beside, "libidle.so")?);
        let scratch = tempfile::tempdir_in(&target)?;
        Ok(Self { mlp, idle, target, scratch, cache: Cache::user()?, binary })
    }

    /// Deals Fashion-MNIST to `clients`, iid, seed 0, as `fedpipe run` does by default.
    pub(crate) fn deal(&self, clients: u32) -> Result<Dealt> {
        let deal = Deal {
            source: Source::FashionMnist,
            reading: Reading::default(),
            scheme: Scheme::default(),
            clients,
            seed: 0,
            split_file: None,
        };
        Ok(fedpipe_data::deal(&deal, &self.cache, &mut |_| ())?)
    }

    /// Returns a copy of a partition file of images in which every 0 is a 1.
    pub(crate) fn without_zeros(&self, partition: &Path) -> Result<PathBuf> {
        let mut bytes = std::fs::read(partition)?;
        let file = safetensors::SafeTensors::deserialize(&bytes)?;
        // The images are the end of the file.
        let pixels = file.tensor("examples")?.data().len();
        let start = bytes.len() - pixels;
        bytes[start..].iter_mut().for_each(|pixel| *pixel += u8::from(*pixel == 0));
        let path = self.scratch.path().join("without-zeros.safetensors");
        std::fs::write(&path, bytes)?;
        Ok(path)
    }
}

/// Returns the dylib of a model, as `fedpipe run` finds it: beside the binary, or in `deps/`, where cargo puts those of
/// a bench.
fn dylib(beside: &Path, file: &str) -> Result<PathBuf> {
    let found = [beside.join(file), beside.join("deps").join(file)].into_iter().find(|path| path.is_file());
    found.with_context(|| format!("{file} is not built; `just bench` builds it"))
}
