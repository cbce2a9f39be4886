//! Tests of dealing: the cache, its entries, eviction, and views for verification.
#![allow(clippy::disallowed_methods, reason = "a panic fails the test")]

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use super::*;
use crate::cache::CacheLock;
use crate::fetch;
use crate::map::{Partition, Pixels};
use crate::scheme::pin_split;
use crate::source::sample;
use crate::testing::{assert_says, idx, replace, write_dataset};

struct Setting {
    _dir: tempfile::TempDir,
    data: PathBuf,
    cache: Cache,
}

fn setting() -> Setting {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("my-data");
    fs::create_dir(&data).unwrap();
    write_dataset(&data);
    let cache = Cache::at(dir.path().join("cache"));
    Setting { _dir: dir, data, cache }
}

impl Setting {
    fn deal(&self, clients: u32, seed: u64) -> Deal {
        Deal {
            source: Source::Path(self.data.clone()),
            reading: Reading::default(),
            scheme: Scheme::default(),
            clients,
            seed,
            holdout: Holdout::default(),
            split_file: None,
        }
    }

    /// Deals, and returns the result with the reported steps.
    fn run(&self, deal: &Deal) -> (Result<Dealt, DataError>, Vec<DataStep>) {
        let mut steps = Vec::new();
        let dealt = super::deal(deal, &self.cache, &mut |progress| steps.push(progress));
        (dealt, steps)
    }
}

fn dealing(steps: &[DataStep]) -> bool {
    steps.iter().any(|progress| matches!(progress, DataStep::Dealing { .. }))
}

fn first_pixels(path: &Path) -> Vec<u8> {
    let partition = Partition::open(path).unwrap();
    match partition.pixels() {
        Pixels::U8(pixels) => pixels.chunks(6).map(|image| image[0]).collect(),
        Pixels::F32(_) => panic!("IDX files hold bytes"),
    }
}

#[test]
fn every_client_gets_its_rows_in_a_file() {
    let setting = setting();
    let (dealt, steps) = setting.run(&setting.deal(7, 1));
    let dealt = dealt.unwrap();
    assert_eq!(dealt.partitions.len(), 7);
    let labelled = Labelled::new(&[0; 60], 3);
    let expected = partition(&Scheme::default(), &labelled, 7, 1).unwrap();
    for (file, rows) in dealt.partitions.iter().zip(&expected) {
        assert_eq!(file.examples, rows.len() as u64);
        // The first pixel of each image of the test dataset is its row.
        assert_eq!(first_pixels(&file.path), rows.iter().map(|row| *row as u8).collect::<Vec<_>>());
        assert_eq!(Partition::open(&file.path).unwrap().labels(), rows.iter().map(|row| row % 3).collect::<Vec<_>>());
    }
    assert_eq!(dealt.test.examples, 9);
    let counts = dealt.label_counts();
    assert_eq!((counts.len(), counts.concat().iter().sum::<u64>(), dealt.left_out()), (7, 60, None));
    assert_eq!(first_pixels(&dealt.test.path), (0..9).collect::<Vec<u8>>());
    assert_eq!(steps.last(), Some(&DataStep::Dealing { done: 7, clients: 7 }));
}

#[test]
fn held_out_rows_follow_the_training_rows_and_a_new_client_has_no_training_row() {
    let setting = setting();
    let holdout = Holdout { rows: 0.25, clients: 0.3 };
    let deal = Deal { holdout, ..setting.deal(4, 1) };
    let dealt = setting.run(&deal).0.unwrap();
    let new = holdout.new_clients(1, 4);
    assert_eq!(new.len(), 1);
    let expected = partition(&Scheme::default(), &Labelled::new(&[0; 60], 3), 4, 1).unwrap();
    for (client, (file, rows)) in (0..).zip(dealt.partitions.iter().zip(&expected)) {
        let counts = if new.contains(&client) { (0, 15) } else { (12, 3) };
        assert_eq!((file.examples, file.held_out), counts);
        let partition = Partition::open(&file.path).unwrap();
        assert_eq!((partition.training_len() as u64, partition.held_out() as u64), counts);
        let pixels = first_pixels(&file.path);
        let (training, held_out) = pixels.split_at(partition.training_len());
        assert!(training.is_sorted() && held_out.is_sorted());
        let mut all = pixels.clone();
        all.sort_unstable();
        assert_eq!(all, rows.iter().map(|row| *row as u8).collect::<Vec<_>>());
    }
    let (again, steps) = setting.run(&deal);
    assert_eq!(again.unwrap().partitions, dealt.partitions);
    assert!(!dealing(&steps));
    let plain = setting.run(&setting.deal(4, 1)).0.unwrap();
    assert!(plain.partitions.iter().all(|file| (file.examples, file.held_out) == (15, 0)));
    assert!(!fs::read(&plain.partitions[0].path).unwrap().windows(8).any(|text| text == b"held_out"));
}

