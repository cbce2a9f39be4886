//! The kinds of layers as a model's author names them, and the shape of an example between two layers.

use std::str::FromStr;

use super::{
    Layer, batch_norm::BatchNorm, conv::Conv, dense::Dense, dropout::Dropout, layer_norm::LayerNorm, max_pool::MaxPool,
    relu_layer::ReluLayer,
};
use crate::{
    error::{Error, Result},
    isa::Isa,
};

/// The shape of one example: planes of pixels, one for each channel, or a flat row.
///
/// ```
/// use fedpipe_nn::Shape;
///
/// assert_eq!(Shape::of(&[28, 28]), Shape::image(1, 28, 28)); // grey
/// assert_eq!(Shape::of(&[3, 32, 32]), Shape::image(3, 32, 32)); // planes
/// assert_eq!(Shape::of(&[32, 32, 3]), Shape::pixels(3, 32, 32)); // the channels of a pixel side by side
/// assert_eq!(Shape::of(&[30]), Shape::flat(30));
/// assert_eq!(Shape::of(&[32, 32, 3]).len(), 3072);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The number of channels; the length of a flat row.
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// `true` if the channels of a pixel are side by side. Only the inputs of a network may have this order.
    pub(crate) interleaved: bool,
}

impl Shape {
    /// Returns the shape of a row of `len` values.
    pub const fn flat(len: usize) -> Self {
        Self { channels: len, height: 1, width: 1, interleaved: false }
    }

    /// Returns the shape of `channels` planes, each row-major.
    pub const fn image(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width, interleaved: false }
    }

    /// Returns the shape of an image whose pixels have their channels side by side.
    pub const fn pixels(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width, interleaved: true }
    }

    /// Returns the shape that a list of dimensions means: (height, width) is a grey image. Of three dimensions the one
    /// at an end that is at most 4 is the channels, the last one first. All other lists are flat.
    pub fn of(dimensions: &[usize]) -> Self {
        match *dimensions {
            [height, width] => Self::image(1, height, width),
            [height, width, channels @ 1..=4] => Self::pixels(channels, height, width),
            [channels @ 1..=4, height, width] => Self::image(channels, height, width),
            _ => Self::flat(dimensions.iter().product()),
        }
    }

    /// Returns the number of values.
    #[expect(clippy::len_without_is_empty, reason = "a network refuses an empty shape")]
    pub const fn len(self) -> usize {
        self.channels * self.height * self.width
    }

    /// Returns the number of channels, height and width.
    pub const fn dimensions(self) -> (usize, usize, usize) {
        (self.channels, self.height, self.width)
    }

    /// Returns the number of values of a channel.
    pub(crate) const fn positions(self) -> usize {
        self.height * self.width
    }
}

/// A choice of norm, as the option `norm` of a model names it.
///
/// ```
/// use fedpipe_nn::{LayerSpec, Norm};
///
/// assert_eq!("batch".parse::<Norm>()?.layer(), Some(LayerSpec::BatchNorm));
/// assert_eq!("none".parse::<Norm>()?.layer(), None);
/// assert_eq!("group".parse::<Norm>().unwrap_err().to_string(), "expected none, layer or batch");
/// # Ok::<(), fedpipe_nn::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// No norm.
    None,
    /// [`LayerSpec::LayerNorm`].
    Layer,
    /// [`LayerSpec::BatchNorm`].
    Batch,
}

impl FromStr for Norm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Norm::None),
            "layer" => Ok(Norm::Layer),
            "batch" => Ok(Norm::Batch),
            _ => Err(Error::new("expected none, layer or batch")),
        }
    }
}

impl Norm {
    /// Returns the layer.
    pub fn layer(self) -> Option<LayerSpec> {
        match self {
            Norm::None => None,
            Norm::Layer => Some(LayerSpec::LayerNorm),
            Norm::Batch => Some(LayerSpec::BatchNorm),
        }
    }

    /// Refuses a place that differs from the default (`is_local`) where there is no norm.
    ///
    /// # Errors
    /// A local place without a norm.
    pub fn check_place(self, is_local: bool) -> Result<()> {
        if is_local && self == Norm::None {
            let why = "a local place of norms has no effect without a norm; set norm=layer or norm=batch";
            return Err(Error::new(why));
        }
        Ok(())
    }
}

