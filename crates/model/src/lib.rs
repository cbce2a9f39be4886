//! What the author of a fedpipe model sees.
//!
//! A model is a `cdylib` that implements [`Model`] and ends with [`export_model!`]. It trains on the [`Examples`] it
//! is lent, in the order it is given, under the rules of one [`Epoch`]. It knows nothing of processes, pipes, files,
//! rounds or strategies. `models/README.md` is the guide, `models/logreg` the smallest example.
//!
//! Everything crosses to the client process as plain data through [`abi`], the frozen door; a panic is caught inside
//! the dylib and comes back as text.

#[doc(hidden)]
pub mod abi;
mod description;
mod epoch;
mod error;
mod examples;
mod layout;

pub use description::{Description, OptionSpec, Options, Task};
pub use epoch::{Epoch, Report, Sums};
pub use error::{Error, Result};
pub use examples::{Batch, Batches, Examples, Row, Rows};
pub use layout::{Kind, Layout, Place, Tensor};

/// A model that a federation can train.
///
/// All parameters live in one flat `f32` buffer, the *weights*, of which [`Layout`] names the parts.
pub trait Model: Sized + 'static {
    /// Name, version and options; needs no data and must be cheap.
    fn describe() -> Description;

    /// Builds the model with its initial weights, which depend on the options, the task and `seed` alone.
    ///
    /// # Errors
    /// An option's value or a task that this model cannot serve. (Unknown option keys are refused before this call.)
    fn build(options: &Options, task: &Task, seed: u64) -> Result<Self>;

    /// The named tensors of the weights, in the order in which they lie in the buffer.
    fn layout(&self) -> Layout;

    /// The weights, `layout().weight_count()` values.
    fn weights(&self) -> &[f32];

    /// The weights, to be changed.
    fn weights_mut(&mut self) -> &mut [f32];

    /// How many weights there are. For a model that makes its initial ones when they are asked for, as most processes never do.
    fn weight_count(&self) -> usize {
        self.weights().len()
    }

    /// Takes the weights of another client or round, as many as [`Model::weight_count`] says. For the same kind of model,
    /// which then need not make its own.
    fn set_weights(&mut self, weights: &[f32]) {
        self.weights_mut().copy_from_slice(weights);
    }

    /// Trains over `examples` once, in mini-batches of [`Epoch::batches`].
    ///
    /// # Errors
    /// Whatever makes the result unusable, a loss that is not finite among it.
    fn train_epoch(&mut self, examples: &Examples<'_>, epoch: &Epoch<'_>) -> Result<Report>;

    /// Loss and correct predictions over `examples`, leaving the weights as they are.
    ///
    /// # Errors
    /// Whatever makes the sums unusable.
    fn evaluate(&mut self, examples: &Examples<'_>) -> Result<Sums>;

    /// Class scores of `examples` into `scores`, shape (examples, classes), row-major.
    ///
    /// # Errors
    /// The default refuses.
    fn predict(&mut self, examples: &Examples<'_>, scores: &mut [f32]) -> Result<()> {
        let _ = (examples, scores);
        Err(Error::new("this model does not predict"))
    }

    /// What a client keeps between rounds besides its weights, such as the state of a kept local optimiser.
    fn state(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes back what [`Model::state`] gave.
    ///
    /// # Errors
    /// Bytes that `state` cannot have given; the default takes none.
    fn set_state(&mut self, state: &[u8]) -> Result<()> {
        match state.len() {
            0 => Ok(()),
            n => Err(Error::new(format!("this model keeps no state, but was given some ({n} B)"))),
        }
    }

    /// A door for calls that come after this version of the ABI: both sides are JSON.
    ///
    /// # Errors
    /// The default knows none.
    fn extension(&mut self, name: &str, json: &str) -> Result<String> {
        let _ = json;
        Err(Error::new(format!("this model has no extension {name:?}")))
    }
}