#[test]
fn a_share_that_holds_out_no_row_is_refused_with_the_bound() {
    let setting = setting();
    let deal = Deal { holdout: Holdout { rows: 0.05, clients: 0.0 }, ..setting.deal(4, 1) };
    let error = setting.run(&deal).0.unwrap_err();
    assert_says(&error, &["the share 0.05 holds out no row", "has 15 rows; give at least 0.0666"]);
}

#[test]
fn under_own_a_client_deals_all_examples_and_the_host_only_the_test_set() {
    let setting = setting();
    // The client has no examples of two classes that the test set has.
    fs::write(setting.data.join("train-labels-idx1-ubyte"), idx(&[60], &[0; 60])).unwrap();
    let own = |clients| Deal { scheme: "own".parse().unwrap(), ..setting.deal(clients, 0) };
    let dealt = setting.run(&own(1)).0.unwrap();
    assert_eq!((dealt.partitions.len(), dealt.dataset.target.class_count()), (1, Some(3)));
    assert_eq!(first_pixels(&dealt.partitions[0].path), (0..60).collect::<Vec<u8>>());
    assert_says(&setting.run(&setting.deal(1, 0)).0.unwrap_err(), &["label 1", "classes are 0 to 0"]);
    assert_says(&setting.run(&own(2)).0.unwrap_err(), &["2 clients", "another partition scheme"]);

    let content = |dealt: &Dealt| Partition::open(&dealt.test.path).unwrap().sha256();
    let here = content(&dealt);
    for half in ["images-idx3", "labels-idx1"] {
        fs::remove_file(setting.data.join(format!("train-{half}-ubyte"))).unwrap();
    }
    for _ in 0..2 {
        let host = deal_test_set(&own(2), &setting.cache, &mut |_| ()).unwrap();
        assert!(host.partitions.is_empty() && host.path_of(0).as_os_str().is_empty());
        assert_eq!((host.test.examples, host.dataset.target.class_count()), (9, Some(3)));
        assert_eq!(content(&host), here);
    }
    assert_says(&setting.run(&own(1)).0.unwrap_err(), &["has no training images"]);
}

#[test]
fn a_split_by_hand_is_its_content() {
    let setting = setting();
    let write = |name: &str, text: &str| {
        let path = setting.data.with_file_name(name);
        fs::write(&path, text).unwrap();
        path
    };
    let text = "class,client,count\n0,0,5\n2,1,7\n";
    let (one, other) = (write("one.csv", text), write("other.csv", text));
    let scheme = |path: &Path| format!("file:{}", path.display()).parse::<Scheme>().unwrap();
    let (pinned, clients) = pin_split(&scheme(&one)).unwrap().unwrap();
    assert_eq!((clients, pin_split(&pinned).unwrap(), pin_split(&Scheme::default()).unwrap()), (2, None, None));
    let deal = |scheme| setting.run(&Deal { scheme, ..setting.deal(2, 0) });
    let (first, steps) = deal(pinned.clone());
    let first = first.unwrap();
    assert!(dealing(&steps));
    assert_eq!(first.label_counts(), [[5, 0, 0], [0, 0, 7]]);
    let left_out = "the partition scheme leaves out 48 of 60 training examples; no client has an example of 1 class";
    assert_eq!(first.left_out().unwrap(), left_out);
    // A file of another name with the same content is the same scheme, which is in the cache.
    let (same, steps) = deal(scheme(&other));
    assert_eq!((same.unwrap().digests(), steps), (first.digests(), vec![]));
    write("one.csv", "class,client,count\n0,0,5\n2,1,8\n");
    assert_says(&deal(pinned.clone()).0.unwrap_err(), &["one.csv has the SHA-256", "put the file back"]);
    // The copy of a run stands in for the file.
    let copied = Deal { scheme: pinned, split_file: Some(other), ..setting.deal(2, 0) };
    assert_eq!(setting.run(&copied).0.unwrap().digests(), first.digests());
}

