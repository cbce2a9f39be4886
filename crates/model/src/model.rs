//! The trait that a model implements.

use crate::{
    description::{Description, Options, Task},
    epoch::{Epoch, Report, Sums},
    error::{Error, Result},
    examples::Examples,
    layout::Layout,
};

/// The error of a model that does not predict, by which a client recognises such a model.
pub const NO_PREDICTIONS: &str = "this model does not predict";

/// A model that a federation can train.
///
/// All parameters are in one flat `f32` buffer, the *weights*. A [`Layout`] names the tensors in this buffer.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use fedpipe_model::{
///     Description, Epoch, Examples, Layout, Model, Options, Report, Result, Rows, Sums, Target, Task, Tensor,
///     export_model,
/// };
///
/// /// Predicts the class that it has seen most often. The loss is 1 for each wrong prediction.
/// struct Counts(Vec<f32>);
///
/// impl Model for Counts {
///     fn describe() -> Description {
///         Description::new("counts", "0.1.0", "predicts the most frequent class")
///             .option("start", "0", "the value from which each count starts")
///     }
///
///     fn build(options: &Options, task: &Task, _seed: u64) -> Result<Self> {
///         Ok(Self(vec![options.get("start")?; task.classes()?]))
///     }
///
///     fn layout(&self) -> Layout {
///         [Tensor::param("counts", &[self.0.len()])].into_iter().collect()
///     }
///
///     fn weights(&self) -> &[f32] {
///         &self.0
///     }
///
///     fn weights_mut(&mut self) -> &mut [f32] {
///         &mut self.0
///     }
///
///     fn train_epoch(&mut self, examples: &Examples<'_>, epoch: &Epoch<'_>) -> Result<Report> {
///         let mut report = Report { sums: self.evaluate(examples)?, ..Report::default() };
///         for batch in epoch.batches(examples) {
///             batch.labels().for_each(|label| self.0[label as usize] += 1.0);
///             report.steps += 1;
///         }
///         Ok(report)
///     }
///
///     fn evaluate(&mut self, examples: &Examples<'_>) -> Result<Sums> {
///         let best = (0..self.0.len()).max_by(|&a, &b| self.0[a].total_cmp(&self.0[b]));
///         let mut sums = Sums::default();
///         for batch in examples.batches(500) {
///             let correct = batch.labels().filter(|&label| Some(label as usize) == best).count();
///             sums.add((batch.len() - correct) as f64, correct as u64, batch.len())?;
///         }
///         Ok(sums)
///     }
/// }
///
/// export_model!(Counts);
///
/// // A unit test needs no host.
/// let options = Options::resolve(&Counts::describe(), BTreeMap::new())?;
/// let mut model = Counts::build(&options, &Task { shape: vec![1], target: Target::Classes(3) }, 0)?;
/// let examples = Examples::new(Rows::Floats(&[0.0; 4]), 1, &[2, 0, 2, 1], &[0, 1, 2, 3]);
/// model.train_epoch(&examples, &Epoch::plain(0.1, 2))?;
/// assert_eq!(model.weights(), [1.0, 1.0, 2.0]);
/// assert_eq!(model.evaluate(&examples)?.correct, 2);
/// # Ok::<(), fedpipe_model::Error>(())
/// ```
pub trait Model: Sized + 'static {
    /// Returns the name, the version and the options. It is called without data and must be fast.
    fn describe() -> Description;

    /// Builds the model with its initial weights, which depend on the options, the task and `seed` alone.
    ///
    /// # Errors
    /// A value of an option, or a task, that does not suit this model: [`Task::classes`] and [`Task::real`] refuse the
    /// other kind of targets. Unknown keys are refused before this call.
    fn build(options: &Options, task: &Task, seed: u64) -> Result<Self>;

    /// Returns the named tensors of the weights, in the order in which they lie in the buffer.
    fn layout(&self) -> Layout;

    /// Returns the weights, `layout().weight_count()` values.
    fn weights(&self) -> &[f32];

    /// Returns the weights for writing.
    fn weights_mut(&mut self) -> &mut [f32];

    /// Returns the number of weights. Override it in a model that makes its initial weights only when they are asked
    /// for: most client processes never ask.
    fn weight_count(&self) -> usize {
        self.weights().len()
    }

    /// Replaces the weights by `weights`, which has [`Model::weight_count`] values. Override it together with
    /// [`Model::weight_count`].
    fn set_weights(&mut self, weights: &[f32]) {
        self.weights_mut().copy_from_slice(weights);
    }

    /// Trains over `examples` once, in the mini-batches of [`Epoch::batches`].
    ///
    /// # Errors
    /// Anything that makes the weights unusable, such as a loss that is not finite.
    fn train_epoch(&mut self, examples: &Examples<'_>, epoch: &Epoch<'_>) -> Result<Report>;

    /// Sums losses and correct predictions over `examples`, or the errors of a real target by
    /// [`Sums::add_predictions`]. The weights stay the same.
    ///
    /// # Errors
    /// Anything that makes the sums unusable, such as a loss that is not finite.
    fn evaluate(&mut self, examples: &Examples<'_>) -> Result<Sums>;

    /// Returns the momentum of the local optimiser, one value for each weight; empty if it has none. A model with
    /// [`Description::keeps_momentum`] returns that of `fedpipe_nn::Optimiser`.
    fn momentum(&self) -> &[f32] {
        &[]
    }

    /// Replaces the momentum with which the local optimiser begins the next local epoch 0.
    ///
    /// # Errors
    /// The default always returns an error.
    fn set_momentum(&mut self, momentum: &[f32]) -> Result<()> {
        let _ = momentum;
        Err(Error::new("this model keeps no momentum"))
    }

    /// Writes the class scores of `examples` into `scores`, shape (examples, classes), row-major. For a real target
    /// it writes the predictions, shape (examples, 1).
    ///
    /// # Errors
    /// The default always returns an error.
    fn predict(&mut self, examples: &Examples<'_>, scores: &mut [f32]) -> Result<()> {
        let _ = (examples, scores);
        Err(Error::new(NO_PREDICTIONS))
    }
}
