//! Deals a dataset to the clients: writes one partition file for each client, and the test set, into the cache.

use std::path::PathBuf;

use crate::cache::{UsageLock, key};
use crate::dataset::{Dataset, DatasetTarget, Portion};
use crate::entry::{CacheEntry, Draft};
use crate::evict::evict;
use crate::holdout::{Holdout, SplitRows};
use crate::partition_file::FileMetadata;
use crate::{
    cache::Cache,
    counted::counted,
    data_step::DataStep,
    dataset::DatasetInfo,
    error::DataError,
    scheme::{
        Labelled, Scheme, SplitTable,
        feature_noise::{noise_key, noisy},
        partition,
    },
    source::{FoundSource, Reading, Source},
    standardisation::Standardisation,
};

/// The format of the cache's entries. A change of the files' format, a reader, a partitioner or the randomness
/// increases it, so that no old entry is used as a new one.
pub(crate) const FORMAT: u32 = 7;

/// The parameters of a deal.
#[derive(Clone, Debug, PartialEq)]
pub struct Deal {
    /// The dataset.
    pub source: Source,
    /// The choices that its files leave open.
    pub reading: Reading,
    /// The partition scheme of the training examples.
    pub scheme: Scheme,
    /// The number of clients.
    pub clients: u32,
    /// The seed of the partition.
    pub seed: u64,
    /// The rows and the clients that are kept out of training.
    pub holdout: Holdout,
    /// The place of the file of a split by hand, if it is not that of the scheme.
    pub split_file: Option<PathBuf>,
}

/// A deal, with the split by hand that its scheme names.
struct Plan<'d> {
    deal: &'d Deal,
    split: Option<SplitTable>,
}

impl<'d> Plan<'d> {
    fn new(deal: &'d Deal) -> Result<Self, DataError> {
        let Some(file) = deal.scheme.split_file() else { return Ok(Self { deal, split: None }) };
        let mut split = SplitTable::read(deal.split_file.as_deref().unwrap_or(&file.path))?;
        if file.is_pinned() && file.sha256 != split.sha256 {
            let SplitTable { path, sha256: found, .. } = split;
            return Err(DataError::SplitChanged { path, found, expected: file.sha256.to_owned() });
        }
        // A refused line is one of the user's file, also if the copy of a run was read.
        split.path = file.path.to_owned();
        Ok(Self { deal, split: Some(split) })
    }

    /// Returns the entry of the partitions, which depend on the dataset, the scheme, the number of clients and the
    /// seed, and on what is held out. The content of a split by hand stands for its scheme.
    fn entry(&self, sha256: &str, cache: &Cache) -> PathBuf {
        let Deal { scheme, clients, seed, reading, holdout, .. } = self.deal;
        let standardise = if reading.standardise { "standardised\n" } else { "" };
        let scheme = self.split.as_ref().map_or_else(|| scheme.to_string(), |split| format!("file {}", split.sha256));
        let mut text = format!(
            "format {FORMAT}\ndataset {sha256}\n{standardise}scheme {scheme}\nclients {clients}\nseed {seed}\n"
        );
        if reading.merges_test {
            text += "merged\n";
        }
        if !holdout.is_none() {
            text += &format!("holdout {} {}\n", holdout.rows, holdout.clients);
        }
        cache.partitions().join(key(&text))
    }

    /// Returns the rows of each client.
    fn rows(&self, dataset: &Dataset) -> Result<Vec<SplitRows>, DataError> {
        let Self { deal, split } = self;
        let column = deal.scheme.column().map(|name| dataset.column(name)).transpose()?;
        let labelled = labelled(dataset, column.as_deref(), split.as_ref());
        let parts = partition(&deal.scheme, &labelled, deal.clients, deal.seed)?;
        let new_clients = deal.holdout.new_clients(deal.seed, deal.clients);
        refuse_empty_holdout(&deal.holdout, &parts, &new_clients)?;
        let split = |(client, rows): (u32, Vec<u32>)| match new_clients.binary_search(&client) {
            Ok(_) => SplitRows { held_out: rows.len() as u64, rows },
            Err(_) => deal.holdout.split(&rows, deal.seed, client),
        };
        Ok((0..).zip(parts).map(split).collect())
    }
}

/// Returns the rows that clients train on, ascending.
fn training_rows(rows: &[SplitRows]) -> Vec<u32> {
    let mut all: Vec<u32> = rows.iter().flat_map(SplitRows::training).copied().collect();
    all.sort_unstable();
    all
}

