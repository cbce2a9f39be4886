//! Tests of dealing: the cache, its entries, eviction, and views for verification.
#![allow(clippy::disallowed_methods, reason = "a panic fails the test")]

mod damage;
mod dataset_identity;
mod dealt;
mod eviction;

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
