//! Tests of the model's ABI: each member is exercised through a dylib that the client's loader opened.
//!
//! `members` shows that each value arrives where it belongs, `terms` that the models compute with them. The dylibs lie
//! beside this test: `echo`, `quadratic`, and the models `linreg`, `logreg` and `mlp`.
#![allow(clippy::unwrap_used, reason = "a panic fails a test; clippy does not see that helpers belong to tests")]

mod members;
mod terms;

use abi_stable::std_types::{RSlice, RSliceMut, RStr};
use fedpipe_client::Loaded;
use fedpipe_model::{
    Layout,
    abi::{AbiEpoch, AbiExamples, AbiReport, AbiSums, ModelBox},
};

/// Opens the dylib of a crate by its name.
fn open(name: &str) -> Loaded {
    Loaded::open(&std::env::current_exe().unwrap().with_file_name(format!("lib{name}.so"))).unwrap()
}

/// A model behind the door.
struct Behind {
    model: ModelBox,
    layout: Layout,
}

impl Behind {
    /// Builds the model `name` for examples of `shape` in three classes.
    fn new(name: &str, options: &str, shape: &[usize]) -> Self {
        Self::of_task(name, options, &format!(r#"{{"shape":{shape:?},"target":{{"classes":3}}}}"#))
    }

    /// Builds the model `name` for examples of `shape` with a real target.
    fn real(name: &str, options: &str, shape: &[usize]) -> Self {
        Self::of_task(name, options, &format!(r#"{{"shape":{shape:?},"target":"real"}}"#))
    }

    fn of_task(name: &str, options: &str, task: &str) -> Self {
        let (model, layout) = open(name).build(options, task, 11).unwrap();
        Self { model, layout }
    }

    fn weights(&self) -> Vec<f32> {
        let mut weights = vec![f32::NAN; self.model.weight_count().into_result().unwrap() as usize];
        self.model.get_weights(RSliceMut::from_mut_slice(&mut weights)).into_result().unwrap();
        weights
    }

    fn set_weights(&mut self, weights: &[f32]) -> Result<(), String> {
        self.model.set_weights(RSlice::from_slice(weights)).into_result().map_err(String::from)
    }

    fn train(&mut self, examples: AbiExamples<'_>, epoch: AbiEpoch<'_>) -> Result<AbiReport, String> {
        self.model.train_epoch(examples, epoch).into_result().map_err(String::from)
    }

    fn momentum(&self) -> Result<Vec<f32>, String> {
        let mut momentum = vec![f32::NAN; self.model.weight_count().into_result().unwrap() as usize];
        self.model.get_momentum(RSliceMut::from_mut_slice(&mut momentum)).into_result().map_err(String::from)?;
        Ok(momentum)
    }

    fn set_momentum(&mut self, momentum: &[f32]) -> Result<(), String> {
        self.model.set_momentum(RSlice::from_slice(momentum)).into_result().map_err(String::from)
    }

    fn evaluate(&mut self, examples: AbiExamples<'_>) -> Result<AbiSums, String> {
        self.model.evaluate(examples).into_result().map_err(String::from)
    }

    fn predict(&mut self, examples: AbiExamples<'_>, scores: &mut [f32]) -> Result<(), String> {
        self.model.predict(examples, RSliceMut::from_mut_slice(scores)).into_result().map_err(String::from)
    }
}

/// Returns examples of `row_len` bytes.
fn bytes<'a>(bytes: &'a [u8], row_len: u64, labels: &'a [u32], order: &'a [u32]) -> AbiExamples<'a> {
    AbiExamples { is_bytes: true, bytes: RSlice::from_slice(bytes), ..floats(&[], row_len, labels, order) }
}

/// Returns examples of `row_len` floats.
fn floats<'a>(floats: &'a [f32], row_len: u64, labels: &'a [u32], order: &'a [u32]) -> AbiExamples<'a> {
    AbiExamples {
        is_bytes: false,
        bytes: RSlice::EMPTY,
        floats: RSlice::from_slice(floats),
        row_len,
        labels: RSlice::from_slice(labels),
        targets: RSlice::EMPTY,
        order: RSlice::from_slice(order),
    }
}

/// Returns examples of `row_len` floats with real targets.
fn real<'a>(values: &'a [f32], row_len: u64, targets: &'a [f32], order: &'a [u32]) -> AbiExamples<'a> {
    AbiExamples { targets: RSlice::from_slice(targets), ..floats(values, row_len, &[], order) }
}

/// Returns a plain epoch of SGD over batches of two.
fn plain(learning_rate: f32) -> AbiEpoch<'static> {
    AbiEpoch {
        seed: 0,
        round: 1,
        client: 0,
        epoch: 0,
        learning_rate,
        batch_size: 2,
        optimiser: RStr::from(r#"{"name":"sgd"}"#),
        step_limit: 0,
        trainable: RSlice::EMPTY,
        proximal: 0.0,
        anchor: RSlice::EMPTY,
        linear: RSlice::EMPTY,
    }
}

fn bits(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|weight| weight.to_bits()).collect()
}