#[test]
fn a_second_deal_does_not_read_the_dataset() {
    let setting = setting();
    let deal = setting.deal(4, 1);
    let first = setting.run(&deal).0.unwrap();
    let (second, steps) = setting.run(&deal);
    let second = second.unwrap();
    assert_eq!((&second.dataset, &second.partitions, &second.test), (&first.dataset, &first.partitions, &first.test));
    // Reading a dataset or a partition would be a step.
    assert_eq!(steps, []);
}

/// Returns a setting with a verifying view of the cache.
fn verifying(setting: &Setting) -> Setting {
    let dir = tempfile::tempdir().unwrap();
    let cache = setting.cache.verifying(dir.path());
    Setting { _dir: dir, data: setting.data.clone(), cache }
}

/// Replaces the training images by others of the same size and time of modification.
fn replace_images(setting: &Setting) {
    let path = setting.data.join("train-images-idx3-ubyte");
    let mut bytes = fs::read(&path).unwrap();
    bytes[16..].reverse();
    replace(&path, &bytes);
}

#[test]
fn other_files_of_the_same_sizes_and_times_are_another_dataset() {
    let setting = setting();
    let deal = setting.deal(4, 1);
    let first = setting.run(&deal).0.unwrap();
    replace_images(&setting);
    let second = setting.run(&deal).0.unwrap();
    assert_ne!(second.dataset.sha256, first.dataset.sha256);
    assert!(second.partitions.iter().zip(&first.partitions).all(|(second, first)| second.sha256 != first.sha256));
    let third = verifying(&setting).run(&deal).0.unwrap();
    assert_eq!((&third.dataset.sha256, third.digests()), (&second.dataset.sha256, second.digests()));
}

#[test]
fn a_verifying_view_ignores_the_recorded_identity_of_a_directory() {
    let setting = setting();
    let deal = setting.deal(4, 1);
    let first = setting.run(&deal).0.unwrap();
    replace_images(&setting);
    let second = setting.run(&deal).0.unwrap();
    // The record gets the stamps of the present files and the hash of the former ones.
    let [memory] = &files(&setting.cache.datasets().join("directories"))[..] else { panic!("one directory") };
    let text = fs::read_to_string(memory).unwrap();
    fs::write(memory, text.replace(&second.dataset.sha256, &first.dataset.sha256)).unwrap();
    assert_eq!(setting.run(&deal).0.unwrap().dataset, first.dataset, "the forgery is good");
    assert_eq!(verifying(&setting).run(&deal).0.unwrap().dataset, second.dataset);
}

/// Returns the files in a directory and below it, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    all.sort();
    all
}

fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(dir).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn a_verifying_view_deals_again_and_does_not_change_the_cache() {
    let setting = setting();
    let deal = setting.deal(4, 1);
    let first = setting.run(&deal).0.unwrap();
    // A partition gets other labels, and the manifest gets its stamp and its hash.
    let forged = &first.partitions[2];
    let mut bytes = fs::read(&forged.path).unwrap();
    let end = bytes.len() - 15 * 6;
    bytes[end - 4..end].copy_from_slice(&1_u32.to_le_bytes());
    replace(&forged.path, &bytes);
    let list = forged.path.with_file_name("entry.json");
    let mut entry: serde_json::Value = serde_json::from_slice(&fs::read(&list).unwrap()).unwrap();
    let stamp = serde_json::to_value(crate::checksum::Stamp::of(&forged.path).unwrap()).unwrap();
    let record = &mut entry["files"][2];
    record["stamp"] = stamp;
    let sha256 = Partition::open(&forged.path).unwrap().sha256();
    record["hashes"]["sha256"] = sha256.clone().into();
    fs::write(&list, entry.to_string()).unwrap();
    let (fooled, steps) = setting.run(&deal);
    assert_eq!((&fooled.unwrap().partitions[2].sha256, steps), (&sha256, vec![]), "the forgery is good");

    let before = contents(setting.cache.root());
    let view = verifying(&setting);
    for _ in 0..2 {
        let (dealt, steps) = view.run(&deal);
        let dealt = dealt.unwrap();
        assert!(dealing(&steps), "the second time, too: {steps:?}");
        assert_eq!((&dealt.dataset, dealt.digests()), (&first.dataset, first.digests()));
        for file in dealt.partitions.iter().chain([&dealt.test]) {
            assert!(file.path.starts_with(view.cache.partitions()), "{file:?}");
            assert_eq!(Partition::open(&file.path).unwrap().sha256(), file.sha256);
        }
    }
    assert!(before == contents(setting.cache.root()));
    let places = view.cache.places();
    let holds = |folder: &Path| places.iter().any(|place| folder.starts_with(place));
    assert!(holds(setting.cache.root()) && holds(&view.cache.partitions()), "{places:?}");
}

#[test]
fn a_verifying_view_refuses_a_known_dataset_that_is_altered() {
    let setting = setting();
    let known = setting.cache.datasets().join("fashion-mnist");
    fs::create_dir_all(&known).unwrap();
    write_dataset(&known);
    let deal = Deal { source: Source::FashionMnist, ..setting.deal(4, 1) };
    let error = verifying(&setting).run(&deal).0.unwrap_err();
    assert_says(&error, &["datasets/fashion-mnist are altered", fetch::SHA256, "delete them"]);
    let sample = Deal { source: Source::Sample, ..setting.deal(3, 1) };
    assert_eq!(verifying(&setting).run(&sample).0.unwrap().dataset.sha256, sample::SHA256);
}

#[test]
fn the_digests_are_those_of_the_contents_in_client_order_and_of_the_test_set() {
    let setting = setting();
    let dealt = setting.run(&setting.deal(2, 1)).0.unwrap();
    let hash = |file: &PartitionFile| Partition::open(&file.path).unwrap().sha256();
    let [a, b] = &dealt.partitions[..] else { panic!("two clients") };
    let test = hash(&dealt.test);
    let lines = [
        format!("{}  000000.safetensors\n", hash(a)),
        format!("{}  000001.safetensors\n", hash(b)),
        format!("{test}  test.safetensors\n"),
    ];
    assert_eq!(dealt.digests(), lines.concat());
    assert_eq!((dealt.sha256_of(1), dealt.sha256_of(2)), (Some(hash(b)), None));
    let own = deal_test_set(&setting.deal(2, 1), &setting.cache, &mut |_| ()).unwrap();
    assert_eq!(own.digests(), format!("{test}  test.safetensors\n"));
}

#[test]
fn the_content_decides_and_not_the_directory() {
    let setting = setting();
    let first = setting.run(&setting.deal(4, 1)).0.unwrap();
    let other = setting.data.with_file_name("other");
    fs::create_dir(&other).unwrap();
    write_dataset(&other);
    let (second, steps) = setting.run(&Deal { source: Source::Path(other), ..setting.deal(4, 1) });
    let second = second.unwrap();
    assert_eq!(second.partitions, first.partitions);
    assert_eq!(second.dataset, DatasetInfo { name: "other".to_owned(), ..first.dataset });
    assert!(!dealing(&steps));
}

#[test]
fn another_seed_scheme_or_number_of_clients_is_another_entry_with_the_same_test_set() {
    let setting = setting();
    let first = setting.run(&setting.deal(4, 1)).0.unwrap();
    let shards = Deal { scheme: "shards:2".parse().unwrap(), ..setting.deal(4, 1) };
    for deal in [setting.deal(4, 2), setting.deal(5, 1), shards] {
        let dealt = setting.run(&deal).0.unwrap();
        assert_ne!(dealt.partitions[0].path, first.partitions[0].path);
        assert_eq!(dealt.test, first.test);
    }
}

