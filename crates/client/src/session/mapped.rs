//! The data of a session: mapped partition files, as the model reads them.

use std::path::{Path, PathBuf};

use abi_stable::std_types::RSlice;
use fedpipe_data::{Partition, PartitionTargets, Pixels};
use fedpipe_model::abi::AbiExamples;
use fedpipe_protocol::{FailureKind, Target, Task};

use crate::session::{Failure, protocol};

/// A mapped partition file. Its contents are checked before their first use.
pub(super) struct MappedPartition {
    pub(super) partition: Partition,
    /// The path and the expected hash of the file, until the check.
    unchecked: Option<(PathBuf, String)>,
}

impl MappedPartition {
    pub(super) fn open(path: &Path, sha256: &Option<String>, task: &Task) -> Result<Self, Failure> {
        let unchecked = sha256.clone().map(|sha256| (path.to_owned(), sha256));
        Ok(Self { partition: open(path, task)?, unchecked })
    }

    /// Returns the partition after checking that its contents have the expected hash.
    pub(super) fn checked(&mut self) -> Result<&Partition, Failure> {
        if let Some((path, sha256)) = &self.unchecked {
            self.partition.check_sha256(sha256, path).map_err(Failure::data)?;
            self.unchecked = None;
        }
        Ok(&self.partition)
    }
}

/// Returns the partition of a client that this process holds, after its first check.
pub(super) fn checked(partitions: &mut [(u32, MappedPartition)], client: u32) -> Result<&Partition, Failure> {
    let held = partitions.iter_mut().find(|(held, _)| *held == client);
    let missing = || protocol(format!("this client does not hold the partition of client {client}"));
    held.ok_or_else(missing)?.1.checked()
}

/// Maps a partition file and checks that it fits the task, since a file of the client's own may have any content.
fn open(path: &Path, task: &Task) -> Result<Partition, Failure> {
    let partition = Partition::open(path).map_err(Failure::data)?;
    check_targets(&partition, task.target, path)?;
    if partition.shape() == task.shape {
        return Ok(partition);
    }
    let shape = partition.shape();
    let message = format!("{} has examples of shape {shape:?}, the task says {:?}", path.display(), task.shape);
    Err(Failure::new(FailureKind::Data, message))
}

/// Checks that the targets are of the task's kind: labels below the number of classes, or finite numbers.
fn check_targets(partition: &Partition, target: Target, path: &Path) -> Result<(), Failure> {
    let refuse = |why: String| Err(Failure::new(FailureKind::Data, format!("{} has {why}", path.display())));
    match (target, partition.targets()) {
        (Target::Classes(classes), PartitionTargets::Classes(_)) => {
            partition.check_labels(classes as u32, path).map_err(Failure::data)
        }
        (Target::Classes(_), PartitionTargets::Real(_)) => refuse("real targets, the task says classes".into()),
        (Target::Real, PartitionTargets::Classes(_)) => refuse("labels, the task says a real target".into()),
        (Target::Real, PartitionTargets::Real(targets)) => match targets.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(row) => {
                refuse(format!("the target {} at row {row}, only finite numbers can be learned", targets[row]))
            }
        },
    }
}

pub(super) fn examples<'a>(partition: &'a Partition, order: &'a [u32]) -> AbiExamples<'a> {
    let (is_bytes, bytes, floats): (_, &[u8], &[f32]) = match partition.pixels() {
        Pixels::U8(pixels) => (true, pixels, &[]),
        Pixels::F32(values) => (false, &[], values),
    };
    let (labels, targets): (&[u32], &[f32]) = match partition.targets() {
        PartitionTargets::Classes(labels) => (labels, &[]),
        PartitionTargets::Real(targets) => (&[], targets),
    };
    AbiExamples {
        is_bytes,
        bytes: RSlice::from_slice(bytes),
        floats: RSlice::from_slice(floats),
        row_len: partition.shape().iter().product::<usize>() as u64,
        labels: RSlice::from_slice(labels),
        targets: RSlice::from_slice(targets),
        order: RSlice::from_slice(order),
    }
}

/// Returns the examples with other labels, unless there are none.
pub(super) fn relabelled<'a>(examples: AbiExamples<'a>, labels: &'a [u32]) -> AbiExamples<'a> {
    if labels.is_empty() { examples } else { AbiExamples { labels: RSlice::from_slice(labels), ..examples } }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the contents of a partition file of two examples with one value each; `name` is the tensor of `targets`.
    fn file(name: &str, dtype: &str, targets: [[u8; 4]; 2]) -> Vec<u8> {
        let header = format!(
            r#"{{"{name}":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,8]}},"examples":{{"dtype":"U8","shape":[2,1],"data_offsets":[8,10]}}}}"#
        );
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &targets.concat(), &[1, 2]].concat()
    }

    #[test]
    fn targets_are_of_the_tasks_kind_and_finite() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let refusal = |contents: Vec<u8>, target| {
            std::fs::write(&path, contents).unwrap();
            let opened = open(&path, &Task { shape: vec![1], target });
            opened.err().map(|Failure { kind, message }| (kind, message.split_once(" has ").unwrap().1.to_owned()))
        };
        let labels = || file("labels", "U32", [1_u32, 0].map(u32::to_le_bytes));
        let real = |second: f32| file("targets", "F32", [0.5, second].map(f32::to_le_bytes));
        let data = |why: &str| Some((FailureKind::Data, why.to_owned()));
        assert_eq!(refusal(labels(), Target::Classes(2)), None);
        assert_eq!(refusal(real(-3.5), Target::Real), None);
        assert_eq!(refusal(labels(), Target::Real), data("labels, the task says a real target"));
        assert_eq!(refusal(real(-3.5), Target::Classes(2)), data("real targets, the task says classes"));
        let infinite = "the target inf at row 1, only finite numbers can be learned";
        assert_eq!(refusal(real(f32::INFINITY), Target::Real), data(infinite));
    }

    #[test]
    fn a_model_is_lent_real_targets_or_labels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let lent = |contents: Vec<u8>, target| {
            std::fs::write(&path, contents).unwrap();
            let partition = open(&path, &Task { shape: vec![1], target }).unwrap();
            let examples = examples(&partition, &[0]);
            (examples.labels.to_vec(), examples.targets.to_vec())
        };
        let labels = file("labels", "U32", [1_u32, 0].map(u32::to_le_bytes));
        assert_eq!(lent(labels, Target::Classes(2)), (vec![1, 0], vec![]));
        let real = file("targets", "F32", [0.5_f32, -3.5].map(f32::to_le_bytes));
        assert_eq!(lent(real, Target::Real), (vec![], vec![0.5, -3.5]));
    }
}
