//! `model.safetensors`: weights as a file with names and shapes.

use std::collections::BTreeMap;

use fedpipe_protocol::Layout;
use safetensors::{
    SafeTensors,
    tensor::{Dtype, TensorView},
};

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

/// Returns the flat weights in a safetensors file whose tensors are those of the layout, by name and shape.
///
/// # Errors
/// The end of a sentence about the file: the first difference, with its remedy.
pub fn from_safetensors(bytes: &[u8], layout: &Layout) -> std::result::Result<Vec<f32>, String> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| format!("is no safetensors file: {error}; give one, such as `fedpipe export` writes"))?;
    let known: Vec<&str> = layout.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    if let Some(name) = file.names().into_iter().find(|name| !known.contains(name)) {
        return Err(format!(
            "has the tensor {name}, and the model has {}; take the weights of this model",
            known.join(", ")
        ));
    }
    let mut weights = Vec::with_capacity(layout.weight_count());
    for tensor in layout.tensors() {
        let name = &tensor.name;
        let view = file.tensor(name).map_err(|_| format!("lacks the tensor {name}; take the weights of this model"))?;
        if view.shape() != tensor.shape {
            let (found, expected) = (view.shape(), &tensor.shape);
            return Err(format!(
                "has the tensor {name} of the shape {found:?}, and the model's is {expected:?}; give the \
                 model the options of its training"
            ));
        }
        if view.dtype() != Dtype::F32 {
            return Err(format!("has the tensor {name} of the type {}; convert it to F32", view.dtype()));
        }
        let values =
            view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        weights.extend(values);
        if let Some(value) = weights.iter().find(|value| !value.is_finite()) {
            return Err(format!("has the value {value} in the tensor {name}; give finite weights"));
        }
    }
    Ok(weights)
}

/// Returns the same safetensors file with facts about it as its metadata.
///
/// # Errors
/// Returns those of a file that is none.
pub fn with_metadata(file: &[u8], facts: BTreeMap<String, String>) -> anyhow::Result<Vec<u8>> {
    let tensors = SafeTensors::deserialize(file)?;
    Ok(safetensors::serialize(tensors.iter(), Some(facts.into_iter().collect()))?)
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::{Kind, Place, Tensor};

    use super::*;

    fn layout(tensors: &[(&str, &[usize])]) -> Layout {
        let tensor = |&(name, shape): &(&str, &[usize])| Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            kind: Kind::Param,
            place: Place::Shared,
        };
        Layout::new(tensors.iter().map(tensor).collect()).unwrap()
    }

    #[test]
    fn weights_are_read_back_in_the_order_of_the_layout() {
        // The file has the tensors in another order.
        let layout = layout(&[("b", &[2]), ("a", &[2, 2])]);
        let weights = [1.0, -0.0, 3.5, f32::MIN_POSITIVE, 5.0, 6.0];
        let file = safetensors(&weights, &layout).unwrap();
        let read = from_safetensors(&file, &layout).unwrap();
        assert_eq!(read.into_iter().map(f32::to_bits).collect::<Vec<_>>(), weights.map(f32::to_bits));
    }

    #[test]
    fn weights_of_another_model_are_refused_by_tensor() {
        let of = |tensors: &[(&str, &[usize])]| {
            let layout = layout(tensors);
            safetensors(&vec![1.0; layout.weight_count()], &layout).unwrap()
        };
        let model = layout(&[("w", &[2, 3]), ("b", &[3])]);
        let nan = safetensors(&[1.0, 1.0, 1.0, f32::NAN, 1.0, 1.0, 1.0, 1.0, 1.0], &model).unwrap();
        let half = TensorView::new(Dtype::F16, vec![3], &[0; 6]).unwrap();
        let w = TensorView::new(Dtype::F32, vec![2, 3], &[0; 24]).unwrap();
        let cases = [
            (of(&[("w", &[2, 3])]), "lacks the tensor b; take"),
            (of(&[("w", &[2, 3]), ("b", &[3]), ("c", &[1])]), "has the tensor c, and the model has w, b; take"),
            (
                of(&[("w", &[3, 2]), ("b", &[3])]),
                "has the tensor w of the shape [3, 2], and the model's is [2, 3]; give",
            ),
            (
                safetensors::serialize([("w", w), ("b", half)], None).unwrap(),
                "has the tensor b of the type F16; convert",
            ),
            (nan, "has the value NaN in the tensor w; give finite"),
            (b"text".to_vec(), "is no safetensors file: "),
        ];
        for (file, expected) in cases {
            let why = from_safetensors(&file, &model).unwrap_err();
            assert!(why.starts_with(expected), "{why}");
        }
    }
}