#[test]
fn a_damaged_partition_is_refused_by_name_and_dealt_again() {
    let setting = setting();
    let deal = setting.deal(4, 1);
    let first = setting.run(&deal).0.unwrap();
    for damaged in [&first.partitions[2].path, &first.test.path] {
        let good = fs::read(damaged).unwrap();
        fs::write(damaged, &good[..100]).unwrap();
        let (second, steps) = setting.run(&deal);
        second.unwrap();
        assert!(matches!(&steps[0], DataStep::Refused { file, .. } if file == damaged), "{steps:?}");
        assert_eq!(fs::read(damaged).unwrap(), good);
    }
}

/// Only one bit of the content or of the header changes, but neither the size nor the time of modification.
#[test]
fn a_partition_that_was_damaged_with_its_time_kept_is_refused_and_dealt_again() {
    let setting = setting();
    let deal = setting.deal(4, 1);
    let first = setting.run(&deal).0.unwrap();
    for damaged in [&first.partitions[2].path, &first.test.path] {
        let good = fs::read(damaged).unwrap();
        for place in [0, 20, good.len() - 1] {
            let mut bytes = good.clone();
            bytes[place] ^= 1;
            replace(damaged, &bytes);
            let (second, steps) = setting.run(&deal);
            assert_eq!(second.unwrap().digests(), first.digests());
            let refused = |progress: &DataStep| matches!(progress, DataStep::Refused { file, .. } if file == damaged);
            assert!(steps.iter().any(refused), "byte {place}: {steps:?}");
            assert_eq!(fs::read(damaged).unwrap(), good);
        }
    }
}

/// Stamps change at a reboot or in a copied cache, for example.
#[test]
fn partitions_whose_stamps_alone_have_changed_are_hashed_once_and_taken() {
    let setting = setting();
    let deal = setting.deal(4, 1);
    let first = setting.run(&deal).0.unwrap();
    for file in [&first.partitions[1], &first.partitions[3], &first.test] {
        replace(&file.path, &fs::read(&file.path).unwrap());
    }
    let hashing = |file: &PartitionFile| DataStep::Hashing { place: file.path.parent().unwrap().to_owned() };
    let (second, steps) = setting.run(&deal);
    assert_eq!(second.unwrap().partitions, first.partitions);
    assert_eq!(steps, [hashing(&first.partitions[0]), hashing(&first.test)], "each entry once");
    assert_eq!(setting.run(&deal).1, [], "the new stamps are recorded");
}

#[test]
fn a_damaged_manifest_is_written_again() {
    let setting = setting();
    let deal = setting.deal(4, 1);
    let list = setting.run(&deal).0.unwrap().test.path.with_file_name("entry.json");
    for content in ["", "{", "[]"] {
        fs::write(&list, content).unwrap();
        setting.run(&deal).0.unwrap();
        assert!(fs::read(&list).unwrap().len() > 10);
    }
}

