//! The API for the author of a fedpipe model.
//!
//! A model is a `cdylib` that implements [`Model`] and ends with [`export_model!`]. A client lends the model its
//! [`Examples`] in the order in which to visit them, and the rules of one local [`Epoch`]. A model knows nothing of
//! processes, pipes, files, rounds or strategies. `models/README.md` is the guide for authors, with a whole model.
//!
//! Model and client exchange plain data alone. A panic is caught inside the dylib and reaches the client as text.

#[doc(hidden)]
pub mod abi;
mod checked_model;
mod description;
mod epoch;
mod error;
mod examples;
mod layout;
mod model;

pub use description::{Description, OptionSpec, Options, Target, Task};
pub use epoch::{Epoch, RegressionSums, Report, Sums};
pub use error::{Error, Result};
pub use examples::{Batch, Batches, Examples, Row, Rows, TargetValue, Targets};
pub use layout::{Kind, Layout, Place, Tensor};
pub use model::{Model, NO_PREDICTIONS};