/// A dataset that is dealt to the clients. Its files stay in the cache at least until this value is dropped.
#[derive(Debug)]
pub struct Dealt {
    /// The dataset.
    pub dataset: DatasetInfo,
    /// One file for each client, in client order; empty if the clients have their own partitions.
    pub partitions: Vec<PartitionFile>,
    /// The test set.
    pub test: PartitionFile,
    _in_use: Vec<UsageLock>,
}

impl Dealt {
    /// Returns the path of a client's partition file; empty if the client has its own partition.
    pub fn path_of(&self, client: u32) -> PathBuf {
        self.partition_of(client).map_or_else(PathBuf::new, |partition| partition.path.clone())
    }

    /// Returns the hash of a client's partition ([`PartitionFile::sha256`]); `None` if the client has its own
    /// partition.
    pub fn sha256_of(&self, client: u32) -> Option<String> {
        self.partition_of(client).map(|partition| partition.sha256.clone())
    }

    /// Returns the number of examples of each class, for each client; empty if the clients have their own partitions.
    pub fn label_counts(&self) -> Vec<Vec<u64>> {
        self.partitions.iter().map(|partition| partition.label_counts.clone()).collect()
    }

    /// Returns a sentence if the scheme leaves out training examples.
    pub fn left_out(&self) -> Option<String> {
        let all = self.dataset.train_examples;
        let dealt: u64 = self.partitions.iter().map(|partition| partition.examples + partition.held_out).sum();
        let is_empty = |class: &usize| self.partitions.iter().all(|partition| partition.label_counts[*class] == 0);
        let classes = self.dataset.target.class_count().unwrap_or(0) as usize;
        let classes = (0..classes).filter(is_empty).count();
        let of_classes = match classes {
            0 => String::new(),
            _ => format!("; no client has an example of {}", counted(classes as u64, "class")),
        };
        let (left, all_examples) = (all.saturating_sub(dealt), counted(all, "training example"));
        (!self.partitions.is_empty() && left > 0)
            .then(|| format!("the partition scheme leaves out {left} of {all_examples}{of_classes}"))
    }

    /// Returns the text of a digest file: a line `HASH  NAME` for each partition, in client order, and one for the test
    /// set.
    ///
    /// `HASH` is [`PartitionFile::sha256`]. `NAME` is the file's name, such as `000003.safetensors`. If the clients
    /// have their own partitions, the line of the test set is the only one.
    pub fn digests(&self) -> String {
        let line = |file: &PartitionFile| {
            let name = file.path.file_name().unwrap_or(file.path.as_os_str());
            format!("{}  {}\n", file.sha256, name.display())
        };
        self.partitions.iter().chain([&self.test]).map(line).collect()
    }

    fn partition_of(&self, client: u32) -> Option<&PartitionFile> {
        self.partitions.get(client as usize)
    }
}

/// A file that [`Partition::open`](crate::map::Partition::open) reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFile {
    /// The path, absolute if the path of the cache is.
    pub path: PathBuf,
    /// The number of training examples; of a test set, the number of all.
    pub examples: u64,
    /// The number of held-out examples, which follow those of training.
    pub held_out: u64,
    /// The number of examples of each class among the training examples.
    pub label_counts: Vec<u64>,
    /// The hash of the content, as [`Partition::sha256`](crate::map::Partition::sha256) returns it. It is computed
    /// while the file is written.
    pub sha256: String,
}

