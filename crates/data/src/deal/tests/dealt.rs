//! The files that a deal writes.

use super::*;

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

/// The test dataset has 60 training and 9 test examples, whose first pixels are their rows.
#[test]
fn a_merged_deal_has_all_examples_and_statistics_of_the_training_rows_alone() {
    let setting = setting();
    let holdout = Holdout { rows: 0.25, clients: 0.0 };
    let plain = setting.deal(3, 1);
    let merged = |standardise| {
        let reading = Reading { merges_test: true, standardise, ..Reading::default() };
        setting.run(&Deal { reading, holdout, ..plain.clone() })
    };
    let dealt = merged(false).0.unwrap();
    let info = &dealt.dataset;
    assert_eq!((info.train_examples, info.test_examples, dealt.test.examples), (69, 0, 0));
    assert!(dealt.partitions.iter().all(|file| (file.examples, file.held_out) == (18, 5)));
    let mut pixels: Vec<u8> = dealt.partitions.iter().flat_map(|file| first_pixels(&file.path)).collect();
    pixels.sort_unstable();
    let mut all: Vec<u8> = (0..60).chain(0..9).collect();
    all.sort_unstable();
    assert_eq!(pixels, all);
    // A deal of the same files with a test set is another one, before and after.
    assert_eq!(setting.run(&plain).0.unwrap().test.examples, 9);
    let (again, steps) = merged(false);
    assert_eq!((again.unwrap().test.examples, dealing(&steps)), (0, false));

    let training = |file: &PartitionFile| first_pixels(&file.path)[..18].to_vec();
    let of_training: Vec<f64> = dealt.partitions.iter().flat_map(training).map(f64::from).collect();
    let mean = of_training.iter().sum::<f64>() / of_training.len() as f64;
    let by = merged(true).0.unwrap().dataset.standardisation.unwrap();
    assert!((by.mean[0] - mean).abs() < 1e-9, "{} for {mean}", by.mean[0]);
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
