//! Datasets, and pure partitioners from labels and a seed; writes one file a client.
//!
//! [`deal()`] is the way in: it finds a dataset, cuts it among the clients and leaves one safetensors file for each in
//! the cache, so that a client maps its own file and nothing else. [`partition()`] is the pure part: labels and a seed
//! in, row indices out. [`Key`] is where all randomness of a run comes from.
//!
//! What is absent, on purpose: this crate starts no client, knows no model, strategy or round, prints nothing (progress
//! goes to the caller's closure), and its partitioners know no clock, thread or file.

mod cache;
mod checksum;
mod counted;
mod dataset;
mod deal;
mod directory;
mod entry;
mod error;
mod evict;
mod fetch;
mod file_cause;
mod idx;
mod map;
mod partition;
mod partition_file;
mod piece;
mod progress;
mod random;
mod refusal;
mod sample;
mod source;
mod spread;
#[cfg(test)]
mod testing;

pub use cache::{Cache, InUse};
pub use counted::counted;
pub use dataset::DatasetInfo;
pub use deal::{Deal, Dealt, PartitionFile, deal, deal_test_set};
pub use directory::is_dataset_file;
pub use entry::is_manifest;
pub use error::DataError;
pub use fetch::fetch_fashion_mnist;
pub use file_cause::FileCause;
pub use map::{Partition, Pixels};
pub use partition::{Scheme, partition};
pub use piece::Piece;
pub use progress::Progress;
pub use rand_chacha::ChaCha8Rng;
pub use random::{Key, Use, below, order, shuffle};
pub use refusal::{refusal, sync_folder};
pub use source::Source;
pub use spread::spread;