/// Deals a dataset to `deal.clients` clients.
///
/// If the cache has the same deal, only its list of files is read, and the files whose stamps have changed.
///
/// # Errors
/// The dataset cannot be found or read, the scheme does not fit it, or the cache cannot be written.
pub fn deal(deal: &Deal, cache: &Cache, progress: &mut dyn FnMut(DataStep)) -> Result<Dealt, DataError> {
    if deal.clients == 0 {
        return Err(DataError::NoClients);
    }
    deal.reading.check_own(deal.scheme.is_own())?;
    let plan = Plan::new(deal)?;
    let progress = &mut report_unlocked_once(progress);
    let portion = if deal.scheme.is_own() { Portion::Own } else { Portion::Whole };
    let found = FoundSource::find(&deal.source, &deal.reading, portion)?;
    let cached = found.cached_identity(cache);
    if let Some(sha256) = &cached
        && let Some(dealt) = look_up(&plan, &found, sha256, cache, progress)
    {
        return Ok(dealt);
    }
    // The dataset is loaded before the lock is taken, so that other runs can deal while this one downloads.
    let dataset = found.load(cache, progress)?;
    let dataset = if deal.reading.merges_test { dataset.merged() } else { dataset };
    // The cache may have the deal although the stamps of the dataset have changed, in a read-only cache for example.
    if cached.is_none()
        && let Some(dealt) = look_up(&plan, &found, &dataset.info.sha256, cache, progress)
    {
        return Ok(dealt);
    }
    let writing = cache.lock_partitions(progress)?;
    // Another run may have dealt the same in the meantime. Damaged files were already reported.
    if let Some(dealt) = look_up(&plan, &found, &dataset.info.sha256, cache, &mut |_| ()) {
        return Ok(dealt);
    }
    let rows = plan.rows(&dataset)?;
    let mut dataset = deal.reading.standardised(dataset, &training_rows(&rows));
    if let Some(clients) = dataset.train.clients.as_ref().filter(|_| deal.scheme.keeps_names()) {
        dataset.info.client_names = clients.names.clone();
    }
    let test = write_test(&dataset, deal.reading.merges_test, cache)?;
    let train = write_partitions(&plan, &dataset, &rows, cache, progress)?;
    evict(cache, &writing, progress)?;
    Ok(dealt(&found, Some(train), test))
}

/// Deals only the test set of `deal.source`, for a run whose clients have their own partitions. No other files are
/// needed.
///
/// # Errors
/// Returns the errors of [`deal()`].
pub fn deal_test_set(deal: &Deal, cache: &Cache, progress: &mut dyn FnMut(DataStep)) -> Result<Dealt, DataError> {
    deal.reading.check_own(deal.scheme.is_own())?;
    let progress = &mut report_unlocked_once(progress);
    let found = FoundSource::find(&deal.source, &deal.reading, Portion::Test)?;
    let cached = found.cached_identity(cache);
    if let Some(test) =
        cached.and_then(|sha256| CacheEntry::open(&test_dir(&sha256, None, false, cache), cache, progress))
    {
        return Ok(dealt(&found, None, test));
    }
    let dataset = found.load(cache, progress)?;
    let writing = cache.lock_partitions(progress)?;
    let test = write_test(&dataset, false, cache)?;
    evict(cache, &writing, progress)?;
    Ok(dealt(&found, None, test))
}

/// Returns a closure that passes on all steps, but [`DataStep::Unlocked`] only once, since the cache refuses every
/// lock.
fn report_unlocked_once(progress: &mut dyn FnMut(DataStep)) -> impl FnMut(DataStep) {
    let mut reported = false;
    move |step| {
        if !matches!(step, DataStep::Unlocked { .. }) || !std::mem::replace(&mut reported, true) {
            progress(step);
        }
    }
}

/// Returns the training rows for a partitioner.
fn labelled<'d>(dataset: &'d Dataset, column: Option<&'d [f64]>, split: Option<&'d SplitTable>) -> Labelled<'d> {
    let train = &dataset.train;
    let (classes, class_names) = match &dataset.info.target {
        DatasetTarget::Classes { classes, class_names } => (*classes, class_names.as_slice()),
        DatasetTarget::Real { .. } => (0, &[][..]),
    };
    let natural = train.clients.as_ref().map(|clients| clients.of_row.as_slice());
    Labelled { examples: train.len(), labels: train.labels(), classes, class_names, natural, column, split }
}

/// Returns the entry of the test set. It depends only on the dataset and the statistics that standardised it, so all
/// deals of a dataset share it.
///
/// A deal that merged the test set has one without examples.
fn test_dir(sha256: &str, by: Option<&Standardisation>, is_merged: bool, cache: &Cache) -> PathBuf {
    let by = by.map_or_else(String::new, |by| format!("standardised by {}\n", by.sha256()));
    let merged = if is_merged { "merged\n" } else { "" };
    cache.partitions().join(key(&format!("format {FORMAT}\ndataset {sha256}\n{by}{merged}test set\n")))
}

fn look_up(
    plan: &Plan<'_>,
    found: &FoundSource<'_>,
    sha256: &str,
    cache: &Cache,
    progress: &mut dyn FnMut(DataStep),
) -> Option<Dealt> {
    let train = CacheEntry::open(&plan.entry(sha256, cache), cache, progress)?;
    let by = train.dataset.standardisation.as_ref();
    let is_merged = plan.deal.reading.merges_test;
    let test = CacheEntry::open(&test_dir(sha256, by, is_merged, cache), cache, progress)?;
    Some(dealt(found, Some(train), test))
}

