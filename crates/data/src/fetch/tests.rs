//! Tests of fetching. A small dataset on a local server replaces Fashion-MNIST and its publisher.
#![allow(clippy::disallowed_methods, reason = "a panic fails the test")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use super::*;
use crate::checksum;
use crate::source::idx::{FILES, identity};
use crate::testing::{assert_says, gzip, images, labels, replace, rewrite};

const CONTENTS: [fn() -> Vec<u8>; 4] = [|| images(60), || labels(60), || images(9), || labels(9)];

fn known_files() -> Vec<KnownFile> {
    let want = |(name, content): (&'static str, fn() -> Vec<u8>)| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content()).unwrap();
        let sha256 = checksum::of_file(file.path()).unwrap().leak();
        KnownFile { name, bytes: content().len() as u64, sha256 }
    };
    FILES.into_iter().zip(CONTENTS).map(want).collect()
}

type Answer = dyn Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync;

/// A server of the four files as gzip. `spoil` may change the bytes that are sent for a name.
struct Publisher {
    address: String,
    requests: Arc<AtomicUsize>,
}

impl Publisher {
    fn start(spoil: impl Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        let spoil: Arc<Answer> = Arc::new(spoil);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (spoil, counted) = (spoil.clone(), counted.clone());
                thread::spawn(move || answer(stream.unwrap(), &*spoil, &counted));
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, spoil: &Answer, requests: &AtomicUsize) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    // The whole request is read; otherwise closing would reset the connection.
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    requests.fetch_add(1, Ordering::SeqCst);
    // As a proxy it takes a whole address, and a name with its password.
    let is_forwarded = first.starts_with("GET http://publisher.invalid/")
        && headers.iter().any(|header| header == "Proxy-Authorization: Basic bmFtZTpwYXNzOndvcmQ=")
        && headers.iter().any(|header| header.eq_ignore_ascii_case("host: publisher.invalid"));
    let path = if is_forwarded { "GET http://publisher.invalid/" } else { "GET /" };
    let name = first.trim_start_matches(path).split(' ').next().unwrap_or_default();
    let head = "Connection: close\r\n\r\n";
    let found = FILES.iter().position(|file| name == format!("{file}.gz"));
    let reply = match found.map(|i| gzip(&CONTENTS[i]())) {
        Some(body) => {
            let length = body.len();
            let body = spoil(name, body);
            [format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{head}").into_bytes(), body].concat()
        }
        None => format!("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n{head}").into_bytes(),
    };
    // A client that stops reading a damaged file is no error of the server.
    let _ = stream.write_all(&reply);
    let _ = stream.shutdown(Shutdown::Write);
}

struct Setting {
    _dir: tempfile::TempDir,
    cache: Cache,
    origins: Origins,
}

fn setting(publisher: &str) -> Setting {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    let origins =
        Origins { system: dir.path().join("system"), publisher: publisher.to_owned(), proxy: None, debian: None };
    Setting { _dir: dir, cache, origins }
}

/// Returns an address without a listener.
fn closed_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

impl Setting {
    fn run(&self) -> (Result<PathBuf, DataError>, Vec<DataStep>) {
        let mut steps = Vec::new();
        let result = fetch("tiny", &known_files(), &self.origins, &self.cache, &mut |progress| steps.push(progress));
        (result, steps)
    }

    fn assert_complete(&self) {
        let dir = self.cache.datasets().join("tiny");
        for (name, content) in FILES.into_iter().zip(CONTENTS) {
            assert_eq!(fs::read(dir.join(name)).unwrap(), content(), "{name}");
        }
        let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left.len(), 5, "four files and the list, but {left:?}");
    }
}

fn refused(steps: &[DataStep]) -> Vec<String> {
    let name = |progress: &DataStep| match progress {
        DataStep::Refused { file, reason } => Some(format!("{}: {reason}", file.display())),
        _ => None,
    };
    steps.iter().filter_map(name).collect()
}

#[test]
fn the_published_hashes_are_the_identity() {
    assert_eq!(KNOWN_FILES.map(|file| file.name), FILES);
    assert_eq!(identity(&KNOWN_FILES.map(|file| file.sha256)), SHA256);
}

#[test]
fn a_dataset_is_downloaded_once_and_then_found_in_the_cache() {
    let publisher = Publisher::start(|_, body| body);
    let setting = setting(&publisher.address);
    let (result, steps) = setting.run();
    assert_eq!(result.unwrap(), setting.cache.datasets().join("tiny"));
    setting.assert_complete();
    for name in FILES {
        let last =
            steps.iter().rev().find(|p| matches!(p, DataStep::Downloading { file, .. } if file.starts_with(name)));
        assert!(matches!(last, Some(DataStep::Downloading { done, total, .. }) if Some(*done) == *total), "{last:?}");
    }
    assert_eq!(publisher.requests(), 4);
    let (result, steps) = setting.run();
    result.unwrap();
    assert_eq!((publisher.requests(), steps), (4, vec![]));
}

