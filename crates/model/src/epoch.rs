//! One local epoch: the rules under which a model trains, and the report that it returns.

use std::{iter::Take, ops::Range};

use crate::{
    error::{Error, Result},
    examples::{Batches, Examples},
};

/// The rules of one local epoch.
///
/// A model needs [`Epoch::batches`], the learning rate, [`Epoch::correct`] between gradient and step, and a step that
/// leaves out [`Epoch::frozen`]. With these it supports every algorithm of the host.
///
/// ```
/// use fedpipe_model::{Epoch, Examples, Rows};
///
/// let examples = Examples::new(Rows::Floats(&[0.5, 1.0, 1.5]), 1, &[0, 1, 0], &[2, 0, 1]);
/// let epoch = Epoch::plain(0.1, 2);
/// let mut weights = [0.0; 4];
/// for batch in epoch.batches(&examples) {
///     let mut gradient = [batch.len() as f32; 4]; // of the mean loss, by the model
///     epoch.correct(&weights, &mut gradient);
///     weights.iter_mut().zip(gradient).for_each(|(w, g)| *w -= epoch.learning_rate * g);
/// }
/// assert!((weights[0] + 0.3).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Epoch<'a> {
    /// The seed of the run. A model with randomness of its own, such as dropout, keys it by the seed and the next three
    /// fields.
    pub seed: u64,
    /// The round, counted from 1.
    pub round: u64,
    /// The client that owns the examples.
    pub client: u32,
    /// The local epoch within the round, counted from 0.
    pub epoch: u64,
    /// The local learning rate.
    pub learning_rate: f32,
    /// The number of examples in a mini-batch, at least 1.
    pub batch_size: usize,
    /// The local optimiser as JSON, such as `{"name":"sgd"}`. `fedpipe_nn::Optimiser` reads it.
    pub optimiser: &'a str,
    /// The most mini-batches to train on, or `None` for no limit. [`Epoch::batches`] applies the limit.
    pub step_limit: Option<u64>,
    /// The ranges of the flat weights that keep their bits, in ascending order. Neither a gradient nor momentum or
    /// weight decay may move them: pass the ranges to `fedpipe_nn::Optimiser::step`. The client refuses an epoch in
    /// which they changed.
    pub frozen: &'a [Range<usize>],
    /// The coefficient μ of the proximal term, 0 for none. [`Report::accumulation`] depends on μ.
    pub proximal: f32,
    /// The weights to which the proximal term pulls, flat; may be empty if μ = 0.
    pub anchor: &'a [f32],
    /// The linear term, which is added to each gradient, flat; empty for none.
    pub linear: &'a [f32],
}

impl<'a> Epoch<'a> {
    /// Returns the rules of a plain epoch of SGD, for tests: no client term, no step limit, no frozen tensor.
    pub fn plain(learning_rate: f32, batch_size: usize) -> Epoch<'static> {
        Epoch {
            seed: 0,
            round: 1,
            client: 0,
            epoch: 0,
            learning_rate,
            batch_size,
            optimiser: r#"{"name":"sgd"}"#,
            step_limit: None,
            frozen: &[],
            proximal: 0.0,
            anchor: &[],
            linear: &[],
        }
    }

    /// Cuts `examples` into mini-batches, up to the step limit of this epoch.
    pub fn batches<'e>(&self, examples: &Examples<'e>) -> Take<Batches<'e>> {
        let limit = self.step_limit.map_or(usize::MAX, |steps| usize::try_from(steps).unwrap_or(usize::MAX));
        examples.batches(self.batch_size).take(limit)
    }

    /// Returns `true` if [`Epoch::correct`] would change nothing. A model may then fuse gradient and step.
    pub fn is_plain(&self) -> bool {
        self.proximal == 0.0 && self.linear.is_empty() && self.frozen.is_empty()
    }

    /// Turns the gradient of the loss at `weights` into the gradient of the local objective of this round.
    ///
    /// Adds the proximal term μ(w − anchor) of FedProx (Li 2020, eq. 2) and the linear term: c − c_k in SCAFFOLD, −g_k
    /// in FedDyn. Sets the gradient of frozen tensors to 0. Both slices are flat, in the order of the layout. The local
    /// optimiser adds momentum and weight decay later.
    pub fn correct(&self, weights: &[f32], gradient: &mut [f32]) {
        // A term with μ = 0 is skipped, so that the bits are those of a run without the term.
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

/// The report of one local epoch.
///
/// ```
/// let mut report = fedpipe_model::Report::default();
/// report.sums.add(2.5, 1, 4)?; // a mini-batch of four examples, one of them predicted correctly
/// report.steps += 1;
/// report.accumulation = report.steps as f64; // plain SGD
/// # Ok::<(), fedpipe_model::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Report {
    /// The number of mini-batches that were trained on.
    pub steps: u64,
    /// The accumulation ‖a‖₁ of the local optimiser in this round so far (FedNova, Wang 2020); NaN for an optimiser
    /// that has none, such as Adam.
    pub accumulation: f64,
    /// The sums over the examples. Each example is scored before its own mini-batch changes the weights.
    pub sums: Sums,
}

