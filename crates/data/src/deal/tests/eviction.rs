//! Runs at once, and the entries that are removed.

use super::*;

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