/// One layer of a stack: [`Network::stack`](crate::network::Network::stack) builds it.
///
/// ```
/// use fedpipe_nn::{LayerSpec, Network, Shape};
///
/// let layers = [
///     LayerSpec::Conv { channels: 4, kernel: 3 },
///     LayerSpec::MaxPool { size: 2 },
///     LayerSpec::Relu,
///     LayerSpec::Dense { outputs: 10 },
/// ];
/// let network = Network::stack(Shape::image(1, 8, 8), &layers)?;
/// assert_eq!(network.weight_count(), 4 * 9 + 4 + 4 * 3 * 3 * 10 + 10);
/// # Ok::<(), fedpipe_nn::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum LayerSpec {
    /// outputs = inputs · weight + bias, over all values of an example.
    Dense {
        /// The number of outputs.
        outputs: usize,
    },
    /// A convolution with a square kernel, a step of 1 and no padding, as PyTorch's `Conv2d`.
    Conv {
        /// The number of channels of the outputs.
        channels: usize,
        /// The height and the width of the kernel.
        kernel: usize,
    },
    /// The maximum of each square of `size` · `size` pixels. Squares do not overlap; a rest at an edge is left out.
    MaxPool {
        /// The height and the width of a square.
        size: usize,
    },
    /// Negative values become 0.
    Relu,
    /// In training a value becomes 0 with the probability `rate`, and the others are divided by 1 − `rate`.
    Dropout {
        /// The probability, at least 0 and below 1.
        rate: f32,
    },
    /// Each channel is normalised over the batch, and over the running statistics in an evaluation.
    BatchNorm,
    /// Each example is normalised over all of its values; each channel has a factor and a shift.
    LayerNorm,
}

impl LayerSpec {
    pub(crate) fn is_dropout(self) -> bool {
        matches!(self, LayerSpec::Dropout { .. })
    }

    /// Returns the layer for inputs of `shape`. Its weights begin at `offset`, and `dropouts` dropouts precede it.
    pub(crate) fn build(self, isa: Isa, shape: Shape, offset: usize, dropouts: usize) -> Result<Box<dyn Layer>> {
        self.check("inputs", shape)?;
        match self {
            LayerSpec::Dense { outputs } => self.check("outputs", Shape::flat(outputs))?,
            LayerSpec::Conv { channels, .. } => self.check("outputs", Shape { channels, ..shape })?,
            _ => {}
        }
        Ok(match self {
            LayerSpec::Dense { outputs } => Box::new(Dense::new(isa, shape.len(), outputs, offset)),
            LayerSpec::Conv { channels, kernel } => Box::new(Conv::new(isa, shape, channels, kernel, offset)?),
            LayerSpec::MaxPool { size } => Box::new(MaxPool::new(shape, size)?),
            LayerSpec::Relu => Box::new(ReluLayer::new(shape)),
            LayerSpec::Dropout { rate } => Box::new(Dropout::new(shape, rate, dropouts)?),
            LayerSpec::BatchNorm => Box::new(BatchNorm::new(isa, shape, offset)),
            LayerSpec::LayerNorm => Box::new(LayerNorm::new(isa, shape, offset)),
        })
    }

    /// Refuses inputs or outputs without a value, or with more than kernels count.
    fn check(self, side: &str, shape: Shape) -> Result<()> {
        let (channels, height, width) = shape.dimensions();
        let values = channels.checked_mul(height).and_then(|values| values.checked_mul(width));
        if values.is_some_and(is_width) {
            return Ok(());
        }
        Err(Error::new(format!(
            "a layer needs 1 to 2^30 values, but {self:?} has {side} of {channels}×{height}×{width}"
        )))
    }

    /// Returns an error if images whose pixels have their channels side by side are no inputs of this layer.
    pub(crate) fn check_order(self, shape: Shape) -> Result<()> {
        let takes = matches!(self, LayerSpec::Dense { .. } | LayerSpec::Conv { .. });
        if takes || !shape.interleaved {
            return Ok(());
        }
        Err(Error::new(format!(
            "{self:?} cannot be the first layer of images whose pixels have their channels side by side; begin with \
             a convolution or a dense layer"
        )))
    }
}

/// Returns `true` if a layer may have `width` inputs or outputs. Kernels count columns by u32.
pub(crate) fn is_width(width: usize) -> bool {
    (1..=1 << 30).contains(&width)
}