/// Sums over examples. The sums of several parts can be added up.
///
/// ```
/// let mut sums = fedpipe_model::Sums::default();
/// sums.add(2.5, 1, 4)?;
/// assert_eq!((sums.loss_sum, sums.correct, sums.examples), (2.5, 1, 4));
/// assert!(sums.add(f64::NAN, 0, 4).is_err());
/// # Ok::<(), fedpipe_model::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// The sum of the losses of all examples.
    pub loss_sum: f64,
    /// The number of examples whose class was predicted; 0 for a real target.
    pub correct: u64,
    /// The number of examples.
    pub examples: u64,
    /// The sums over a real target; `None` for classes.
    pub regression: Option<RegressionSums>,
}

/// Sums over predictions of a real target and over the targets, in order, in f64. RMSE, MAE and R² follow from them.
///
/// ```
/// let mut sums = fedpipe_model::Sums::default();
/// // A batch of two predictions with their targets, and the sum of their losses.
/// sums.add_predictions(4.25, [(1.0, 3.0), (2.5, 2.0)])?;
/// let regression = sums.regression.unwrap();
/// assert_eq!((regression.squared_error, regression.absolute_error), (4.25, 2.5));
/// assert_eq!((regression.target_sum, regression.target_square_sum), (5.0, 13.0));
/// # Ok::<(), fedpipe_model::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RegressionSums {
    /// The sum of (prediction − target)².
    pub squared_error: f64,
    /// The sum of |prediction − target|.
    pub absolute_error: f64,
    /// The sum of the targets.
    pub target_sum: f64,
    /// The sum of the squares of the targets.
    pub target_square_sum: f64,
}

impl Sums {
    /// Adds a batch of `examples` examples that have classes.
    ///
    /// # Errors
    /// A loss that is not finite. ReLU turns NaN into 0, so that only the loss shows it.
    pub fn add(&mut self, loss_sum: f64, correct: u64, examples: usize) -> Result<()> {
        self.take(loss_sum, correct, examples, "try a lower --lr")
    }

    fn take(&mut self, loss_sum: f64, correct: u64, examples: usize, remedy: &str) -> Result<()> {
        if !loss_sum.is_finite() {
            let seen = self.examples;
            return Err(Error::new(format!("the loss became {loss_sum} after {seen} of the examples; {remedy}")));
        }
        self.loss_sum += loss_sum;
        self.correct += correct;
        self.examples += examples as u64;
        Ok(())
    }

    /// Adds a batch of predictions of a real target, each with its target.
    ///
    /// # Errors
    /// Returns the errors of [`Sums::add`].
    pub fn add_predictions(&mut self, loss_sum: f64, pairs: impl IntoIterator<Item = (f32, f32)>) -> Result<()> {
        let mut sums = self.regression.unwrap_or_default();
        let mut examples = 0;
        for (prediction, target) in pairs {
            let (prediction, target) = (f64::from(prediction), f64::from(target));
            let error = prediction - target;
            sums.squared_error += error * error;
            sums.absolute_error += error.abs();
            sums.target_sum += target;
            sums.target_square_sum += target * target;
            examples += 1;
        }
        self.take(loss_sum, 0, examples, "try a lower --lr, or scale the target")?;
        self.regression = Some(sums);
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
        assert!(sums.add(f64::NAN, 0, 1).unwrap_err().to_string().contains("after 2 of the examples"));
    }

    #[test]
    fn a_real_target_may_need_another_scale() {
        let refused = Sums::default().add_predictions(f64::INFINITY, [(3.0e20, 100.0)]).unwrap_err();
        assert!(refused.to_string().ends_with("; try a lower --lr, or scale the target"), "{refused}");
    }

    #[test]
    fn batches_of_predictions_are_added_up() {
        let mut sums = Sums::default();
        sums.add_predictions(5.0, [(1.0, 2.0), (3.0, 1.0)]).unwrap();
        sums.add_predictions(0.25, [(-1.5, -2.0)]).unwrap();
        let regression =
            RegressionSums { squared_error: 5.25, absolute_error: 3.5, target_sum: 1.0, target_square_sum: 9.0 };
        let expected = Sums { loss_sum: 5.25, correct: 0, examples: 3, regression: Some(regression) };
        assert_eq!(sums, expected);
        assert!(sums.add_predictions(f64::INFINITY, [(1.0, 1.0)]).is_err());
        assert_eq!(sums, expected);
    }
}
