use serde::{Deserialize, Serialize};

/// The named tensors of the flat weight buffer, in order and without gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layout {
    /// In the order in which they lie in the buffer.
    pub tensors: Vec<Tensor>,
}

/// One tensor of a [`Layout`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// Unique within the layout, such as `dense1.weight`.
    pub name: String,
    /// Row-major.
    pub shape: Vec<usize>,
    /// Whether a server optimiser may move it.
    pub kind: Kind,
    /// Whether it leaves the client.
    pub place: Place,
}

/// What a tensor is to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Trained by gradients; averaged, and moved by the server optimiser.
    Param,
    /// A running statistic; averaged, never moved by a server optimiser.
    Buffer,
}

/// Where a tensor lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Averaged over the clients.
    Shared,
    /// Kept by each client for itself; refused by this version.
    Local,
}

impl Tensor {
    /// A shared parameter, the usual kind.
    pub fn param(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), kind: Kind::Param, place: Place::Shared }
    }

    /// How many weights it has.
    pub fn weight_count(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Layout {
    /// How many weights all tensors have together.
    pub fn weight_count(&self) -> usize {
        self.tensors.iter().map(Tensor::weight_count).sum()
    }
}

impl FromIterator<Tensor> for Layout {
    fn from_iter<I: IntoIterator<Item = Tensor>>(tensors: I) -> Self {
        Self { tensors: tensors.into_iter().collect() }
    }
}
