//! The paths of clients' data and of runs' results, which are closed to the programs of a user.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
};

use fedpipe_data::{Cache, Source, is_dataset_file, is_manifest};

use fedpipe_record::{experiment::Experiment, names::LEDGER};

use crate::experiment::launch::Launch;

/// The number of levels below a folder that are searched for runs and datasets.
const LEVELS: usize = 6;

/// The number of entries that are searched in all.
const ENTRIES: usize = 20_000;

/// The most closed entries of one folder. With more of them the folder itself is closed, so that a message can hold the
/// paths.
const MOST_OF_ONE: usize = 64;

/// Large folders that hold no run and no dataset.
const PACKAGES: [&str; 3] = ["site-packages", "dist-packages", ".git"];

/// The paths that a run, or a description, closes to a program.
#[derive(Debug, Clone)]
pub(crate) struct Closed {
    /// Folders and files, without a link in their paths.
    paths: BTreeSet<PathBuf>,
    /// The folder that the dataset is read from.
    dataset: Option<PathBuf>,
}

impl Closed {
    /// Closes the cache, the dataset, the run in `directory` and the run that it repeats.
    pub(crate) fn of_run(launch: &Launch, experiment: &Experiment, directory: &Path) -> Self {
        let runs = launch.closed.iter().map(PathBuf::as_path).chain([directory]);
        let test_data = experiment.data.test_data.iter().map(Path::new);
        Self::of(&launch.cache, Some(&experiment.deal().source), runs.chain(test_data))
    }

    /// Closes the cache, for a program that describes itself without a run.
    pub(crate) fn of_cache(cache: &Cache) -> Self {
        Self::of(cache, None, [].into_iter())
    }

    fn of<'p>(cache: &Cache, source: Option<&Source>, runs: impl Iterator<Item = &'p Path>) -> Self {
        let places = cache.places().into_iter().chain(runs.map(Path::to_owned));
        let paths = places.filter_map(|path| path.canonicalize().ok());
        let dataset = source.and_then(Source::place).and_then(|folder| folder.canonicalize().ok());
        Self { paths: paths.collect(), dataset }
    }

    /// Returns the closed paths for a command with these `files`, with the runs and datasets in the folders that are
    /// `searched`. All paths are without links. The dataset's folder is closed as a whole unless it holds a file of the
    /// command.
    pub(super) fn found_in(&self, searched: &[PathBuf], files: &[PathBuf]) -> BTreeSet<PathBuf> {
        let mut closed = self.paths.clone();
        if let Some(folder) = &self.dataset {
            closed.extend(dataset_files(folder));
            if !files.iter().any(|file| file.starts_with(folder)) {
                closed.insert(folder.clone());
            }
        }
        closed.extend(found_below(searched));
        let keep = |folder: &Path| files.iter().chain(searched).any(|own| own.starts_with(folder));
        gathered(closed, &keep)
    }
}

/// Returns the files in `folder` that the reader of datasets may open, with their links resolved.
fn dataset_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| is_dataset_file(&entry.file_name()));
    files.filter_map(|entry| entry.path().canonicalize().ok()).collect()
}

/// Returns the runs, the entries of caches and the files of datasets in these folders, the higher ones first.
fn found_below(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead: VecDeque<(PathBuf, usize)> = folders.iter().map(|folder| (folder.clone(), 0)).collect();
    let mut seen = 0;
    while let Some((folder, level)) = ahead.pop_front() {
        let mut below = Vec::new();
        let mut is_whole = false;
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            seen += 1;
            let name = entry.file_name();
            is_whole |= name == LEDGER || is_manifest(&name);
            if is_dataset_file(&name) {
                found.extend(entry.path().canonicalize());
            }
            // The target of a link is closed, or is searched in its own place.
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && !PACKAGES.iter().any(|packages| name == *packages) {
                below.push((entry.path(), level + 1));
            }
        }
        if is_whole {
            found.push(folder);
        } else if level < LEVELS && seen < ENTRIES {
            ahead.extend(below);
        }
        if seen >= ENTRIES {
            break;
        }
    }
    found
}

