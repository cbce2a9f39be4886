//! The model's description in the types of the protocol.
//!
//! The two crates know nothing of each other: the model's types cross the ABI, the protocol's cross the pipe. A variant
//! that one of them gains does not compile here until it is translated.

use fedpipe_model as model;
use fedpipe_protocol as protocol;

/// Returns the tensors of a model's layout, in order.
pub(crate) fn tensors(layout: &[model::Tensor]) -> Vec<protocol::Tensor> {
    let tensor = |tensor: &model::Tensor| protocol::Tensor {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        kind: match tensor.kind {
            model::Kind::Param => protocol::Kind::Param,
            model::Kind::Buffer => protocol::Kind::Buffer,
        },
        place: match tensor.place {
            model::Place::Shared => protocol::Place::Shared,
            model::Place::Local => protocol::Place::Local,
        },
    };
    layout.iter().map(tensor).collect()
}

/// Returns the options that a model accepts.
pub(crate) fn options(options: &[model::OptionSpec]) -> Vec<protocol::OptionSpec> {
    let option = |model::OptionSpec { key, default, help }: &model::OptionSpec| protocol::OptionSpec {
        key: key.clone(),
        default: default.clone(),
        help: help.clone(),
    };
    options.iter().map(option).collect()
}

/// Returns the sums over a real target that crossed the ABI.
pub(crate) fn regression(sums: model::abi::AbiRegressionSums) -> protocol::RegressionSums {
    let model::abi::AbiRegressionSums { squared_error, absolute_error, target_sum, target_square_sum } = sums;
    protocol::RegressionSums { squared_error, absolute_error, target_sum, target_square_sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: &impl serde::Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    /// The pipe and the ABI both carry JSON, so that equal texts are equal meanings.
    #[test]
    fn a_translation_has_the_same_text() {
        let mut given = [model::Tensor::param("w", &[2, 3]), model::Tensor::param("mean", &[3])];
        (given[1].kind, given[1].place) = (model::Kind::Buffer, model::Place::Local);
        assert_eq!(json(&tensors(&given)), json(&given));
        let spec = model::OptionSpec { key: "hidden".into(), default: "128".into(), help: "units".into() };
        assert_eq!(json(&options(std::slice::from_ref(&spec))), json(&[spec]));
        for target in [model::Target::Classes(10), model::Target::Real] {
            let task = model::Task { shape: vec![2, 3], target };
            let text = json(&task);
            assert_eq!(json(&serde_json::from_str::<protocol::Task>(&text).unwrap()), text);
        }
    }
}
