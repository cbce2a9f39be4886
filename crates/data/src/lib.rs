//! Datasets and partitioners: deals a dataset to the clients, one file a client.
//!
//! [`deal()`] is the main function: it finds a dataset, partitions it and writes one safetensors file for each client
//! into the cache. A client maps only its own file. [`partition()`] is the pure part: it turns labels and a seed into
//! row indices.
//!
//! This crate starts no client, knows no model, strategy or round, and prints nothing (steps go to the caller's
//! closure). Its partitioners use no clock, thread or file.

mod cache;
mod checksum;
mod counted;
mod data_step;
mod dataset;
mod deal;
mod entry;
mod error;
mod evict;
mod fetch;
mod file_cause;
mod holdout;
mod map;
mod partition_file;
mod refusal;
mod remarks;
mod scheme;
mod source;
mod split;
mod spread;
mod standardisation;
#[cfg(test)]
mod testing;

pub use cache::{Cache, UsageLock};
pub use checksum::pieces_sha256;
pub use counted::counted;
pub use data_step::DataStep;
pub use dataset::{DatasetInfo, DatasetTarget, FeatureType, Gap};
pub use deal::{Deal, Dealt, PartitionFile, deal, deal_test_set, natural_clients};
pub use entry::is_manifest;
pub use error::DataError;
pub use fetch::{fetch_fashion_mnist, has_fashion_mnist};
pub use file_cause::FileCause;
pub use holdout::Holdout;
pub use map::{Partition, PartitionTargets, Pixels};
pub use refusal::{folder_of, persist, refusal, sync_folder};
pub use scheme::{Labelled, Partitioner, Scheme, SplitTable, partition, pin_split};
pub use source::{
    Entry, Generated, Generator, ImageSize, Reader, Reading, Source, TargetKind, TestSplit, TestSplitRule, generators,
    is_dataset_file, readers, write_inputs, write_scored,
};
pub use spread::spread;
pub use standardisation::Standardisation;
