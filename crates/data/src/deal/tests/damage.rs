//! Damaged entries of the cache.

use super::*;

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