/// Replaces the closed entries of a folder by the folder if they are many, unless the folder is one to `keep`.
fn gathered(closed: BTreeSet<PathBuf>, keep: &dyn Fn(&Path) -> bool) -> BTreeSet<PathBuf> {
    let mut of_one: BTreeMap<PathBuf, usize> = BTreeMap::new();
    closed
        .iter()
        .filter_map(|path| path.parent())
        .for_each(|folder| *of_one.entry(folder.to_owned()).or_default() += 1);
    let many = of_one.into_iter().filter(|(folder, count)| *count > MOST_OF_ONE && !keep(folder));
    let many: BTreeSet<PathBuf> = many.map(|(folder, _)| folder).collect();
    let rest = closed.into_iter().filter(|path| !path.parent().is_some_and(|folder| many.contains(folder)));
    rest.collect::<BTreeSet<PathBuf>>().into_iter().chain(many.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::disk::test_files::write_file;

    fn set<const N: usize>(paths: [&Path; N]) -> BTreeSet<PathBuf> {
        paths.map(Path::to_owned).into()
    }

    #[test]
    fn a_cache_is_closed_with_what_its_links_lead_to() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let [partitions, dataset, file] = ["disk/partitions/0", "disk/mnist/train-images-idx3-ubyte", "disk/labels"]
            .map(|name| write_file(&root.join(name), ""));
        let cache = root.join("cache");
        fs::create_dir_all(cache.join("datasets/other")).unwrap();
        symlink(root.join("disk/partitions"), cache.join("partitions")).unwrap();
        symlink(root.join("disk/mnist"), cache.join("datasets/mnist")).unwrap();
        symlink(&file, cache.join("datasets/other/train-labels-idx1-ubyte")).unwrap();
        symlink(&cache, root.join("link")).unwrap();
        let closed = Closed::of_cache(&Cache::at(root.join("link"))).found_in(&[], &[]);
        for path in [&cache, partitions.parent().unwrap(), dataset.parent().unwrap(), &file] {
            assert!(closed.contains(path), "{path:?} {closed:?}");
        }
    }

    #[test]
    fn the_folder_of_a_dataset_is_closed_unless_the_command_lies_in_it() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let script = write_file(&root.join("data/client.py"), "");
        let plain = write_file(&root.join("data/train-images-idx3-ubyte"), "");
        let packed = write_file(&root.join("data/t10k-labels.idx1-ubyte.gz"), "");
        let linked = write_file(&root.join("disk/blob"), "");
        symlink(&linked, root.join("data/train-labels-idx1-ubyte")).unwrap();
        let (folder, cache) = (root.join("data"), Cache::at(root.join("no-cache")));
        let closed = Closed::of(&cache, Some(&Source::Path(folder.clone())), [].into_iter());
        assert_eq!(closed.found_in(&[], &[]), set([&folder, &plain, &packed, &linked]));
        assert_eq!(closed.found_in(&[], &[script]), set([&plain, &packed, &linked]));
        let closed = Closed::of(&cache, Some(&Source::Sample), [].into_iter());
        assert!(closed.found_in(&[], &[]).is_empty());
    }

    #[test]
    fn runs_and_datasets_are_found_where_a_command_may_read() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let dataset = write_file(&root.join("old/mnist/t10k-images-idx3-ubyte.gz"), "");
        let run = write_file(&root.join("runs/mlp-1/ledger.jsonl"), "");
        let entry = write_file(&root.join("a/cache/partitions/0/entry.json"), "");
        let deep = write_file(&root.join("1/2/3/4/5/6/ledger.jsonl"), "");
        for other in ["client.py", "notes/ledger.txt", "mnist/train-images", "lib/site-packages/x/ledger.jsonl"] {
            write_file(&root.join(other), "");
        }
        let closed = Closed::of_cache(&Cache::at(root.join("no-cache"))).found_in(&[root], &[]);
        let folder = |file: &PathBuf| file.parent().unwrap().to_owned();
        assert_eq!(closed, BTreeSet::from([dataset, folder(&run), folder(&entry), folder(&deep)]));
    }

    #[test]
    fn a_folder_of_many_runs_is_closed_itself_unless_the_command_lies_in_it() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        for run in 0..=MOST_OF_ONE {
            write_file(&root.join(format!("runs/{run}/ledger.jsonl")), "");
        }
        let closed = Closed::of_cache(&Cache::at(root.join("no-cache")));
        assert_eq!(closed.found_in(std::slice::from_ref(&root), &[root.join("client.py")]), set([&root.join("runs")]));
        let found = closed.found_in(std::slice::from_ref(&root), &[root.join("runs/client.py")]);
        assert_eq!(found.len(), MOST_OF_ONE + 1, "{found:?}");
    }
}