fn dealt(found: &FoundSource<'_>, train: Option<CacheEntry>, mut test: CacheEntry) -> Dealt {
    // The same content may have several names. The entry has the name of its first deal.
    let name = found.name().to_owned();
    let sample = matches!(found, FoundSource::Sample);
    let (dataset, partitions, train_in_use) = match train {
        Some(train) => (train.dataset, train.files, Some(train.in_use)),
        None => (test.dataset, Vec::new(), None),
    };
    Dealt {
        dataset: DatasetInfo { name, sample, ..dataset },
        partitions,
        test: test.files.swap_remove(0),
        _in_use: train_in_use.into_iter().chain([test.in_use]).collect(),
    }
}

fn write_test(dataset: &Dataset, is_merged: bool, cache: &Cache) -> Result<CacheEntry, DataError> {
    let dir = test_dir(&dataset.info.sha256, dataset.info.standardisation.as_ref(), is_merged, cache);
    if let Some(entry) = CacheEntry::open(&dir, cache, &mut |_| ()) {
        return Ok(entry);
    }
    let rows: Vec<u32> = (0..dataset.test.len() as u32).collect();
    let mut draft = Draft::new(&dataset.info, cache)?;
    let about = about(&dataset.info, "test".to_owned());
    draft.add("test.safetensors".to_owned(), &dataset.test, &rows, &about)?;
    draft.finish(&dir)
}

fn write_partitions(
    plan: &Plan<'_>,
    dataset: &Dataset,
    rows: &[SplitRows],
    cache: &Cache,
    progress: &mut dyn FnMut(DataStep),
) -> Result<CacheEntry, DataError> {
    let info = &dataset.info;
    let deal = plan.deal;
    let dir = plan.entry(&info.sha256, cache);
    if let Some(entry) = CacheEntry::open(&dir, cache, &mut |_| ()) {
        return Ok(entry);
    }
    let mut draft = Draft::new(info, cache)?;
    for (client, SplitRows { rows, held_out }) in (0..).zip(rows) {
        let about = FileMetadata { held_out: *held_out, ..about(info, client.to_string()) };
        let name = format!("{client:06}.safetensors");
        let deviation = deal.scheme.noise(client, deal.clients);
        if deviation > 0.0 {
            let noisy = noisy(&dataset.train, rows, deviation, &noise_key(deal.seed, client));
            draft.add(name, &noisy, &Vec::from_iter(0..rows.len() as u32), &about)?;
        } else {
            draft.add(name, &dataset.train, rows, &about)?;
        }
        progress(DataStep::Dealing { done: client + 1, clients: deal.clients });
    }
    draft.finish(&dir)
}

/// Returns the number of clients that the natural ones of a dataset decide, without dealing it.
///
/// # Errors
/// Returns the errors of [`deal()`], and one if the dataset has no natural clients.
pub fn natural_clients(deal: &Deal, cache: &Cache, progress: &mut dyn FnMut(DataStep)) -> Result<u32, DataError> {
    let found = FoundSource::find(&deal.source, &deal.reading, Portion::Whole)?;
    let cached = found.cached_identity(cache);
    let is_merged = deal.reading.merges_test;
    let test = cached.and_then(|sha256| CacheEntry::open(&test_dir(&sha256, None, is_merged, cache), cache, progress));
    let info = match test {
        Some(test) => test.dataset,
        None => {
            let dataset = found.load(cache, progress)?;
            if is_merged { dataset.merged().info } else { dataset.info }
        }
    };
    deal.scheme.client_count(info.natural_clients.ok_or(DataError::NoNaturalClients)?)
}

fn about(info: &DatasetInfo, client: String) -> FileMetadata<'_> {
    FileMetadata {
        dataset: &info.sha256,
        classes: info.target.class_count().map(|classes| classes.to_string()),
        client,
        held_out: 0,
    }
}

/// Refuses a share of the rows that holds out no row of any client.
fn refuse_empty_holdout(holdout: &Holdout, parts: &[Vec<u32>], new_clients: &[u32]) -> Result<(), DataError> {
    let training = (0..).zip(parts).filter(|(client, _)| new_clients.binary_search(client).is_err());
    let most = training.map(|(_, rows)| rows.len()).max().unwrap_or(0);
    if holdout.rows == 0.0 || holdout.count(most as u64) > 0 {
        return Ok(());
    }
    Err(DataError::NothingHeldOut { share: holdout.rows, most })
}

#[cfg(test)]
mod tests;