#[test]
fn the_systems_files_are_taken_before_the_publishers() {
    let publisher = Publisher::start(|_, body| body);
    let setting = setting(&publisher.address);
    fs::create_dir(&setting.origins.system).unwrap();
    fs::write(setting.origins.system.join(FILES[0]), images(60)).unwrap();
    fs::write(setting.origins.system.join(format!("{}.gz", FILES[1])), gzip(&labels(60))).unwrap();
    fs::write(setting.origins.system.join(FILES[2]), images(8)).unwrap();
    let (result, steps) = setting.run();
    result.unwrap();
    setting.assert_complete();
    assert_eq!(publisher.requests(), 2, "one for the truncated and one for the missing file");
    let refused = refused(&steps);
    assert!(refused.len() == 1 && refused[0].contains("system/t10k-images-idx3-ubyte: truncated"), "{refused:?}");
}

#[test]
fn a_damaged_file_of_the_cache_is_refused_by_name_and_fetched_again() {
    let publisher = Publisher::start(|_, body| body);
    let setting = setting(&publisher.address);
    let dir = setting.run().0.unwrap();
    let flipped = || {
        let mut bytes = images(60);
        bytes[100] ^= 1;
        bytes
    };
    let damages: [(Vec<u8>, &str); 3] = [
        (images(60)[..50].to_vec(), "truncated to 50 of 376 bytes"),
        (flipped(), "altered: its SHA-256 is"),
        ([images(60), vec![0]].concat(), "longer than its 376 bytes"),
    ];
    for (i, (damage, reason)) in damages.into_iter().enumerate() {
        rewrite(&dir.join(FILES[0]), &damage);
        let (result, steps) = setting.run();
        result.unwrap();
        setting.assert_complete();
        assert_eq!(publisher.requests(), 5 + i, "only the damaged file is fetched");
        let refused = refused(&steps);
        assert!(refused[0].contains(FILES[0]) && refused[0].contains(reason), "{refused:?}");
    }
}

#[test]
fn a_file_with_another_time_but_the_same_content_is_kept() {
    let publisher = Publisher::start(|_, body| body);
    let setting = setting(&publisher.address);
    let dir = setting.run().0.unwrap();
    rewrite(&dir.join(FILES[1]), &labels(60));
    let (result, steps) = setting.run();
    result.unwrap();
    assert_eq!(steps, [DataStep::Hashing { place: dir.join(FILES[1]) }]);
    assert_eq!(setting.run().1, [], "the new time is recorded");
}

#[test]
fn a_file_that_was_replaced_with_its_size_and_time_kept_is_refused_and_fetched_again() {
    let publisher = Publisher::start(|_, body| body);
    let setting = setting(&publisher.address);
    let dir = setting.run().0.unwrap();
    let mut other = images(60);
    other[100] ^= 1;
    replace(&dir.join(FILES[0]), &other);
    let refused = refused(&setting.run().1);
    assert!(refused.len() == 1 && refused[0].contains("altered: its SHA-256 is"), "{refused:?}");
    setting.assert_complete();
}

/// A verifying view leaves the check of the files to their reader.
#[test]
fn a_verifying_view_takes_the_files_that_are_there_and_leaves_them() {
    let publisher = Publisher::start(|_, body| body);
    let mut setting = setting(&publisher.address);
    let dir = setting.run().0.unwrap();
    let other = images(60).into_iter().rev().collect::<Vec<_>>();
    replace(&dir.join(FILES[0]), &other);
    setting.cache = setting.cache.verifying(&dir.join("scratch"));
    let (result, steps) = setting.run();
    assert_eq!((result.unwrap(), steps), (dir.clone(), vec![]));
    assert_eq!(fs::read(dir.join(FILES[0])).unwrap(), other);
    fs::remove_file(dir.join(FILES[0])).unwrap();
    setting.run().0.unwrap();
    setting.assert_complete();
}

#[test]
fn a_damaged_list_is_no_reason_to_fetch_again() {
    let publisher = Publisher::start(|_, body| body);
    let setting = setting(&publisher.address);
    let dir = setting.run().0.unwrap();
    fs::write(dir.join(CHECKED), "[[").unwrap();
    setting.run().0.unwrap();
    setting.assert_complete();
    assert_eq!(publisher.requests(), 4);
}