#[test]
fn runs_at_once_deal_the_same() {
    let setting = setting();
    let start = Barrier::new(4);
    let dealt: Vec<Dealt> = thread::scope(|scope| {
        let run = || {
            start.wait();
            setting.run(&setting.deal(10, 3)).0.unwrap()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for other in &dealt {
        assert_eq!(other.partitions, dealt[0].partitions);
        assert_eq!(Partition::open(&other.partitions[9].path).unwrap().len(), 6);
    }
    assert_eq!(fs::read_dir(setting.cache.partitions()).unwrap().count(), 2, "no draft is left");
}

#[test]
fn the_least_recently_used_goes_and_never_one_in_use() {
    let mut setting = setting();
    setting.cache = setting.cache.clone().limited(1);
    let in_use = setting.run(&setting.deal(4, 1)).0.unwrap();
    let unused = setting.run(&setting.deal(4, 2)).0.unwrap().partitions.swap_remove(0).path;
    let (dealt, steps) = setting.run(&setting.deal(4, 3));
    assert!(steps.iter().any(|progress| matches!(progress, DataStep::Evicted { entries: 1, .. })), "{steps:?}");
    assert!(!unused.exists());
    let dealt = dealt.unwrap();
    for file in in_use.partitions.iter().chain(&dealt.partitions).chain([&in_use.test]) {
        Partition::open(&file.path).unwrap();
    }
}

#[test]
fn nothing_is_removed_without_the_writers_lock() {
    let setting = setting();
    let file = setting.run(&setting.deal(4, 1)).0.unwrap().partitions.swap_remove(0).path;
    // Another run may be writing this draft.
    let draft = setting.cache.partitions().join(".draft-other");
    fs::create_dir(&draft).unwrap();
    let full = setting.cache.clone().limited(1);
    evict(&full, &CacheLock::refused(), &mut |step| panic!("{step}")).unwrap();
    assert!(file.exists() && draft.exists());
    let writing = full.lock_partitions(&mut |step| panic!("{step}")).unwrap();
    evict(&full, &writing, &mut |_| ()).unwrap();
    assert!(!file.exists() && !draft.exists());
}

#[test]
fn the_most_recently_used_entries_stay() {
    let mut setting = setting();
    let dirs: Vec<PathBuf> = (1..=3)
        .map(|seed| setting.run(&setting.deal(4, seed)).0.unwrap().partitions[0].path.parent().unwrap().to_owned())
        .collect();
    let mut total = 0;
    for entry in fs::read_dir(setting.cache.partitions()).unwrap() {
        for file in fs::read_dir(entry.unwrap().path()).unwrap() {
            total += file.unwrap().metadata().unwrap().len();
        }
    }
    // The first entry gets the latest time of use.
    let used = |dir: &Path, second| {
        let file = fs::File::options().write(true).open(dir.join("in-use")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(second)).unwrap();
    };
    used(&dirs[0], 30);
    used(&dirs[1], 10);
    used(&dirs[2], 20);
    // One more entry exceeds the bound by one. The sizes of entries differ by a few bytes, since they contain times.
    setting.cache = setting.cache.clone().limited(total + total / 6);
    setting.run(&setting.deal(4, 4)).0.unwrap();
    assert_eq!([true, false, true], [0, 1, 2].map(|i: usize| dirs[i].exists()));
}

#[test]
fn the_draft_of_a_killed_run_is_removed() {
    let setting = setting();
    let left = setting.cache.partitions().join(".draft-left");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("000000.safetensors"), "half").unwrap();
    setting.run(&setting.deal(4, 1)).0.unwrap();
    assert!(!left.exists());
}

#[test]
fn the_sample_is_marked_as_one() {
    let setting = setting();
    let dealt = setting.run(&Deal { source: Source::Sample, ..setting.deal(3, 1) }).0.unwrap();
    assert!(dealt.dataset.sample);
    assert_eq!((dealt.dataset.name.as_str(), dealt.dataset.train_examples), ("sample", 2000));
    let sizes: Vec<u64> = dealt.partitions.iter().map(|file| file.examples).collect();
    assert_eq!((sizes, dealt.test.examples), (vec![667, 667, 666], 500));
}

#[test]
fn an_impossible_deal_is_refused_and_leaves_no_file() {
    let setting = setting();
    let refused = |deal: &Deal| setting.run(deal).0.unwrap_err();
    assert_says(&refused(&setting.deal(0, 1)), &["0 clients"]);
    assert_says(&refused(&setting.deal(61, 1)), &["61 clients", "60 training examples"]);
    let scheme = "shards:31".parse().unwrap();
    assert_says(&refused(&Deal { scheme, ..setting.deal(2, 1) }), &["31", "60 training examples"]);
    let source = Source::Path("/nowhere".into());
    assert_says(&refused(&Deal { source, ..setting.deal(2, 1) }), &["/nowhere"]);
    assert!(!setting.cache.partitions().exists(), "nothing is written before the rows of all clients are known");
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error_with_its_remedy() {
    let mut setting = setting();
    let file = setting.data.join("a-file");
    fs::write(&file, "").unwrap();
    setting.cache = Cache::at(file.join("cache"));
    assert_says(&setting.run(&setting.deal(2, 1)).0.unwrap_err(), &["a-file/cache", "XDG_CACHE_HOME"]);
}
