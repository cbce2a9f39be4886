//! Standardises features by the mean and the standard deviation of each over the training examples.

use serde::{Deserialize, Serialize};

use crate::checksum;
use crate::split::{Split, SplitFeatures};

/// The statistics by which features were standardised, in the units of the files: a feature x became (x − mean) / sd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standardisation {
    /// The mean of each feature over the training examples.
    pub mean: Vec<f64>,
    /// The standard deviation of each feature, with n in the denominator; 1 for a constant feature.
    pub sd: Vec<f64>,
}

impl Standardisation {
    /// Returns the statistics of these rows, in two passes in the order of the rows.
    pub(crate) fn of(train: &Split, rows: &[u32]) -> Self {
        let columns = train.shape.iter().product::<usize>();
        let n = rows.len() as f64;
        let mut mean = vec![0.0; columns];
        each_row(train, rows, &mut |row| mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value));
        mean.iter_mut().for_each(|sum| *sum /= n);
        let mut sd = vec![0.0; columns];
        each_row(train, rows, &mut |row| {
            sd.iter_mut().zip(row).zip(&mean).for_each(|((sum, value), mean)| *sum += (value - mean) * (value - mean));
        });
        let of_sum = |sum: f64| if sum > 0.0 { (sum / n).sqrt() } else { 1.0 };
        Self { mean, sd: sd.into_iter().map(of_sum).collect() }
    }

    /// Returns the split with standardised features.
    pub(crate) fn apply(&self, split: &Split) -> Split {
        let mut values = Vec::with_capacity(split.len() * self.mean.len());
        each_row(split, &Vec::from_iter(0..split.len() as u32), &mut |row| {
            let standardised =
                row.zip(&self.mean).zip(&self.sd).map(|((value, mean), sd)| ((value - mean) / sd) as f32);
            values.extend(standardised);
        });
        let Split { shape, targets, clients, .. } = split;
        let (shape, targets, clients) = (shape.clone(), targets.clone(), clients.clone());
        Split { shape, features: SplitFeatures::F32(values), targets, clients }
    }

    /// Returns the SHA-256 of the statistics, little-endian, in hexadecimal.
    pub(crate) fn sha256(&self) -> String {
        let bytes: Vec<u8> = self.mean.iter().chain(&self.sd).flat_map(|value| value.to_le_bytes()).collect();
        checksum::pieces_sha256([bytes.as_slice()])
    }
}

/// Calls `visit` with the features of each of these rows.
fn each_row(split: &Split, rows: &[u32], visit: &mut dyn FnMut(&mut dyn Iterator<Item = f64>)) {
    let columns = split.shape.iter().product::<usize>();
    for &row in rows {
        let place = row as usize * columns..(row as usize + 1) * columns;
        match &split.features {
            SplitFeatures::U8(bytes) => visit(&mut bytes[place].iter().map(|&byte| f64::from(byte))),
            SplitFeatures::F32(values) => visit(&mut values[place].iter().map(|&value| f64::from(value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::SplitTargets;

    fn split(features: SplitFeatures, n: usize) -> Split {
        Split { shape: vec![2], features, targets: SplitTargets::Classes(vec![0; n]), clients: None }
    }

    /// The values are those of scikit-learn's StandardScaler.
    #[test]
    fn features_are_standardised_by_the_training_rows() {
        // The third row is held out.
        let train = split(SplitFeatures::F32(vec![1.0, 5.0, 2.0, 5.0, 9.0, 9.0, 6.0, 5.0]), 4);
        let by = Standardisation::of(&train, &[0, 1, 3]);
        assert_eq!((by.mean.as_slice(), by.sd[1]), (&[3.0, 5.0][..], 1.0));
        assert!((by.sd[0] - 2.160_246_899_469_287).abs() < 1e-15, "{:?}", by.sd);
        let SplitFeatures::F32(values) = by.apply(&train).features else { panic!("no floats") };
        assert_eq!(values[..4], [-0.925_820_1, 0.0, -0.462_910_06, 0.0]);
        assert_eq!(values[6..], [1.388_730_2, 0.0]);
        let test = by.apply(&split(SplitFeatures::U8(vec![3, 7]), 1));
        assert_eq!(test.features, SplitFeatures::F32(vec![0.0, 2.0]));
        assert_eq!(test.labels(), [0]);
        assert_ne!(by.sha256(), Standardisation { mean: vec![3.0, 5.5], ..by.clone() }.sha256());
    }
}
