//! The frozen ABI between a client and the dylib of a model: plain data alone is passed.
//!
//! Under the rules of abi_stable an old client loads a newer dylib. A newer client refuses an older dylib, even for a
//! method with a default. A change in this file is therefore a new minor version of this crate and a line in the
//! CHANGELOG. `client/tests/door` exercises each member through a loaded dylib.
#![allow(unsafe_code, reason = "a dylib exports a symbol, and its reader trusts the type")]
#![allow(non_camel_case_types, non_local_definitions, reason = "abi_stable's macros write such names and impls")]
#![allow(missing_debug_implementations, reason = "abi_stable's generated types have none")]

use std::{
    any::Any,
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use abi_stable::{
    StableAbi,
    library::{LibHeader, RootModule, RootModuleResult},
    package_version_strings, sabi_trait,
    sabi_types::VersionStrings,
    std_types::{RBox, RErr, ROk, RResult, RSlice, RSliceMut, RStr, RString},
};

use crate::{
    description::{Options, Task},
    epoch::{Epoch, Report, Sums},
    error::{Error, Result},
    examples::{Examples, Rows},
    model::Model,
};

#[doc(hidden)]
pub use abi_stable::library as sabi_library;

/// The result of every call: a value, or an error of one sentence.
pub type Answer<T> = RResult<T, RString>;

/// A built model, called through the ABI.
pub type ModelBox = AbiModel_TO<'static, RBox<()>>;

/// The functions that a dylib exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = DoorRef)))]
#[sabi(missing_field(panic))]
pub struct Door {
    /// Returns the [`Description`](crate::description::Description) of the model as JSON.
    pub describe: extern "C" fn() -> Answer<RString>,
    /// Builds a model. `options` is a JSON object of strings, `task` is a [`Task`] as JSON.
    #[sabi(last_prefix_field)]
    pub build: extern "C" fn(options: RStr<'_>, task: RStr<'_>, seed: u64) -> Answer<ModelBox>,
}

impl RootModule for DoorRef {
    abi_stable::declare_root_module_statics! {DoorRef}
    const BASE_NAME: &'static str = "fedpipe_model";
    const NAME: &'static str = "fedpipe_model";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// The methods of [`Model`] through the ABI. The caller allocates a buffer and the callee fills it. An error about a
/// buffer names both lengths.
#[sabi_trait]
pub trait AbiModel {
    /// Returns the number of weights.
    fn weight_count(&self) -> Answer<u64>;
    /// Returns the [`Layout`](crate::layout::Layout) as JSON.
    fn layout(&self) -> Answer<RString>;
    /// Fills `out` with the weights.
    fn get_weights(&self, out: RSliceMut<'_, f32>) -> Answer<()>;
    /// Replaces the weights.
    fn set_weights(&mut self, weights: RSlice<'_, f32>) -> Answer<()>;
    /// Trains one local epoch.
    fn train_epoch(&mut self, examples: AbiExamples<'_>, epoch: AbiEpoch<'_>) -> Answer<AbiReport>;
    /// Sums losses and correct predictions over examples.
    fn evaluate(&mut self, examples: AbiExamples<'_>) -> Answer<AbiSums>;
    /// Fills `scores`, shape (examples, classes).
    #[sabi(last_prefix_field)]
    fn predict(&mut self, examples: AbiExamples<'_>, scores: RSliceMut<'_, f32>) -> Answer<()>;
}

/// The [`Examples`] in the ABI. One of the two slices of rows is empty.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiExamples<'a> {
    /// `true` if `bytes` holds the rows, `false` if `floats` does.
    pub is_bytes: bool,
    /// Pixels, row-major.
    pub bytes: RSlice<'a, u8>,
    /// Values, row-major.
    pub floats: RSlice<'a, f32>,
    /// The number of values in a row.
    pub row_len: u64,
    /// One label for each row.
    pub labels: RSlice<'a, u32>,
    /// The indices of the rows to visit, in order.
    pub order: RSlice<'a, u32>,
}

/// The [`Epoch`] in the ABI.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiEpoch<'a> {
    /// See [`Epoch::seed`].
    pub seed: u64,
    /// See [`Epoch::round`].
    pub round: u64,
    /// See [`Epoch::client`].
    pub client: u32,
    /// See [`Epoch::epoch`].
    pub epoch: u64,
    /// See [`Epoch::learning_rate`].
    pub learning_rate: f32,
    /// See [`Epoch::batch_size`].
    pub batch_size: u64,
    /// See [`Epoch::optimiser`].
    pub optimiser: RStr<'a>,
    /// The most mini-batches to train on; 0 for no limit.
    pub step_limit: u64,
    /// For each tensor of the layout 1 if it is trained and 0 if it is frozen; empty if all are trained.
    pub trainable: RSlice<'a, u8>,
    /// See [`Epoch::proximal`].
    pub proximal: f32,
    /// See [`Epoch::anchor`].
    pub anchor: RSlice<'a, f32>,
    /// See [`Epoch::linear`].
    pub linear: RSlice<'a, f32>,
}

/// The [`Sums`] in the ABI.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiSums {
    /// See [`Sums::loss_sum`].
    pub loss_sum: f64,
    /// See [`Sums::correct`].
    pub correct: u64,
    /// See [`Sums::examples`].
    pub examples: u64,
}

/// The [`Report`] in the ABI.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiReport {
    /// See [`Report::steps`].
    pub steps: u64,
    /// See [`Report::accumulation`].
    pub accumulation: f64,
    /// See [`Report::sums`].
    pub sums: AbiSums,
}

/// Exports `$model`, a type that implements [`Model`], as the model of this dylib. The example is at [`Model`].
#[macro_export]
macro_rules! export_model {
    ($model:ty) => {
        const _: () = {
            extern "C" fn module() -> $crate::abi::sabi_library::RootModuleResult {
                $crate::abi::open_door::<$model>()
            }

            // abi_stable looks for the header of a library by this name; a test of fedpipe-model compares the two.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static HEADER: $crate::abi::sabi_library::LibHeader = $crate::abi::header(module);
        };
    };
}

#[doc(hidden)]
pub const fn header(module: extern "C" fn() -> RootModuleResult) -> LibHeader {
    use abi_stable::library::CheckTypeLayout;
    // SAFETY: `export_model!`, the only caller, passes a function that returns what `open_door` returns: an erased
    // `PrefixRef` of `Door`, which is `DoorRef`.
    unsafe { LibHeader::from_constructor::<DoorRef>(module, CheckTypeLayout::Yes) }
}

#[doc(hidden)]
pub fn open_door<M: Model>() -> RootModuleResult {
    use abi_stable::prefix_type::PrefixTypeTrait;
    fn door<M: Model>() -> DoorRef {
        Door { describe: describe::<M>, build: build::<M> }.leak_into_prefix()
    }
    abi_stable::library::__call_root_module_loader(door::<M>)
}

extern "C" fn describe<M: Model>() -> Answer<RString> {
    answer(|| json(&M::describe()))
}

extern "C" fn build<M: Model>(options: RStr<'_>, task: RStr<'_>, seed: u64) -> Answer<ModelBox> {
    answer(|| {
        let given: BTreeMap<String, String> = serde_json::from_str(options.as_str())?;
        let task: Task = serde_json::from_str(task.as_str())?;
        let options = Options::resolve(&M::describe(), given)?;
        let shim = Shim::new(M::build(&options, &task, seed)?, task)?;
        Ok(AbiModel_TO::from_value(shim, abi_stable::type_level::downcasting::TD_Opaque))
    })
}

/// Runs `call` and turns a panic into an error. A panic that leaves an `extern "C"` function aborts the process.
fn answer<T>(call: impl FnOnce() -> Result<T>) -> Answer<T> {
    match caught(call) {
        Ok(value) => ROk(value),
        Err(error) => RErr(error.to_string().into()),
    }
}

fn caught<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    // `Shim` refuses all calls after a panic, so that no caller meets the state that the panic left.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(Error::new(panic_message(&*panic))))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the model panicked: {}", text.unwrap_or("(no message)"))
}

