//! `model.safetensors`: weights as a file with names and shapes.

use fedpipe_protocol::Layout;
use safetensors::tensor::{Dtype, TensorView};

use crate::error::{Error, Result};

/// Returns the weights as a safetensors file with the layout's names and shapes.
///
/// # Errors
/// Returns [`Error::Encoding`] if the layout has another number of weights.
pub fn safetensors(weights: &[f32], layout: &Layout) -> Result<Vec<u8>> {
    let mut views = Vec::with_capacity(layout.tensors().len());
    for (tensor, range) in layout.ranges() {
        let values = weights.get(range).unwrap_or_default();
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytemuck::cast_slice(values));
        let view = view.map_err(|error| Error::Encoding(error.to_string()))?;
        views.push((tensor.name.as_str(), view));
    }
    safetensors::serialize(views, None).map_err(|error| Error::Encoding(error.to_string()))
}
