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
    panic::{AssertUnwindSafe, catch_unwind},
};

use abi_stable::{
    StableAbi,
    library::{LibHeader, RootModule, RootModuleResult},
    package_version_strings, sabi_trait,
    sabi_types::VersionStrings,
    std_types::{RBox, RErr, ROk, ROption, RResult, RSlice, RSliceMut, RStr, RString},
};

use crate::{
    checked_model::CheckedModel,
    description::{Options, Task},
    epoch::{RegressionSums, Sums},
    error::{Error, Result},
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
    /// Sums losses and correct predictions over examples, or the errors of a real target.
    fn evaluate(&mut self, examples: AbiExamples<'_>) -> Answer<AbiSums>;
    /// Fills `out` with the momentum of the local optimiser.
    fn get_momentum(&self, out: RSliceMut<'_, f32>) -> Answer<()>;
    /// Replaces the momentum of the local optimiser.
    fn set_momentum(&mut self, momentum: RSlice<'_, f32>) -> Answer<()>;
    /// Fills `scores`, shape (examples, classes), or (examples, 1) for a real target.
    #[sabi(last_prefix_field)]
    fn predict(&mut self, examples: AbiExamples<'_>, scores: RSliceMut<'_, f32>) -> Answer<()>;
}

/// The [`Examples`](crate::examples::Examples) in the ABI.
///
/// One of the two slices of rows is empty, and so is one of the two of targets.
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
    /// One label for each row, if the task has classes.
    pub labels: RSlice<'a, u32>,
    /// One real target for each row, if the task has no classes.
    pub targets: RSlice<'a, f32>,
    /// The indices of the rows to visit, in order.
    pub order: RSlice<'a, u32>,
}

/// The [`Epoch`](crate::epoch::Epoch) in the ABI.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiEpoch<'a> {
    /// See [`Epoch::seed`](crate::epoch::Epoch::seed).
    pub seed: u64,
    /// See [`Epoch::round`](crate::epoch::Epoch::round).
    pub round: u64,
    /// See [`Epoch::client`](crate::epoch::Epoch::client).
    pub client: u32,
    /// See [`Epoch::epoch`](crate::epoch::Epoch::epoch).
    pub epoch: u64,
    /// See [`Epoch::learning_rate`](crate::epoch::Epoch::learning_rate).
    pub learning_rate: f32,
    /// See [`Epoch::batch_size`](crate::epoch::Epoch::batch_size).
    pub batch_size: u64,
    /// See [`Epoch::optimiser`](crate::epoch::Epoch::optimiser).
    pub optimiser: RStr<'a>,
    /// The most mini-batches to train on; 0 for no limit.
    pub step_limit: u64,
    /// For each tensor of the layout 1 if it is trained and 0 if it is frozen; empty if all are trained.
    pub trainable: RSlice<'a, u8>,
    /// See [`Epoch::proximal`](crate::epoch::Epoch::proximal).
    pub proximal: f32,
    /// See [`Epoch::anchor`](crate::epoch::Epoch::anchor).
    pub anchor: RSlice<'a, f32>,
    /// See [`Epoch::linear`](crate::epoch::Epoch::linear).
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
    /// See [`Sums::regression`].
    pub regression: ROption<AbiRegressionSums>,
}

/// The [`RegressionSums`] in the ABI.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiRegressionSums {
    /// See [`RegressionSums::squared_error`].
    pub squared_error: f64,
    /// See [`RegressionSums::absolute_error`].
    pub absolute_error: f64,
    /// See [`RegressionSums::target_sum`].
    pub target_sum: f64,
    /// See [`RegressionSums::target_square_sum`].
    pub target_square_sum: f64,
}

/// The [`Report`](crate::epoch::Report) in the ABI.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiReport {
    /// See [`Report::steps`](crate::epoch::Report::steps).
    pub steps: u64,
    /// See [`Report::accumulation`](crate::epoch::Report::accumulation).
    pub accumulation: f64,
    /// See [`Report::sums`](crate::epoch::Report::sums).
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
        let shim = CheckedModel::new(M::build(&options, &task, seed)?, task)?;
        Ok(AbiModel_TO::from_value(shim, abi_stable::type_level::downcasting::TD_Opaque))
    })
}

/// Runs `call` and turns a panic into an error. A panic that leaves an `extern "C"` function aborts the process.
pub(crate) fn answer<T>(call: impl FnOnce() -> Result<T>) -> Answer<T> {
    match caught(call) {
        Ok(value) => ROk(value),
        Err(error) => RErr(error.to_string().into()),
    }
}

fn caught<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    // `CheckedModel` refuses all calls after a panic, so that no caller meets the state that the panic left.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(Error::new(panic_message(&*panic))))
}

pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the model panicked: {}", text.unwrap_or("(no message)"))
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<RString> {
    Ok(serde_json::to_string(value)?.into())
}

impl From<Sums> for AbiSums {
    fn from(Sums { loss_sum, correct, examples, regression }: Sums) -> Self {
        Self { loss_sum, correct, examples, regression: regression.map(AbiRegressionSums::from).into() }
    }
}

impl From<RegressionSums> for AbiRegressionSums {
    fn from(sums: RegressionSums) -> Self {
        let RegressionSums { squared_error, absolute_error, target_sum, target_square_sum } = sums;
        Self { squared_error, absolute_error, target_sum, target_square_sum }
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
