//! Fashion-MNIST: from the cache, the system, the publisher or Debian's package, in that order, checked by SHA-256.

mod debian;
mod download;
mod files;
mod forward;
mod resolver;

use std::path::{Path, PathBuf};

use crate::cache::{make_dir, read_json, write_json};
use crate::checksum::Stamp;
use crate::{Cache, DataError, Progress};
use files::{Failure, Scratch, Wanted};

pub(crate) use debian::SYSTEM;

pub(crate) const NAME: &str = "fashion-mnist";

/// The dataset's identity; see [`DatasetInfo::sha256`](crate::DatasetInfo).
pub(crate) const SHA256: &str = "5cf0562c46b89a77940b86f40a9a4325e7bed59d53ec555c4d14f0bed41ca53a";

/// The four files, decompressed, in the order of [`FILES`](crate::dataset::FILES).
const WANTED: [Wanted; 4] = [
    Wanted {
        name: "train-images-idx3-ubyte",
        bytes: 47_040_016,
        sha256: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    },
    Wanted {
        name: "train-labels-idx1-ubyte",
        bytes: 60_008,
        sha256: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    },
    Wanted {
        name: "t10k-images-idx3-ubyte",
        bytes: 7_840_016,
        sha256: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    },
    Wanted {
        name: "t10k-labels-idx1-ubyte",
        bytes: 10_008,
        sha256: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
];

/// The files that were hashed and found right, with the stamps that they had.
const CHECKED: &str = "checked.json";
type Checked = Vec<(String, Stamp)>;

/// Where the files may come from besides the cache.
#[derive(Clone, Debug)]
struct Places {
    /// Where Debian's package puts them.
    system: PathBuf,
    /// The address of the publisher's directory.
    publisher: String,
    /// The way to the publisher, where it is not a straight one.
    proxy: Option<ureq::Proxy>,
    /// Debian's package with the files, if Debian is to be asked.
    debian: Option<&'static str>,
}

impl Places {
    fn usual() -> Self {
        Self {
            system: PathBuf::from(SYSTEM),
            publisher: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com".to_owned(),
            proxy: ureq::Proxy::try_from_env(),
            debian: Some("dataset-fashion-mnist"),
        }
    }
}

/// Sees to it that Fashion-MNIST is in the cache, and returns the directory with its four decompressed IDX files.
///
/// Looks in the cache, then in `/usr/share/datasets/fashion-mnist`, then asks the publisher, then Debian's package
/// archive (through `apt-get download`, which needs no root). Whatever is found is checked by its SHA-256; a file that
/// is truncated or altered is told of by name and not used. Two runs at once take turns.
///
/// # Errors
/// Where no place has the files, or the cache cannot be written.
pub fn fetch_fashion_mnist(cache: &Cache, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, DataError> {
    fetch(NAME, &WANTED, &Places::usual(), cache, progress)
}

fn fetch(
    name: &str,
    wanted: &[Wanted],
    places: &Places,
    cache: &Cache,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, DataError> {
    let dir = cache.datasets().join(name);
    let is_complete = match cache.is_trusted() {
        true => unchanged(&dir, wanted),
        // The files are hashed when they are read, and neither refused nor replaced here.
        false => wanted.iter().all(|file| dir.join(file.name).exists()),
    };
    if is_complete {
        return Ok(dir);
    }
    let fetching = cache.lock_datasets(progress)?;
    make_dir(&dir)?;
    let scratch = Scratch::new(&dir, &fetching)?;
    let mut missing = files::missing(&dir, wanted, &remembered(&dir), progress)?;
    let mut reasons = Vec::new();
    for place in [Place::System, Place::Publisher, Place::Debian] {
        if missing.is_empty() {
            break;
        }
        if let Err(reason) = place.fill(places, &mut missing, &scratch, progress)? {
            let place = place.describe(places);
            reasons.push(format!("{place}: {reason}"));
            progress(Progress::Unavailable { place, reason });
        }
    }
    if !missing.is_empty() {
        return Err(DataError::Unavailable { reasons });
    }
    write_json(&dir.join(CHECKED), &files::stamps(&dir, wanted)?)?;
    Ok(dir)
}

fn remembered(dir: &Path) -> Checked {
    read_json(&dir.join(CHECKED)).unwrap_or_default()
}

/// Whether all files are as they were when they were last hashed.
fn unchanged(dir: &Path, wanted: &[Wanted]) -> bool {
    let checked = remembered(dir);
    wanted.iter().all(|file| files::is_unchanged(dir, file, &checked))
}

#[derive(Clone, Copy, Debug)]
enum Place {
    System,
    Publisher,
    Debian,
}

impl Place {
    fn describe(self, places: &Places) -> String {
        match self {
            Self::System => places.system.display().to_string(),
            Self::Publisher => places.publisher.clone(),
            Self::Debian => "Debian's package archive".to_owned(),
        }
    }

    /// Takes as many of the missing files from this place as it has; the inner error says why the rest is still
    /// missing.
    fn fill(
        self,
        places: &Places,
        missing: &mut Vec<Wanted>,
        scratch: &Scratch,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Result<(), String>, DataError> {
        let name = self.describe(places);
        match self {
            Self::System => fill(missing, &mut |file| files::copy(&places.system, &name, file, scratch, progress)),
            Self::Publisher => fill(missing, &mut |file| download::download(places, file, scratch, progress)),
            Self::Debian => {
                let Some(package) = places.debian else { return Ok(Err("not asked".to_owned())) };
                match debian::unpack(package, &scratch.path().join("debian"), progress) {
                    Ok(unpacked) => fill(missing, &mut |file| files::copy(&unpacked, &name, file, scratch, progress)),
                    Err(reason) => Ok(Err(reason)),
                }
            }
        }
    }
}

/// Calls `take` for each missing file; those that it took are no longer missing. Returns the first reason why one still
/// is.
fn fill(
    missing: &mut Vec<Wanted>,
    take: &mut dyn FnMut(&Wanted) -> Result<(), Failure>,
) -> Result<Result<(), String>, DataError> {
    let mut first = Ok(());
    let mut still = Vec::new();
    let mut rest = missing.drain(..);
    for file in rest.by_ref() {
        let (reason, go_on) = match take(&file) {
            Ok(()) => continue,
            Err(Failure::Cache(error)) => return Err(error),
            Err(Failure::File(reason)) => (reason, true),
            Err(Failure::Place(reason)) => (reason, false),
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
