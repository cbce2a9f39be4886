//! The reader of folders of images: one folder a class, in the directory or in `train` and `test` below it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::available_parallelism;

use image::{DynamicImage, imageops::FilterType};

use super::class_names::ClassNames;
use super::reading::{ImageSize, TargetKind};
use super::splits::FoundSplits;
use super::{ReadRequest, Reader};
use crate::dataset::ReadSplits;
use crate::error::DataError;
use crate::split::{Split, SplitFeatures};
use crate::spread::spread;

pub(super) const READER: Reader = Reader {
    name: "images",
    files: "a directory with a folder of png or jpeg files for each class, or with such folders in train and test",
    takes: &["--test-split", "--image-size"],
    find,
    read,
};

/// The endings of images, in lower case. Those after jpeg are refused by name, and not left out.
const ENDINGS: [&str; 9] = ["png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff", "heic"];

/// A decoded image, and the number of bytes of a pixel.
struct Decoded {
    shape: [usize; 3],
    bytes: Vec<u8>,
}

/// Decodes `count` images to one array of bytes. `load` returns the content of a file, and `name` is for messages.
///
/// # Errors
/// An image cannot be decoded, or the images have several sizes or colours.
pub(super) fn stack(
    count: usize,
    size: Option<ImageSize>,
    name: &(dyn Fn(usize) -> String + Sync),
    load: &(dyn Fn(usize) -> Result<Vec<u8>, DataError> + Sync),
) -> Result<(Vec<usize>, SplitFeatures), DataError> {
    let decoded = Mutex::new(Vec::with_capacity(count));
    let failed = OnceLock::new();
    spread(available_parallelism().map_or(1, usize::from), 0..count, |at| {
        if failed.get().is_some() {
            return;
        }
        let image = load(at)
            .and_then(|content| decode(&content, size).map_err(|reason| DataError::Image { place: name(at), reason }));
        match image {
            Ok(image) => decoded.lock().unwrap_or_else(PoisonError::into_inner).push((at, image)),
            Err(error) => drop(failed.set(error)),
        }
    });
    if let Some(error) = failed.into_inner() {
        return Err(error);
    }
    let mut decoded = decoded.into_inner().unwrap_or_else(PoisonError::into_inner);
    decoded.sort_by_key(|(at, _)| *at);
    let first = decoded.first().map(|(_, image)| image.shape).unwrap_or_default();
    if let Some((at, other)) = decoded.iter().find(|(_, image)| image.shape != first) {
        let [name, other_name] = [name(0), name(*at)];
        if other.shape[..2] == first[..2] {
            return Err(DataError::ImageColours { name, other: other_name });
        }
        return Err(DataError::ImageSizes { name, size: first, other: other_name, other_size: other.shape });
    }
    let shape = if first[2] == 1 { first[..2].to_vec() } else { first.to_vec() };
    Ok((shape, SplitFeatures::U8(decoded.into_iter().flat_map(|(_, image)| image.bytes).collect())))
}

/// Decodes an image, scales it to `size`, and converts it to grey or colour.
fn decode(content: &[u8], size: Option<ImageSize>) -> Result<Decoded, String> {
    let image = image::load_from_memory(content).map_err(|error| error.to_string())?;
    let image = match size {
        Some(ImageSize { height, width, .. }) if (image.height(), image.width()) != (height, width) => {
            image.resize_exact(width, height, FilterType::Triangle)
        }
        _ => image,
    };
    let is_colour = size.and_then(|size| size.channels).map_or(image.color().has_color(), |channels| channels == 3);
    let [height, width] = [image.height() as usize, image.width() as usize];
    Ok(Decoded { shape: [height, width, if is_colour { 3 } else { 1 }], bytes: bytes_of(image, is_colour) })
}

fn bytes_of(image: DynamicImage, is_colour: bool) -> Vec<u8> {
    if is_colour { image.into_rgb8().into_raw() } else { image.into_luma8().into_raw() }
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// Returns the entries of a folder in the order of their names, without hidden ones such as `.ipynb_checkpoints`.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    paths.sort();
    paths
}

/// Refuses a folder without an image: its class would have no label, and those after it other labels.
fn check_folders(directory: &Path) -> Result<(), DataError> {
    let is_empty = |folder: &PathBuf| folder.is_dir() && !entries(folder).iter().any(|path| is_image(path));
    match entries(directory).into_iter().find(is_empty) {
        Some(folder) => Err(DataError::NoImages { folder }),
        None => Ok(()),
    }
}

/// Returns the images in the folders of a directory, in the order of the folders' and of their own names.
fn images_below(directory: &Path) -> Vec<PathBuf> {
    entries(directory).iter().flat_map(|folder| entries(folder)).filter(|path| is_image(path)).collect()
}

fn find(request: &ReadRequest<'_>) -> Result<Option<Vec<PathBuf>>, DataError> {
    let [train, test] = ["train", "test"].map(|split| images_below(&request.place.join(split)));
    let images =
        if train.is_empty() && test.is_empty() { images_below(&request.place) } else { [train, test].concat() };
    Ok((!images.is_empty()).then_some(images))
}

fn read(request: &ReadRequest<'_>, paths: &[PathBuf]) -> Result<ReadSplits, DataError> {
    if request.reading.target == TargetKind::Real {
        return Err(DataError::RealImages { path: request.place.clone() });
    }
    let [train_folder, test_folder] = ["train", "test"].map(|split| request.place.join(split));
    let is_below = |folder: &PathBuf| paths.iter().any(|path| path.starts_with(folder));
    match [&train_folder, &test_folder].map(is_below) {
        [false, false] => check_folders(&request.place)?,
        _ => [&train_folder, &test_folder].into_iter().try_for_each(|folder| check_folders(folder))?,
    }
    let (test, first): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(|path| path.starts_with(&test_folder));
    let class_names = ClassNames::of(&classes(if first.is_empty() { &test } else { &first }), &request.place)?;
    let split = |paths: Vec<&PathBuf>| -> Result<Option<Split>, DataError> {
        if paths.is_empty() {
            return Ok(None);
        }
        let name = |at: usize| paths[at].display().to_string();
        let load =
            |at: usize| fs::read(paths[at]).map_err(|source| DataError::Read { path: paths[at].clone(), source });
        let (shape, features) = stack(paths.len(), request.reading.image_size, &name, &load)?;
        let targets = class_names.targets(&classes(&paths), TargetKind::Classes, &request.place)?;
        Ok(Some(Split { shape, features, targets, clients: None }))
    };
    let (first, test) = (split(first)?, split(test)?);
    let test_files = [request.place.clone(), request.place.clone()];
    FoundSplits { first, test, class_names, feature_names: Vec::new(), test_files }.finish(request)
}

/// Returns the name of each image's folder.
fn classes(paths: &[&PathBuf]) -> Vec<String> {
    let folder = |path: &&PathBuf| path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into();
    paths.iter().map(folder).collect()
}