#[test]
fn a_bad_download_is_refused_by_name() {
    type Spoil = fn(&str, Vec<u8>) -> Vec<u8>;
    let spoils: [(Spoil, &str); 4] = [
        (|_, body| body[..body.len() / 2].to_vec(), "after"),
        (|_, body| body[..body.len() - 4].to_vec(), "after"),
        (|_, _| gzip(&images(61)), "longer than"),
        (|_, body| body.iter().map(|byte| byte ^ 0x55).collect(), "invalid gzip header"),
    ];
    for (spoil, reason) in spoils {
        let publisher =
            Publisher::start(move |name, body| if name.starts_with(FILES[0]) { spoil(name, body) } else { body });
        let setting = setting(&publisher.address);
        let (result, steps) = setting.run();
        let refused = refused(&steps);
        assert!(refused.len() == 1 && refused[0].starts_with("train-images-idx3-ubyte.gz: "), "{refused:?}");
        assert!(refused[0].contains(reason), "{reason}: {refused:?}");
        assert_says(&result.unwrap_err(), &["Fashion-MNIST could not be fetched", &publisher.address]);
        let dir = setting.cache.datasets().join("tiny");
        assert!(!dir.join(FILES[0]).exists());
        assert!(dir.join(FILES[3]).exists(), "the good files are kept");
    }
}

#[test]
fn a_publisher_without_the_files_is_reported() {
    let publisher = Publisher::start(|_, body| body);
    let setting = setting(&format!("{}/elsewhere", publisher.address));
    assert_says(&setting.run().0.unwrap_err(), &["HTTP status 404", "dataset-fashion-mnist"]);
}

#[test]
fn without_an_answer_every_origin_is_reported_and_no_file_is_left() {
    let setting = setting(&closed_address());
    let (result, steps) = setting.run();
    assert_says(&result.unwrap_err(), &["there is no such directory", "127.0.0.1", "refused", "Debian"]);
    let unavailable = steps.iter().filter(|progress| matches!(progress, DataStep::Unavailable { .. })).count();
    assert_eq!(unavailable, 3, "each place once, not once a file: {steps:?}");
    assert_eq!(fs::read_dir(setting.cache.datasets().join("tiny")).unwrap().count(), 0);
}

#[test]
fn the_draft_of_a_killed_run_is_removed() {
    let publisher = Publisher::start(|_, body| body);
    let setting = setting(&publisher.address);
    let left = setting.cache.datasets().join("tiny").join(".draft-left");
    fs::create_dir_all(left.join("debian")).unwrap();
    setting.run().0.unwrap();
    setting.assert_complete();
}

#[test]
fn runs_at_once_fetch_once() {
    let publisher = Publisher::start(|_, body| body);
    let setting = setting(&publisher.address);
    let start = Barrier::new(3);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                start.wait();
                setting.run().0.unwrap();
            });
        }
    });
    setting.assert_complete();
    assert_eq!(publisher.requests(), 4);
}

#[test]
fn waiting_for_another_run_is_reported() {
    let publisher = Publisher::start(|_, body| body);
    let setting = setting(&publisher.address);
    let lock = setting.cache.lock_datasets(&mut |_| ()).unwrap();
    let (sender, steps) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            fetch("tiny", &known_files(), &setting.origins, &setting.cache, &mut |progress| {
                let _ = sender.send(progress);
            })
        });
        assert_eq!(steps.recv().unwrap(), DataStep::Waiting { what: "fetching a dataset" });
        drop(lock);
        waiting.join().unwrap().unwrap();
    });
    setting.assert_complete();
}

#[test]
fn a_proxy_is_asked_for_the_whole_address_and_for_no_tunnel() {
    let proxy = Publisher::start(|_, body| body);
    // No machine has this name: the proxy alone looks it up.
    let mut setting = setting("http://publisher.invalid");
    let through = |user: &str| proxy.address.replace("//", &format!("//{user}"));
    setting.origins.proxy = Some(ureq::Proxy::new(&through("name:pass%3Aword@")).unwrap());
    setting.run().0.unwrap();
    setting.assert_complete();
    assert_eq!(proxy.requests(), 4);
}

#[test]
fn a_host_for_which_no_proxy_is_to_be_used_is_asked_itself() {
    let publisher = Publisher::start(|_, body| body);
    let mut setting = setting(&publisher.address);
    let proxy = ureq::Proxy::builder(ureq::ProxyProtocol::Http).host("proxy.invalid").no_proxy("127.0.0.1");
    setting.origins.proxy = Some(proxy.build().unwrap());
    setting.run().0.unwrap();
    setting.assert_complete();
}
