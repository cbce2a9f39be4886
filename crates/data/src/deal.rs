//! Deals a dataset out: one partition file a client, and the test set, kept in the cache.

use std::path::PathBuf;

use crate::cache::{InUse, key};
use crate::dataset::{Dataset, FILES, Wanted};
use crate::directory::{self, Directory};
use crate::entry::{Draft, Entry};
use crate::evict::evict;
use crate::partition_file::About;
use crate::{Cache, DataError, DatasetInfo, Progress, Scheme, Source, fetch, partition, sample};

/// Counts up when the files' format, a partitioner or the randomness changes, so that no old entry is taken for a new
/// one.
const FORMAT: u32 = 3;

/// What to deal, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Deal {
    /// The dataset.
    pub source: Source,
    /// How the training examples are cut.
    pub scheme: Scheme,
    /// Among how many clients.
    pub clients: u32,
    /// The run's seed.
    pub seed: u64,
}

/// A dataset, dealt. Its files stay in the cache at least as long as this value lives.
#[derive(Debug)]
pub struct Dealt {
    /// The dataset.
    pub dataset: DatasetInfo,
    /// One file a client, in client order; none where the clients have partitions of their own.
    pub partitions: Vec<PartitionFile>,
    /// The test set.
    pub test: PartitionFile,
    _in_use: Vec<InUse>,
}

impl Dealt {
    /// The partition file of a client; empty where it has one of its own.
    pub fn path_of(&self, client: u32) -> PathBuf {
        self.partition_of(client).map_or_else(PathBuf::new, |partition| partition.path.clone())
    }

    /// The hash of a client's partition ([`PartitionFile::sha256`]); none where the client has a partition of its own.
    pub fn sha256_of(&self, client: u32) -> Option<String> {
        self.partition_of(client).map(|partition| partition.sha256.clone())
    }

    /// The text of a digest file: a line `HASH  NAME` for each partition, in client order, and a last one for the test set.
    ///
    /// `HASH` is [`PartitionFile::sha256`], `NAME` the file's name, such as `000003.safetensors`. Where the clients have
    /// partitions of their own, the test set's line is the only one.
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

/// A file that [`Partition::open`](crate::Partition::open) reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFile {
    /// Where it is, absolute if the cache's directory is.
    pub path: PathBuf,
    /// How many examples it holds.
    pub examples: u64,
    /// The hash of its content, as [`Partition::sha256`](crate::Partition::sha256) returns it; computed while the file was
    /// written.
    pub sha256: String,
}

/// Deals a dataset out to `deal.clients` clients; where the same was dealt before, nothing is read but a list of files, and
/// those files whose stamps have changed since.
///
/// # Errors
/// Whatever keeps the dataset from being found or read, the scheme from being carried out, or the cache from being
/// written.
pub fn deal(deal: &Deal, cache: &Cache, progress: &mut dyn FnMut(Progress)) -> Result<Dealt, DataError> {
    if deal.clients == 0 {
        return Err(DataError::NoClients);
    }
    let progress = &mut telling_once(progress);
    deal.scheme.check()?;
    let wanted = if deal.scheme == Scheme::Own { Wanted::Own } else { Wanted::Whole };
    let subject = Subject::find(&deal.source, wanted)?;
    let remembered = subject.remembered(cache);
    if let Some(sha256) = &remembered
        && let Some(dealt) = look_up(deal, &subject, sha256, cache, progress)
    {
        return Ok(dealt);
    }
    // Before the lock is taken, so that others may deal other datasets while this one is downloading.
    let dataset = subject.load(cache, progress)?;
    // A cache that is read-only may have what was dealt of a dataset whose stamps alone have changed.
    if remembered.is_none()
        && let Some(dealt) = look_up(deal, &subject, &dataset.info.sha256, cache, progress)
    {
        return Ok(dealt);
    }
    let writing = cache.lock_partitions(progress)?;
    // Another run may have dealt the same meanwhile; what it found damaged was already told.
    if let Some(dealt) = look_up(deal, &subject, &dataset.info.sha256, cache, &mut |_| ()) {
        return Ok(dealt);
    }
    let test = write_test(&dataset, cache)?;
    let train = write_partitions(deal, &dataset, cache, progress)?;
    evict(cache, &writing, progress)?;
    Ok(dealt(&subject, Some(train), test))
}

/// The test set of a dataset alone, for a run whose clients have partitions of their own; a directory needs no other files.
///
/// # Errors
/// As for [`deal()`].
pub fn deal_test_set(source: &Source, cache: &Cache, progress: &mut dyn FnMut(Progress)) -> Result<Dealt, DataError> {
    let progress = &mut telling_once(progress);
    let subject = Subject::find(source, Wanted::Test)?;
    let remembered = subject.remembered(cache);
    if let Some(test) = remembered.and_then(|sha256| Entry::open(&test_dir(&sha256, cache), cache, progress)) {
        return Ok(dealt(&subject, None, test));
    }
    let dataset = subject.load(cache, progress)?;
    let writing = cache.lock_partitions(progress)?;
    let test = write_test(&dataset, cache)?;
    evict(cache, &writing, progress)?;
    Ok(dealt(&subject, None, test))
}

