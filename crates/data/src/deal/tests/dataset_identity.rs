//! The cache finds an equal deal, and a verifying view trusts none.

use super::*;

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
