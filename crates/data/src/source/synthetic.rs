//! Synthetic(α, β): each client has a linear model of its own (FedProx).

use std::sync::Arc;

use fedpipe_random::{ChaCha8Rng, normal::standard};
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::generator::{Generated, Generator, MadeExamples, key, splits};

pub(super) const ROW: TableRow<dyn Generator> = TableRow {
    name: "synthetic",
    summary: "60 features and 10 classes by a linear model of each client; sizes are log-normal",
    parameters: &[
        Parameter {
            key: "alpha",
            default: Some(Value::Number(1.0)),
            range: Range::NotNegative,
            help: "the deviation of the clients' models; 0 draws all around one mean",
        },
        Parameter {
            key: "beta",
            default: Some(Value::Number(1.0)),
            range: Range::NotNegative,
            help: "the deviation of the clients' features; 0 draws all around one mean",
        },
        Parameter {
            key: "clients",
            default: Some(Value::Number(30.0)),
            range: Range::Count,
            help: "the number of natural clients",
        },
    ],
    source: "FedProx, Li 2020, section 5.1, and its `generate_synthetic.py`",
    build: |values| {
        let (alpha, beta) = (values.number("alpha"), values.number("beta"));
        Arc::new(Synthetic { alpha, beta, clients: values.count("clients") })
    },
};

const FEATURES: usize = 60;
const CLASSES: usize = 10;
/// The largest number of examples of a client. The formula exceeds it once in 4,500 clients.
const MOST: f64 = 65_536.0;

#[derive(Debug)]
struct Synthetic {
    alpha: f64,
    beta: f64,
    clients: u32,
}

/// The model of a client, and the distribution of its features.
struct ClientModel {
    examples: usize,
    /// The mean of each feature.
    means: Vec<f64>,
    /// (feature, class)
    weights: Vec<f64>,
    /// (class)
    biases: Vec<f64>,
}

impl Generator for Synthetic {
    fn generate(&self) -> Generated {
        let (mut train, mut test) = (MadeExamples::default(), MadeExamples::default());
        for client in 0..self.clients {
            let mut rng = key(client, 0).rng();
            let model = self.draw_model(&mut rng);
            let of_train = model.examples * 9 / 10;
            for index in 0..model.examples {
                let features = model.draw_features(&mut rng);
                let label = model.label(&features);
                let split = if index < of_train { &mut train } else { &mut test };
                split.push(features.iter().map(|feature| *feature as f32), label, client);
            }
        }
        splits([train, test], FEATURES, self.clients)
    }
}

impl Synthetic {
    fn draw_model(&self, rng: &mut ChaCha8Rng) -> ClientModel {
        let size = libm::exp(4.0 + 2.0 * standard(rng));
        let of_model = self.alpha * standard(rng);
        let of_features = self.beta * standard(rng);
        let mut around = |mean: f64, count: usize| -> Vec<f64> { (0..count).map(|_| mean + standard(rng)).collect() };
        ClientModel {
            examples: if size < MOST { size as usize + 50 } else { MOST as usize + 50 },
            means: around(of_features, FEATURES),
            weights: around(of_model, FEATURES * CLASSES),
            biases: around(of_model, CLASSES),
        }
    }
}

impl ClientModel {
    /// Draws an example. Feature j, from 1, has the variance j^(−1.2).
    fn draw_features(&self, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let features = (1..).zip(&self.means);
        features.map(|(j, mean)| mean + libm::pow(f64::from(j), -0.6) * standard(rng)).collect()
    }

    /// Returns the class with the greatest logit, of equal ones the first.
    fn label(&self, features: &[f64]) -> u32 {
        let mut logits = self.biases.clone();
        for (feature, weights) in features.iter().zip(self.weights.chunks(CLASSES)) {
            logits.iter_mut().zip(weights).for_each(|(logit, weight)| *logit += feature * weight);
        }
        let greatest = (0..CLASSES).reduce(|best, class| if logits[class] > logits[best] { class } else { best });
        greatest.unwrap_or(0) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::ReadSplits;
    use crate::split::{Split, SplitFeatures};

    fn generate(text: &str) -> ReadSplits {
        text.parse::<fedpipe_spec::table::Named<dyn Generator>>().unwrap().generate().0
    }

    fn features(split: &Split) -> &[f32] {
        match &split.features {
            SplitFeatures::F32(features) => features,
            SplitFeatures::U8(_) => panic!("features are numbers"),
        }
    }

    #[test]
    fn each_client_has_nine_tenths_of_its_examples_for_training() {
        let splits = generate("synthetic");
        for client in 0..30 {
            let count = |split: &Split| {
                split.clients.as_ref().unwrap().of_row.iter().filter(|of_row| **of_row == client).count()
            };
            let (train, test) = (count(&splits.train), count(&splits.test));
            assert!(train + test >= 50 && train == (train + test) * 9 / 10, "client {client}: {train} and {test}");
        }
    }

    /// The variance of feature j within a client is j^(−1.2).
    #[test]
    fn features_have_their_variances() {
        let splits = generate("synthetic:clients=40,alpha=0,beta=0");
        let of_row = &splits.train.clients.as_ref().unwrap().of_row;
        for (j, expected) in [(1, 1.0), (2, 0.435_275_281_648_062), (60, 0.007_348_835_051_847_67)] {
            let (mut squares, mut count) = (0.0, 0.0);
            for client in 0..40 {
                let rows = of_row.iter().enumerate().filter(|(_, of_row)| **of_row == client).map(|(row, _)| row);
                let values: Vec<f64> =
                    rows.map(|row| f64::from(features(&splits.train)[row * FEATURES + j - 1])).collect();
                let mean = values.iter().fold(0.0, |sum, value| sum + value) / values.len() as f64;
                squares += values.iter().fold(0.0, |sum, value| sum + (value - mean) * (value - mean));
                count += values.len() as f64 - 1.0;
            }
            // Five standard errors.
            assert!((squares / count / expected - 1.0).abs() < 5.0 * (2.0 / count).sqrt(), "{j}: {}", squares / count);
        }
    }
}
