//! The reader of ready partitions: a directory with a safetensors file for each client, and `test.safetensors`.
//!
//! The clients are the natural ones of the rows, so that `--partition natural` gives each client its file again.

use std::fs;
use std::path::{Path, PathBuf};

use super::array::{self, natural_clients};
use super::class_names::ClassNames;
use super::reading::TargetKind;
use super::splits::FoundSplits;
use super::{ReadRequest, Reader};
use crate::dataset::ReadSplits;
use crate::error::DataError;
use crate::map::{Partition, PartitionTargets, Pixels};
use crate::split::{Split, SplitFeatures, SplitTargets};

pub(super) const READER: Reader = Reader {
    name: "partitions",
    files: "a directory with a safetensors file for each client and test.safetensors, as fedpipe.write_dataset writes them; \
            see --partition files",
    takes: &["--test-split"],
    find,
    read,
};

const ENDING: &str = "safetensors";

fn find(request: &ReadRequest<'_>) -> Result<Option<Vec<PathBuf>>, DataError> {
    let entries = fs::read_dir(&request.place).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let has_ending = |path: &PathBuf| path.extension().is_some_and(|end| end == ENDING);
    let mut paths: Vec<PathBuf> = entries.filter(|path| has_ending(path) && !is_hidden(path)).collect();
    paths.sort();
    Ok((!paths.is_empty()).then_some(paths))
}

fn read(request: &ReadRequest<'_>, paths: &[PathBuf]) -> Result<ReadSplits, DataError> {
    let is_test = |path: &&PathBuf| path.file_stem().is_some_and(|stem| stem == "test");
    let (test, clients): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(is_test);
    let mut whole: Option<Split> = None;
    let mut names = Vec::new();
    for path in clients {
        let split = read_file(path, request.reading.target)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        names.extend(std::iter::repeat_n(name, split.len()));
        whole = Some(match whole {
            None => split,
            Some(whole) => joined(whole, split, path)?,
        });
    }
    let first = whole.map(|whole| Split { clients: Some(natural_clients(names)), ..whole });
    let test = test.first().map(|path| read_file(path, request.reading.target)).transpose()?;
    let test_files = [request.place.clone(), request.place.clone()];
    let class_names = ClassNames::default();
    FoundSplits { first, test, class_names, feature_names: Vec::new(), test_files }.finish(request)
}

/// Reads one file, whose targets are of the kind.
fn read_file(path: &Path, kind: TargetKind) -> Result<Split, DataError> {
    let partition = Partition::open(path)?;
    let refused = |reason: &str| DataError::NotAPartition { path: path.to_owned(), reason: reason.to_owned() };
    let targets = match (partition.targets(), kind) {
        (PartitionTargets::Classes(labels), TargetKind::Classes) => {
            array::targets(labels.iter().map(|&label| label.into()).collect(), kind, path)?
        }
        (PartitionTargets::Real(values), TargetKind::Real) => {
            array::targets(values.iter().map(|&value| value.into()).collect(), kind, path)?
        }
        (PartitionTargets::Classes(_), TargetKind::Real) => return Err(refused("it has `labels`, not `targets`")),
        (PartitionTargets::Real(_), TargetKind::Classes) => {
            return Err(refused("it has `targets`; give --target real"));
        }
    };
    let features = match partition.pixels() {
        Pixels::U8(bytes) => SplitFeatures::U8(bytes.to_vec()),
        Pixels::F32(values) => {
            let columns = partition.shape().iter().product();
            array::finite(values.to_vec(), columns, path)?
        }
    };
    Ok(Split { shape: partition.shape().to_vec(), features, targets, clients: None })
}

/// Adds the rows of the next client's file.
fn joined(mut whole: Split, next: Split, path: &Path) -> Result<Split, DataError> {
    let refused = |reason: String| DataError::NotAPartition { path: path.to_owned(), reason };
    if whole.shape != next.shape {
        let reason = format!("its examples have the shape {:?} and those before {:?}", next.shape, whole.shape);
        return Err(refused(reason));
    }
    match (&mut whole.features, next.features) {
        (SplitFeatures::U8(all), SplitFeatures::U8(more)) => all.extend(more),
        (SplitFeatures::F32(all), SplitFeatures::F32(more)) => all.extend(more),
        _ => return Err(refused("its examples have another type than those before".to_owned())),
    }
    match (&mut whole.targets, next.targets) {
        (SplitTargets::Classes(all), SplitTargets::Classes(more)) => all.extend(more),
        (SplitTargets::Real(all), SplitTargets::Real(more)) => all.extend(more),
        _ => return Err(refused("its targets have another type than those before".to_owned())),
    }
    Ok(whole)
}
