//! The layout of the weights: named tensors in one flat buffer.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The named tensors of the flat weight buffer, in order and without gaps.
///
/// ```
/// use fedpipe_model::{Kind, Layout, Place, Tensor};
///
/// let mean = Tensor { name: "norm.mean".into(), shape: vec![10], kind: Kind::Buffer, place: Place::Shared };
/// let layout: Layout = [Tensor::param("dense1.weight", &[784, 10]), mean].into_iter().collect();
/// assert_eq!(layout.weight_count(), 7850);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layout {
    /// The tensors in the order in which they lie in the buffer.
    pub tensors: Vec<Tensor>,
}

/// One tensor of a [`Layout`].
///
/// ```
/// let weight = fedpipe_model::Tensor::param("dense1.weight", &[784, 10]); // (inputs, outputs)
/// assert_eq!(weight.weight_count(), 7840);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// The name, unique within the layout, such as `dense1.weight`.
    pub name: String,
    /// The shape; values are stored in row-major order.
    pub shape: Vec<usize>,
    /// The kind, which tells whether a server optimiser changes the tensor.
    pub kind: Kind,
    /// The place, which tells whether the tensor leaves the client.
    pub place: Place,
}

/// The kind of a tensor, by which the host aggregates it.
///
/// ```
/// use fedpipe_model::{Kind, Tensor};
///
/// // The running mean of a normalisation layer: no gradient trains it.
/// let mean = Tensor { kind: Kind::Buffer, ..Tensor::param("norm.mean", &[64]) };
/// assert_eq!(Tensor::param("norm.weight", &[64]).kind, Kind::Param);
/// # assert_eq!(mean.kind, Kind::Buffer);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A tensor that gradients train: averaged, then changed by the server optimiser.
    Param,
    /// A running statistic: averaged, never changed by a server optimiser.
    Buffer,
}

/// The place where a tensor is kept.
///
/// ```
/// use fedpipe_model::{Layout, Place, Tensor};
///
/// // A personal head: the clients share the first layer, and each client keeps its own last layer.
/// let local = |name, shape: &[usize]| Tensor { place: Place::Local, ..Tensor::param(name, shape) };
/// let layout: Layout = [
///     Tensor::param("body.weight", &[784, 64]),
///     local("head.weight", &[64, 10]),
///     local("head.bias", &[10]),
/// ]
/// .into_iter()
/// .collect();
/// let shared = layout.tensors.iter().filter(|tensor| tensor.place == Place::Shared);
/// assert_eq!(shared.map(Tensor::weight_count).sum::<usize>(), 784 * 64);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The host averages the tensor over the clients.
    Shared,
    /// Each client has its own tensor. The host stores it with the client's state and sends it to that client alone.
    Local,
}

/// The text form of a place in an option of a model.
///
/// ```
/// assert_eq!("local".parse(), Ok(fedpipe_model::Place::Local));
/// ```
impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "shared" => Ok(Place::Shared),
            "local" => Ok(Place::Local),
            _ => Err(Error::new("expected shared or local")),
        }
    }
}

impl Tensor {
    /// Returns a shared parameter, the usual tensor.
    pub fn param(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), kind: Kind::Param, place: Place::Shared }
    }

    /// Returns the number of weights in this tensor.
    pub fn weight_count(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Layout {
    /// Returns the number of weights in all tensors.
    pub fn weight_count(&self) -> usize {
        self.tensors.iter().map(Tensor::weight_count).sum()
    }
}

impl FromIterator<Tensor> for Layout {
    fn from_iter<I: IntoIterator<Item = Tensor>>(tensors: I) -> Self {
        Self { tensors: tensors.into_iter().collect() }
    }
}
