//! Deals iid rows, and adds Gaussian noise to the features that grows with the number of the client (NIID-Bench).

use std::{borrow::Cow, sync::Arc};

use fedpipe_random::{
    key::{Key, Use},
    normal::standard,
};
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Labelled, Partitioner, iid};
use crate::{
    error::DataError,
    split::{Split, SplitFeatures, SplitTargets},
};

/// NIID-Bench draws the noise at each access. Here it is drawn once, when the rows are dealt.
pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "feature-noise",
    summary: "deals iid, and adds Gaussian noise to the features of client k of N, once; the test set has none",
    parameters: &[
        Parameter {
            key: "sigma",
            default: None,
            range: Range::NotNegative,
            help: "the noise of the last client, to features from 0 to 1 where they are bytes",
        },
        Parameter {
            key: "as",
            default: Some(Value::Text(Cow::Borrowed("code"))),
            range: Range::Word { of: &["paper", "code"], wants: "paper or code" },
            help: "code: the standard deviation is sigma·k/(N − 1), k from 0; paper: the variance is sigma·k/N, k from 1",
        },
    ],
    source: "NIID-Bench, Li 2022, noise-based feature imbalance",
    build: |values| Arc::new(FeatureNoise { sigma: values.number("sigma"), of_paper: values.text("as") == "paper" }),
};

#[derive(Debug)]
struct FeatureNoise {
    sigma: f64,
    of_paper: bool,
}

impl Partitioner for FeatureNoise {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        iid::Iid.deal(labelled, clients, seed)
    }

    fn noise(&self, client: u32, clients: u32) -> f64 {
        let (k, n) = (f64::from(client), f64::from(clients));
        if self.of_paper {
            return (self.sigma * (k + 1.0) / n).sqrt();
        }
        if clients == 1 { 0.0 } else { self.sigma * k / (n - 1.0) }
    }
}

/// Returns the key of the noise of a client's features.
pub(crate) fn noise_key(seed: u64, client: u32) -> Key {
    Key { seed, purpose: Use::FeatureNoise, client, round: 0, epoch: 0 }
}

/// Returns some rows of a split with noise in their features. Each feature takes one normal number, in the order of the
/// rows. Bytes become numbers from 0 to 1 first, as a model sees them.
pub(crate) fn noisy(split: &Split, rows: &[u32], deviation: f64, key: &Key) -> Split {
    let mut rng = key.rng();
    let size = split.shape.iter().product::<usize>();
    let mut values = Vec::with_capacity(rows.len() * size);
    for row in rows {
        let places = *row as usize * size..(*row as usize + 1) * size;
        let mut add = |value: f32| values.push((f64::from(value) + deviation * standard(&mut rng)) as f32);
        match &split.features {
            SplitFeatures::U8(bytes) => bytes[places].iter().for_each(|byte| add(f32::from(*byte) / 255.0)),
            SplitFeatures::F32(numbers) => numbers[places].iter().for_each(|number| add(*number)),
        }
    }
    let targets = match &split.targets {
        SplitTargets::Classes(labels) => SplitTargets::Classes(rows.iter().map(|row| labels[*row as usize]).collect()),
        SplitTargets::Real(targets) => SplitTargets::Real(rows.iter().map(|row| targets[*row as usize]).collect()),
    };
    Split { shape: split.shape.clone(), features: SplitFeatures::F32(values), targets, clients: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::Scheme;

    #[test]
    fn the_noise_grows_with_the_client_as_the_code_or_the_paper_says() {
        let noise = |text: &str, clients: u32| {
            let scheme: Scheme = text.parse().unwrap();
            (0..clients).map(|client| scheme.noise(client, clients)).collect::<Vec<_>>()
        };
        assert_eq!(noise("feature-noise:0.5", 3), [0.0, 0.25, 0.5]);
        assert_eq!(noise("feature-noise:0.5", 1), [0.0]);
        assert_eq!(noise("feature-noise:sigma=0.5,as=paper", 2), [0.5, 0.5_f64.sqrt()]);
        assert_eq!(noise("iid", 2), [0.0, 0.0]);
    }

    #[test]
    fn features_are_bytes_over_255_and_noise_of_the_deviation() {
        let n = 100_000;
        let split = Split {
            shape: vec![2],
            features: SplitFeatures::U8([0, 255].repeat(n)),
            targets: SplitTargets::Classes((0..n as u32).collect()),
            clients: None,
        };
        let rows: Vec<u32> = (0..n as u32).step_by(2).collect();
        let noisy = noisy(&split, &rows, 0.1, &noise_key(1, 3));
        assert_eq!(noisy.labels(), rows);
        let SplitFeatures::F32(values) = noisy.features else { panic!("bytes have no noise") };
        for (feature, mean) in [(0, 0.0), (1, 1.0)] {
            let values: Vec<f64> = values.iter().skip(feature).step_by(2).map(|value| f64::from(*value)).collect();
            let n = values.len() as f64;
            let found = values.iter().fold(0.0, |sum, value| sum + value) / n;
            let square = values.iter().fold(0.0, |sum, value| sum + (value - mean) * (value - mean)) / n;
            // Four standard errors.
            assert!((found - mean).abs() < 4.0 * 0.1 / n.sqrt(), "mean {found}");
            assert!((square - 0.01).abs() < 4.0 * 0.01 * (2.0 / n).sqrt(), "variance {square}");
        }
    }
}