fn json<T: serde::Serialize>(value: &T) -> Result<RString> {
    Ok(serde_json::to_string(value)?.into())
}

/// A model, with the data that are needed to check arguments and results.
struct Shim<M> {
    model: M,
    task: Task,
    /// The name of each tensor, and its range in the flat weights.
    tensors: Vec<(String, Range<usize>)>,
    /// The message of the first panic, after which all calls are refused.
    poison: Option<String>,
}

impl<M: Model> Shim<M> {
    fn new(model: M, task: Task) -> Result<Self> {
        let layout = model.layout();
        let mut end = 0;
        let named = layout.tensors.into_iter().map(|tensor| {
            let start = end;
            end += tensor.weight_count();
            (tensor.name, start..end)
        });
        let tensors = named.collect();
        same_length("weights, for a layout", model.weight_count(), end)?;
        Ok(Self { model, task, tensors, poison: None })
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Self) -> Result<T>) -> Answer<T> {
        if let Some(panic) = &self.poison {
            return RErr(format!("the model is unusable since an earlier call: {panic}").into());
        }
        match catch_unwind(AssertUnwindSafe(|| call(self))) {
            Ok(Ok(value)) => ROk(value),
            Ok(Err(error)) => RErr(error.to_string().into()),
            Err(panic) => {
                let message = panic_message(&*panic);
                self.poison = Some(message.clone());
                RErr(message.into())
            }
        }
    }

    fn examples<'a>(&self, given: &AbiExamples<'a>) -> Result<Examples<'a>> {
        let rows =
            if given.is_bytes { Rows::Bytes(given.bytes.as_slice()) } else { Rows::Floats(given.floats.as_slice()) };
        same_length("values an example", given.row_len as usize, self.task.inputs())?;
        Ok(Examples::new(rows, given.row_len as usize, given.labels.as_slice(), given.order.as_slice()))
    }

    fn train(&mut self, examples: &AbiExamples<'_>, given: &AbiEpoch<'_>) -> Result<Report> {
        let examples = self.examples(examples)?;
        let count = self.model.weight_count();
        let per_weight = |what, values: RSlice<'_, f32>| match values.len() {
            0 => Ok(()),
            n => same_length(what, n, count),
        };
        per_weight("values of the linear term", given.linear)?;
        if given.proximal == 0.0 {
            per_weight("values of the anchor", given.anchor)?;
        } else {
            same_length("values of the anchor", given.anchor.len(), count)?
        }
        let frozen = self.frozen(given.trainable.as_slice())?;
        let epoch = Epoch {
            seed: given.seed,
            round: given.round,
            client: given.client,
            epoch: given.epoch,
            learning_rate: given.learning_rate,
            batch_size: (given.batch_size as usize).max(1),
            optimiser: given.optimiser.as_str(),
            step_limit: Some(given.step_limit).filter(|&limit| limit > 0),
            frozen: &frozen,
            proximal: given.proximal,
            anchor: given.anchor.as_slice(),
            linear: given.linear.as_slice(),
        };
        if frozen.is_empty() { self.model.train_epoch(&examples, &epoch) } else { self.train_frozen(&examples, &epoch) }
    }

    /// Returns the ranges of the tensors whose flag is 0.
    fn frozen(&self, trainable: &[u8]) -> Result<Vec<Range<usize>>> {
        if trainable.is_empty() {
            return Ok(Vec::new());
        }
        same_length("flags of trainable tensors", trainable.len(), self.tensors.len())?;
        let frozen = trainable.iter().zip(&self.tensors).filter(|(flag, _)| **flag == 0);
        Ok(frozen.map(|(_, (_, range))| range.clone()).collect())
    }

    /// Trains, and refuses a change of a frozen tensor: no model may ignore what an algorithm relies on.
    fn train_frozen(&mut self, examples: &Examples<'_>, epoch: &Epoch<'_>) -> Result<Report> {
        let kept = |weights: &[f32]| -> Vec<u32> {
            epoch.frozen.iter().flat_map(|range| &weights[range.clone()]).map(|weight| weight.to_bits()).collect()
        };
        let before = kept(self.model.weights());
        let report = self.model.train_epoch(examples, epoch)?;
        let after = kept(self.model.weights());
        let mut places = epoch.frozen.iter().cloned().flatten().zip(before.iter().zip(&after));
        let Some((at, _)) = places.find(|(_, (before, after))| before != after) else {
            return Ok(report);
        };
        let name = self.tensors.iter().find(|(_, range)| range.contains(&at)).map_or("", |(name, _)| name);
        Err(Error::new(format!(
            "the model changed the tensor {name:?}, which is frozen; pass epoch.frozen to the step of its optimiser"
        )))
    }
}

