use std::{iter::Take, ops::Range};

use crate::{Batches, Error, Examples, Result};

/// The rules of one local epoch.
///
/// A model needs three things of it: [`Epoch::batches`], [`Epoch::correct`] between gradient and step, and the
/// learning rate. With these it supports every algorithm of the host.
#[derive(Debug, Clone, Copy)]
pub struct Epoch<'a> {
    /// The run's seed, for the model's own randomness (such as dropout), to be keyed with the next three.
    pub seed: u64,
    /// The round, from 1.
    pub round: u64,
    /// The client whose partition is trained on.
    pub client: u32,
    /// The local epoch within the round, from 0.
    pub epoch: u64,
    /// The local learning rate.
    pub learning_rate: f32,
    /// Examples a mini-batch, at least 1.
    pub batch_size: usize,
    /// The local optimiser as JSON, such as `{"name":"sgd"}`; `fedpipe_nn::Optimiser` reads it.
    pub optimiser: &'a str,
    /// Whether the local optimiser goes on from the round before; otherwise it starts afresh at local epoch 0.
    pub keep_optimiser: bool,
    pub(crate) step_limit: Option<u64>,
    pub(crate) frozen: &'a [Range<usize>],
    pub(crate) proximal: f32,
    pub(crate) anchor: &'a [f32],
    pub(crate) linear: &'a [f32],
}

impl<'a> Epoch<'a> {
    /// A plain epoch of SGD: no client-side term, no step limit, every tensor trained. For tests.
    pub fn plain(learning_rate: f32, batch_size: usize) -> Epoch<'static> {
        Epoch {
            seed: 0,
            round: 1,
            client: 0,
            epoch: 0,
            learning_rate,
            batch_size,
            optimiser: r#"{"name":"sgd"}"#,
            keep_optimiser: false,
            step_limit: None,
            frozen: &[],
            proximal: 0.0,
            anchor: &[],
            linear: &[],
        }
    }

    /// The mini-batches to train on, as many as this epoch allows.
    pub fn batches<'e>(&self, examples: &Examples<'e>) -> Take<Batches<'e>> {
        let limit = self.step_limit.map_or(usize::MAX, |steps| usize::try_from(steps).unwrap_or(usize::MAX));
        examples.batches(self.batch_size).take(limit)
    }

    /// The proximal coefficient μ, 0 without one; part of ‖a‖₁.
    pub fn proximal(&self) -> f32 {
        self.proximal
    }

    /// Whether [`Epoch::correct`] has nothing to do, so that a model may fuse gradient and step.
    pub fn is_plain(&self) -> bool {
        self.proximal == 0.0 && self.linear.is_empty() && self.frozen.is_empty()
    }

    /// Turns the gradient of the loss at `weights` into the gradient of the round's local objective: adds
    /// μ(w − anchor) (FedProx, Li 2020, eq. 2) and the linear term (SCAFFOLD's c − c_k, FedDyn's −g_k), and zeroes
    /// what is not trained. Both are flat, in layout order.
    pub fn correct(&self, weights: &[f32], gradient: &mut [f32]) {
        // Skipped, not multiplied by 0, so that μ = 0 has the bits of a run without the term.
        if self.proximal != 0.0 {
            for ((g, w), a) in gradient.iter_mut().zip(weights).zip(self.anchor) {
                *g += self.proximal * (w - a);
            }
        }
        gradient.iter_mut().zip(self.linear).for_each(|(g, term)| *g += term);
        for range in self.frozen {
            gradient[range.clone()].fill(0.0);
        }
    }
}

/// What an epoch of training did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Report {
    /// Mini-batches trained on.
    pub steps: u64,
    /// ‖a‖₁, the accumulation of the local optimiser in this round so far (FedNova, Wang 2020); NaN if it has
    /// none, as Adam.
    pub accumulation: f64,
    /// Over the examples, each scored before the step that it took part in.
    pub sums: Sums,
}

/// Sums over examples, so that parts can be merged.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Σ of the examples' losses.
    pub loss_sum: f64,
    /// Examples whose class was predicted.
    pub correct: u64,
    /// Examples scored.
    pub examples: u64,
}

impl Sums {
    /// Adds a batch.
    ///
    /// # Errors
    /// A loss that is not finite: ReLU hides NaN from the weights, so this is where it is seen.
    pub fn add(&mut self, loss_sum: f64, correct: u64, examples: usize) -> Result<()> {
        if !loss_sum.is_finite() {
            let seen = self.examples;
            return Err(Error::new(format!(
                "the loss became {loss_sum} after {seen} of the examples; try a lower --lr"
            )));
        }
        self.loss_sum += loss_sum;
        self.correct += correct;
        self.examples += examples as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correct_applies_every_term() {
        let frozen = vec![0..0, 2..3];
        let epoch = Epoch {
            proximal: 0.5,
            anchor: &[1.0, 1.0, 1.0],
            linear: &[10.0, 20.0, 30.0],
            frozen: &frozen,
            ..Epoch::plain(0.1, 1)
        };
        let mut gradient = [1.0, 2.0, 3.0];
        epoch.correct(&[3.0, 1.0, 0.0], &mut gradient);
        assert_eq!(gradient, [12.0, 22.0, 0.0]);
        assert!(!epoch.is_plain() && Epoch::plain(0.1, 1).is_plain());
    }

    #[test]
    fn a_loss_that_is_not_finite_is_refused() {
        let mut sums = Sums::default();
        sums.add(1.5, 1, 2).unwrap();
        assert!(sums.add(f64::NAN, 0, 1).unwrap_err().to_string().contains("after 2 examples"));
    }
}
