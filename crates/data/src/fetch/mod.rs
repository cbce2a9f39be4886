//! Fetches Fashion-MNIST from the cache, the system, the publisher or Debian's package, in this order, and checks its
//! SHA-256.

mod debian;
mod download;
mod forward;
mod known_file;
mod no_proxy;
mod resolver;

use std::path::{Path, PathBuf};

use crate::cache::{make_dir, read_json, write_json};
use crate::checksum::Stamp;
use crate::{cache::Cache, data_step::DataStep, error::DataError};
use known_file::{FetchFailure, KnownFile, Scratch};

pub(crate) use debian::SYSTEM;

pub(crate) const NAME: &str = "fashion-mnist";

/// The dataset's identity; see [`DatasetInfo::sha256`](crate::dataset::DatasetInfo).
pub(crate) const SHA256: &str = "5cf0562c46b89a77940b86f40a9a4325e7bed59d53ec555c4d14f0bed41ca53a";

/// The four files, decompressed, in the order of [`FILES`](crate::dataset::FILES).
const KNOWN_FILES: [KnownFile; 4] = [
    KnownFile {
        name: "train-images-idx3-ubyte",
        bytes: 47_040_016,
        sha256: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    },
    KnownFile {
        name: "train-labels-idx1-ubyte",
        bytes: 60_008,
        sha256: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    },
    KnownFile {
        name: "t10k-images-idx3-ubyte",
        bytes: 7_840_016,
        sha256: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    },
    KnownFile {
        name: "t10k-labels-idx1-ubyte",
        bytes: 10_008,
        sha256: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
];

/// The name of the list of files whose hash was correct, with their stamps.
const CHECKED: &str = "checked.json";
type CheckedFiles = Vec<(String, Stamp)>;

/// The origins of the files other than the cache.
#[derive(Clone, Debug)]
struct Origins {
    /// The directory in which Debian's package installs the files.
    system: PathBuf,
    /// The URL of the publisher's directory.
    publisher: String,
    /// The proxy of the publisher, if there is one.
    proxy: Option<ureq::Proxy>,
    /// The name of Debian's package; `None` if Debian is not an origin.
    debian: Option<&'static str>,
}

/// The host of the publisher.
const PUBLISHER_HOST: &str = "fashion-mnist.s3-website.eu-central-1.amazonaws.com";

impl Origins {
    fn usual() -> Self {
        Self {
            system: PathBuf::from(SYSTEM),
            publisher: format!("http://{PUBLISHER_HOST}"),
            proxy: ureq::Proxy::try_from_env().filter(|_| !no_proxy::names(PUBLISHER_HOST)),
            debian: Some("dataset-fashion-mnist"),
        }
    }
}

/// Fetches Fashion-MNIST into the cache, and returns the directory with its four decompressed IDX files.
///
/// The origins are, in this order: the cache, `/usr/share/datasets/fashion-mnist`, the publisher, and Debian's package
/// archive (by `apt-get download`, which needs no root). Each file is checked by its SHA-256. A truncated or altered
/// file is reported by name and not used. Runs that fetch at the same time do so in turn.
///
/// # Errors
/// No origin has the files, or the cache cannot be written.
pub fn fetch_fashion_mnist(cache: &Cache, progress: &mut dyn FnMut(DataStep)) -> Result<PathBuf, DataError> {
    fetch(NAME, &KNOWN_FILES, &Origins::usual(), cache, progress)
}

/// Returns `true` if [`fetch_fashion_mnist`] needs no network: the files are in the cache, or Debian's package is
/// installed.
pub fn has_fashion_mnist(cache: &Cache) -> bool {
    let is_installed = |file: &KnownFile| Path::new(SYSTEM).join(format!("{}.gz", file.name)).is_file();
    unchanged(&cache.datasets().join(NAME), &KNOWN_FILES) || KNOWN_FILES.iter().all(is_installed)
}

fn fetch(
    name: &str,
    known_files: &[KnownFile],
    origins: &Origins,
    cache: &Cache,
    progress: &mut dyn FnMut(DataStep),
) -> Result<PathBuf, DataError> {
    let dir = cache.datasets().join(name);
    let is_complete = if cache.is_trusted() {
        unchanged(&dir, known_files)
    } else {
        // The files are hashed when they are read. A verifying view neither refuses nor replaces them here.
        known_files.iter().all(|file| dir.join(file.name).exists())
    };
    if is_complete {
        return Ok(dir);
    }
    let fetching = cache.lock_datasets(progress)?;
    make_dir(&dir)?;
    let scratch = Scratch::new(&dir, &fetching)?;
    let mut missing = known_file::missing(&dir, known_files, &read_checked(&dir), progress)?;
    let mut reasons = Vec::new();
    for place in [Origin::System, Origin::Publisher, Origin::Debian] {
        if missing.is_empty() {
            break;
        }
        if let Err(reason) = place.fill(origins, &mut missing, &scratch, progress)? {
            let place = place.describe(origins);
            reasons.push(format!("{place}: {reason}"));
            progress(DataStep::Unavailable { place, reason });
        }
    }
    if !missing.is_empty() {
        return Err(DataError::Unavailable { reasons });
    }
    write_json(&dir.join(CHECKED), &known_file::stamps(&dir, known_files)?)?;
    Ok(dir)
}

fn read_checked(dir: &Path) -> CheckedFiles {
    read_json(&dir.join(CHECKED)).unwrap_or_default()
}

/// Returns `true` if all files have the stamps of their last check.
fn unchanged(dir: &Path, known_files: &[KnownFile]) -> bool {
    let checked = read_checked(dir);
    known_files.iter().all(|file| known_file::is_unchanged(dir, file, &checked))
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    System,
    Publisher,
    Debian,
}

impl Origin {
    fn describe(self, origins: &Origins) -> String {
        match self {
            Self::System => origins.system.display().to_string(),
            Self::Publisher => match &origins.proxy {
                Some(proxy) => format!("{} through the proxy {}:{}", origins.publisher, proxy.host(), proxy.port()),
                None => origins.publisher.clone(),
            },
            Self::Debian => "Debian's package archive".to_owned(),
        }
    }

    /// Takes the missing files that this origin has. The inner error is the reason why others are still missing.
    fn fill(
        self,
        origins: &Origins,
        missing: &mut Vec<KnownFile>,
        scratch: &Scratch,
        progress: &mut dyn FnMut(DataStep),
    ) -> Result<Result<(), String>, DataError> {
        let name = self.describe(origins);
        match self {
            Self::System => {
                fill(missing, &mut |file| known_file::copy(&origins.system, &name, file, scratch, progress))
            }
            Self::Publisher => fill(missing, &mut |file| download::download(origins, file, scratch, progress)),
            Self::Debian => {
                let Some(package) = origins.debian else { return Ok(Err("not asked".to_owned())) };
                match debian::unpack(package, &scratch.path().join("debian"), progress) {
                    Ok(unpacked) => {
                        fill(missing, &mut |file| known_file::copy(&unpacked, &name, file, scratch, progress))
                    }
                    Err(reason) => Ok(Err(reason)),
                }
            }
        }
    }
}

/// Calls `take` for each missing file and removes the files that it took from `missing`. The inner error is the first
/// reason why a file is still missing.
fn fill(
    missing: &mut Vec<KnownFile>,
    take: &mut dyn FnMut(&KnownFile) -> Result<(), FetchFailure>,
) -> Result<Result<(), String>, DataError> {
    let mut first = Ok(());
    let mut still = Vec::new();
    let mut rest = missing.drain(..);
    for file in rest.by_ref() {
        let (reason, go_on) = match take(&file) {
            Ok(()) => continue,
            Err(FetchFailure::Cache(error)) => return Err(error),
            Err(FetchFailure::File(reason)) => (reason, true),
            Err(FetchFailure::Origin(reason)) => (reason, false),
        };
        still.push(file);
        if first.is_ok() {
            first = Err(reason);
        }
        if !go_on {
            break;
        }
    }
    still.extend(rest);
    *missing = still;
    Ok(first)
}

#[cfg(test)]
mod tests;