fn same_length(what: &str, got: usize, expected: usize) -> Result<()> {
    if got == expected { Ok(()) } else { Err(Error::new(format!("got {got} {what}, expected {expected}"))) }
}

impl From<Sums> for AbiSums {
    fn from(Sums { loss_sum, correct, examples }: Sums) -> Self {
        Self { loss_sum, correct, examples }
    }
}

// Methods that take `&self` cannot set `poison`. A panic in one of them is caught, and is repeated by the next call.
impl<M: Model> AbiModel for Shim<M> {
    fn weight_count(&self) -> Answer<u64> {
        answer(|| Ok(self.model.weight_count() as u64))
    }

    fn layout(&self) -> Answer<RString> {
        answer(|| json(&self.model.layout()))
    }

    fn get_weights(&self, mut out: RSliceMut<'_, f32>) -> Answer<()> {
        answer(|| {
            let weights = self.model.weights();
            same_length("weights from the model", weights.len(), out.len())?;
            out.as_mut_slice().copy_from_slice(weights);
            Ok(())
        })
    }

    fn set_weights(&mut self, weights: RSlice<'_, f32>) -> Answer<()> {
        self.call(|shim| {
            same_length("weights for the model", weights.len(), shim.model.weight_count())?;
            shim.model.set_weights(weights.as_slice());
            Ok(())
        })
    }

    fn train_epoch(&mut self, examples: AbiExamples<'_>, epoch: AbiEpoch<'_>) -> Answer<AbiReport> {
        self.call(|shim| {
            let Report { steps, accumulation, sums } = shim.train(&examples, &epoch)?;
            Ok(AbiReport { steps, accumulation, sums: sums.into() })
        })
    }

    fn evaluate(&mut self, examples: AbiExamples<'_>) -> Answer<AbiSums> {
        self.call(|shim| {
            let examples = shim.examples(&examples)?;
            Ok(shim.model.evaluate(&examples)?.into())
        })
    }

    fn predict(&mut self, examples: AbiExamples<'_>, mut scores: RSliceMut<'_, f32>) -> Answer<()> {
        self.call(|shim| {
            let examples = shim.examples(&examples)?;
            same_length("scores to fill", scores.len(), examples.len() * shim.task.classes)?;
            shim.model.predict(&examples, scores.as_mut_slice())
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_exported_name_is_the_one_abi_stable_looks_for() {
        let source = include_str!("abi.rs");
        assert!(source.contains(&format!("export_name = \"{}\"", super::sabi_library::ROOT_MODULE_LOADER_NAME)));
    }
}
