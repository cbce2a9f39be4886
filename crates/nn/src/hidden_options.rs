//! The options of hidden layers that models share: `dropout`, `norm` and `norm-place`.

use fedpipe_model::{Description, Error, Options, Place, Result};

use crate::layer::{LayerSpec, Norm};

/// The widest layer that is accepted. A wider one is a typing error, and its weights would not fit into memory.
const WIDEST: usize = 65_536;

/// The options `dropout`, `norm` and `norm-place` of a model.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use fedpipe_model::{Description, Options};
/// use fedpipe_nn::{HiddenOptions, LayerSpec};
///
/// let description = HiddenOptions::describe(Description::new("mine", "0.1.0", "two hidden layers"));
/// let given = BTreeMap::from([("norm".into(), "layer".into())]);
/// let hidden = HiddenOptions::read(&Options::resolve(&description, given)?)?;
/// let layers = hidden.dense(&[64, 32])?;
/// assert_eq!(layers[..3], [LayerSpec::Dense { outputs: 64 }, LayerSpec::LayerNorm, LayerSpec::Relu]);
/// # Ok::<(), fedpipe_model::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HiddenOptions {
    /// The norm before each ReLU, if there is one.
    pub norm: Option<LayerSpec>,
    /// The place of the tensors of norms.
    pub norm_place: Place,
    /// The rate of the dropout after each dense layer.
    dropout: f32,
}

impl HiddenOptions {
    /// Adds the options to a description.
    pub fn describe(description: Description) -> Description {
        description
            .option("dropout", "0", "share of the values of each hidden dense layer that training sets to 0")
            .option("norm", "none", "norm before each ReLU: none, layer or batch")
            .option("norm-place", "shared", "shared, or local: each client keeps its own norms (FedBN)")
    }

    /// Reads the options.
    ///
    /// # Errors
    /// A value that does not parse, and a local place without a norm.
    pub fn read(options: &Options) -> Result<Self> {
        let (norm, norm_place) = (options.get::<Norm>("norm")?, options.get("norm-place")?);
        norm.check_place(norm_place == Place::Local)?;
        Ok(Self { norm: norm.layer(), norm_place, dropout: options.get("dropout")? })
    }

    /// Returns a dense layer of each width, each with its norm, ReLU and dropout.
    ///
    /// # Errors
    /// A width of 0, or of more than 65536.
    pub fn dense(self, widths: &[usize]) -> Result<Vec<LayerSpec>> {
        if let Some(width) = widths.iter().find(|width| !(1..=WIDEST).contains(*width)) {
            return Err(Error::new(format!("model option hidden: a layer cannot be {width} wide, only 1 to {WIDEST}")));
        }
        let dropout = (self.dropout != 0.0).then_some(LayerSpec::Dropout { rate: self.dropout });
        let layers = |&outputs| [Some(LayerSpec::Dense { outputs }), self.norm, Some(LayerSpec::Relu), dropout];
        Ok(widths.iter().flat_map(layers).flatten().collect())
    }
}
