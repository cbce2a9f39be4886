//! The sample in this crate: 2,000 training and 500 test images of Fashion-MNIST, with equal numbers of each class.
//!
//! `sample/README.md` has its licence and its making.

use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::idx::{FILES, check_published, read_opened};
use super::input::Input;
use super::reading::TargetKind;
use crate::dataset::{Dataset, Portion};
use crate::error::DataError;

/// The sample's identity. It is a constant, so that partitions in the cache are found without reading the sample.
pub(crate) const SHA256: &str = "f8792b0b7c909987b7c799f546995837cacec1db8c22981e3995c9d7ac837572";

const BYTES: [&[u8]; 4] = [
    include_bytes!("../../sample/train-images-idx3-ubyte.gz"),
    include_bytes!("../../sample/train-labels-idx1-ubyte.gz"),
    include_bytes!("../../sample/t10k-images-idx3-ubyte.gz"),
    include_bytes!("../../sample/t10k-labels-idx1-ubyte.gz"),
];

pub(crate) const NAME: &str = "sample";

/// Unpacks the sample.
pub(crate) fn load() -> Result<Dataset, DataError> {
    // The paths are only for error messages, which a correct build never shows.
    let paths = FILES.map(|file| Path::new("sample").join(file));
    let open = |i: usize| Ok(Input { reader: Box::new(MultiGzDecoder::new(BYTES[i])), room: 1 << 24 });
    let splits = read_opened(&paths, Portion::Whole, TargetKind::Classes, &open)?;
    let mut dataset = check_published(Dataset::new(NAME, splits, Portion::Whole)?, Path::new("sample"), SHA256)?;
    dataset.info.sample = true;
    Ok(dataset)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::checksum::Hashing;
    use crate::dataset::DatasetTarget;
    use crate::source::idx::identity;

    #[test]
    fn the_sample_is_stratified_and_has_its_identity() {
        let dataset = load().unwrap();
        let hashes = BYTES.map(|bytes| {
            let mut reader = Hashing::new(MultiGzDecoder::new(bytes));
            reader.read_to_end(&mut Vec::new()).unwrap();
            reader.finish()
        });
        assert_eq!(identity(&hashes), SHA256);
        assert_eq!(dataset.info.shape, [28, 28]);
        assert_eq!((dataset.info.target, dataset.info.sample), (DatasetTarget::classes(10), true));
        for (labels, of_each) in [(dataset.train.labels(), 200), (dataset.test.labels(), 50)] {
            for class in 0..10 {
                assert_eq!(labels.iter().filter(|label| **label == class).count(), of_each, "class {class}");
            }
        }
    }

    #[test]
    fn the_sample_is_small() {
        assert!(BYTES.iter().map(|bytes| bytes.len()).sum::<usize>() < 1_200_000);
    }
}
