//! The layout of a model's flat weights, checked when it is made.

use std::{borrow::Cow, collections::HashSet, ops::Range};

use crate::setup_message::{Place, Tensor};

/// The most weights that a layout may have. They take 4 GiB.
const MOST: usize = 1 << 30;

/// The tensor name that the safetensors format reserves.
const RESERVED: &str = "__metadata__";

/// The named tensors of the flat weights, in order.
///
/// A layout has at least one tensor in the place [`Place::Shared`] and at most 2³⁰ weights. Each tensor has a unique
/// name and at least one weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    tensors: Vec<Tensor>,
    weight_count: usize,
}

/// The reason why tensors are refused as a layout; one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model's layout {0}")]
pub struct LayoutError(String);

impl Layout {
    /// Makes a layout of `tensors`.
    ///
    /// # Errors
    /// [`LayoutError`] names the first tensor that breaks a rule.
    pub fn new(tensors: Vec<Tensor>) -> Result<Self, LayoutError> {
        let refuse = |why: String| Err(LayoutError(why));
        if tensors.is_empty() {
            return refuse("has no tensor; give at least one".into());
        }
        let mut names = HashSet::new();
        let mut weight_count = 0_usize;
        for Tensor { name, shape, .. } in &tensors {
            if name.is_empty() || name == RESERVED {
                return refuse(format!("has a tensor of the name {name:?}; rename it"));
            }
            if !names.insert(name) {
                return refuse(format!("has two tensors of the name {name:?}; rename one of them"));
            }
            let size = shape.iter().try_fold(1_usize, |size, &n| size.checked_mul(n));
            if size == Some(0) {
                return refuse(format!("has the tensor {name:?} of shape {shape:?}, which has no weight"));
            }
            let sum = size.and_then(|size| weight_count.checked_add(size)).filter(|&sum| sum <= MOST);
            match sum {
                Some(sum) => weight_count = sum,
                None => {
                    return refuse(format!("has more than {MOST} weights with the tensor {name:?} of shape {shape:?}"));
                }
            }
        }
        if tensors.iter().all(|tensor| tensor.place == Place::Local) {
            return refuse(
                "has no tensor in the place \"shared\", so that nothing is federated; share at least one".into(),
            );
        }
        Ok(Self { tensors, weight_count })
    }

    /// Returns the tensors, in order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Returns the number of weights, at least 1.
    pub fn weight_count(&self) -> usize {
        self.weight_count
    }

    /// Returns the size of all weights in bytes.
    pub fn payload(&self) -> u64 {
        size_of::<f32>() as u64 * self.weight_count as u64
    }

    /// Returns the ranges of the local tensors in the flat weights.
    pub fn local_ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.ranges().filter(|(tensor, _)| tensor.place == Place::Local).map(|(_, range)| range)
    }

    /// Returns each tensor with its range in the flat weights.
    pub fn ranges(&self) -> impl Iterator<Item = (&Tensor, Range<usize>)> {
        self.tensors.iter().scan(0, |start, tensor| {
            let range = *start..*start + tensor.shape.iter().product::<usize>();
            *start = range.end;
            Some((tensor, range))
        })
    }
}

/// Returns flat `weights` with a client's `own` values of the local tensors, which lie in these ranges. Without own
/// values the weights are returned as they are.
///
/// # Panics
/// `own` has not one value for each place in the ranges.
pub fn with_local<'a>(weights: &'a [f32], own: &[f32], ranges: impl Iterator<Item = Range<usize>>) -> Cow<'a, [f32]> {
    if own.is_empty() {
        return Cow::Borrowed(weights);
    }
    let (mut all, mut rest) = (weights.to_vec(), own);
    for range in ranges {
        let (values, later) = rest.split_at(range.len());
        all[range].copy_from_slice(values);
        rest = later;
    }
    Cow::Owned(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup_message::Kind;

    fn tensor(name: &str, shape: &[usize]) -> Tensor {
        Tensor { name: name.into(), shape: shape.into(), kind: Kind::Param, place: Place::Shared }
    }

    #[test]
    fn a_layout_has_the_range_of_each_tensor() {
        let layout = Layout::new(vec![tensor("w", &[2, 3]), tensor("scale", &[]), tensor("b", &[3])]).unwrap();
        assert_eq!((layout.weight_count(), layout.payload()), (10, 40));
        let ranges: Vec<_> = layout.ranges().map(|(tensor, range)| (tensor.name.as_str(), range)).collect();
        assert_eq!(ranges, [("w", 0..6), ("scale", 6..7), ("b", 7..10)]);
    }

    #[test]
    fn a_clients_own_values_replace_those_of_the_local_tensors() {
        let local = |name, shape: &[usize]| Tensor { place: Place::Local, ..tensor(name, shape) };
        let layout = Layout::new(vec![local("first", &[1]), tensor("w", &[2]), local("last", &[2])]).unwrap();
        let weights = [0.0; 5];
        assert_eq!(*with_local(&weights, &[1.0, 2.0, 3.0], layout.local_ranges()), [1.0, 0.0, 0.0, 2.0, 3.0]);
        assert!(matches!(with_local(&weights, &[], layout.local_ranges()), Cow::Borrowed(_)));
    }

    #[test]
    fn a_tensor_that_breaks_a_rule_is_refused_by_name() {
        let local = Tensor { place: Place::Local, ..tensor("head", &[3]) };
        let cases = [
            (vec![], "has no tensor"),
            (vec![tensor("w", &[2]), tensor("none", &[0])], "\"none\" of shape [0], which has no weight"),
            (vec![tensor("w", &[2]), tensor("w", &[3])], "two tensors of the name \"w\""),
            (vec![tensor("__metadata__", &[2])], "the name \"__metadata__\""),
            (vec![tensor("", &[2])], "the name \"\""),
            (vec![local], "has no tensor in the place \"shared\""),
            (vec![tensor("w", &[usize::MAX, 2])], "more than 1073741824 weights"),
            (vec![tensor("w", &[1 << 30]), tensor("b", &[1])], "with the tensor \"b\" of shape [1]"),
            (vec![tensor("w", &[usize::MAX]), tensor("b", &[1])], "with the tensor \"w\""),
        ];
        for (tensors, expected) in cases {
            let error = Layout::new(tensors).unwrap_err().to_string();
            assert!(error.starts_with("the model's layout has ") && error.contains(expected), "{error}");
        }
    }
}