/// Passes on what is told, but for a cache that refuses locks only once: it refuses each.
fn telling_once(progress: &mut dyn FnMut(Progress)) -> impl FnMut(Progress) {
    let mut told = false;
    move |step| {
        if !matches!(step, Progress::Unlocked { .. }) || !std::mem::replace(&mut told, true) {
            progress(step);
        }
    }
}

/// The source of a deal, found but not read.
#[derive(Debug)]
enum Subject {
    FashionMnist,
    Sample,
    Directory(Directory),
}

impl Subject {
    fn find(source: &Source, wanted: Wanted) -> Result<Self, DataError> {
        match source {
            Source::FashionMnist => Ok(Self::FashionMnist),
            Source::Sample => Ok(Self::Sample),
            Source::Directory(path) => Directory::find(path, wanted).map(Self::Directory),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::FashionMnist => fetch::NAME,
            Self::Sample => sample::NAME,
            Self::Directory(directory) => directory.name(),
        }
    }

    /// The dataset's identity, where it is known without reading it.
    fn remembered(&self, cache: &Cache) -> Option<String> {
        if !cache.is_trusted() {
            return None;
        }
        match self {
            Self::FashionMnist => Some(fetch::SHA256.to_owned()),
            Self::Sample => Some(sample::SHA256.to_owned()),
            Self::Directory(directory) => directory.remembered(cache),
        }
    }

    fn load(&self, cache: &Cache, progress: &mut dyn FnMut(Progress)) -> Result<Dataset, DataError> {
        match self {
            Self::FashionMnist => {
                let dir = fetch::fetch_fashion_mnist(cache, progress)?;
                directory::load(fetch::NAME, &FILES.map(|file| dir.join(file)), Wanted::Whole, Some(fetch::SHA256))
            }
            Self::Sample => sample::load(),
            Self::Directory(directory) => directory.load(cache, progress),
        }
    }
}

/// Partitions depend on the training set, the scheme, the number of clients and the seed.
fn partitions_dir(deal: &Deal, sha256: &str, cache: &Cache) -> PathBuf {
    let Deal { scheme, clients, seed, .. } = deal;
    let text = format!("format {FORMAT}\ndataset {sha256}\nscheme {scheme}\nclients {clients}\nseed {seed}\n");
    cache.partitions().join(key(&text))
}

/// The test set depends on the dataset alone, so all deals of it share one entry.
fn test_dir(sha256: &str, cache: &Cache) -> PathBuf {
    cache.partitions().join(key(&format!("format {FORMAT}\ndataset {sha256}\ntest set\n")))
}

fn look_up(
    deal: &Deal,
    subject: &Subject,
    sha256: &str,
    cache: &Cache,
    progress: &mut dyn FnMut(Progress),
) -> Option<Dealt> {
    let train = Entry::open(&partitions_dir(deal, sha256, cache), cache, progress)?;
    let test = Entry::open(&test_dir(sha256, cache), cache, progress)?;
    Some(dealt(subject, Some(train), test))
}

fn dealt(subject: &Subject, train: Option<Entry>, mut test: Entry) -> Dealt {
    // The same content may be dealt under another name: an entry's own name is only the first.
    let name = subject.name().to_owned();
    let sample = matches!(subject, Subject::Sample);
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

fn write_test(dataset: &Dataset, cache: &Cache) -> Result<Entry, DataError> {
    let dir = test_dir(&dataset.info.sha256, cache);
    if let Some(entry) = Entry::open(&dir, cache, &mut |_| ()) {
        return Ok(entry);
    }
    let rows: Vec<u32> = (0..dataset.test.labels.len() as u32).collect();
    let mut draft = Draft::new(cache)?;
    let about = about(&dataset.info, "test".to_owned());
    draft.add("test.safetensors".to_owned(), &dataset.test, &rows, &about)?;
    draft.finish(&dataset.info, &dir)
}

fn write_partitions(
    deal: &Deal,
    dataset: &Dataset,
    cache: &Cache,
    progress: &mut dyn FnMut(Progress),
) -> Result<Entry, DataError> {
    let info = &dataset.info;
    let dir = partitions_dir(deal, &info.sha256, cache);
    if let Some(entry) = Entry::open(&dir, cache, &mut |_| ()) {
        return Ok(entry);
    }
    let parts = partition(&deal.scheme, &dataset.train.labels, info.classes, deal.clients, deal.seed)?;
    let mut draft = Draft::new(cache)?;
    for (client, rows) in parts.iter().enumerate() {
        let about = about(info, client.to_string());
        draft.add(format!("{client:06}.safetensors"), &dataset.train, rows, &about)?;
        progress(Progress::Dealing { done: client as u32 + 1, clients: deal.clients });
    }
    draft.finish(info, &dir)
}

fn about(info: &DatasetInfo, client: String) -> About<'_> {
    About { dataset: &info.sha256, classes: info.classes.to_string(), client }
}

#[cfg(test)]
mod tests;
