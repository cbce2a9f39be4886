//! The checks around a model: arguments before it sees them, results before the client does, and panics.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use abi_stable::std_types::{RErr, ROk, RSlice, RSliceMut, RString};

use crate::{
    abi::{AbiEpoch, AbiExamples, AbiModel, AbiReport, AbiSums, Answer, answer, json, panic_message},
    description::{Target, Task},
    epoch::{Epoch, Report, Sums},
    error::{Error, Result},
    examples::{Examples, Rows},
    model::Model,
};

/// A model, with the data that are needed to check arguments and results.
pub(crate) struct CheckedModel<M> {
    model: M,
    task: Task,
    /// The name of each tensor, and its range in the flat weights.
    tensors: Vec<(String, Range<usize>)>,
    /// The message of the first panic, after which all calls are refused.
    poison: Option<String>,
}

impl<M: Model> CheckedModel<M> {
    pub(crate) fn new(model: M, task: Task) -> Result<Self> {
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
        let (labels, values) = (given.labels.as_slice(), given.targets.as_slice());
        let (width, order) = (given.row_len as usize, given.order.as_slice());
        match self.task.target {
            Target::Classes(_) => {
                same_length("real targets for classes", values.len(), 0)?;
                Ok(Examples::new(rows, width, labels, order))
            }
            Target::Real => {
                same_length("labels for a real target", labels.len(), 0)?;
                Ok(Examples::new(rows, width, values, order))
            }
        }
    }

    /// Evaluates, and refuses sums without the errors of a real target: RMSE, MAE and R² follow from them alone.
    fn evaluate_task(&mut self, examples: &Examples<'_>) -> Result<Sums> {
        let sums = self.model.evaluate(examples)?;
        let lacks_errors = self.task.target == Target::Real && sums.regression.is_none() && !examples.is_empty();
        let missing = "the model sums no errors of the real target; call Sums::add_predictions in evaluate";
        if lacks_errors { Err(Error::new(missing)) } else { Ok(sums) }
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

// Methods that take `&self` cannot set `poison`. A panic in one of them is caught, and is repeated by the next call.
impl<M: Model> AbiModel for CheckedModel<M> {
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
        self.call(|checked| {
            same_length("weights for the model", weights.len(), checked.model.weight_count())?;
            checked.model.set_weights(weights.as_slice());
            Ok(())
        })
    }

    fn train_epoch(&mut self, examples: AbiExamples<'_>, epoch: AbiEpoch<'_>) -> Answer<AbiReport> {
        self.call(|checked| {
            let Report { steps, accumulation, sums } = checked.train(&examples, &epoch)?;
            Ok(AbiReport { steps, accumulation, sums: sums.into() })
        })
    }

    fn evaluate(&mut self, examples: AbiExamples<'_>) -> Answer<AbiSums> {
        self.call(|checked| {
            let examples = checked.examples(&examples)?;
            Ok(checked.evaluate_task(&examples)?.into())
        })
    }

    fn get_momentum(&self, mut out: RSliceMut<'_, f32>) -> Answer<()> {
        answer(|| {
            let momentum = self.model.momentum();
            same_length("values of the momentum from the model", momentum.len(), out.len())?;
            out.as_mut_slice().copy_from_slice(momentum);
            Ok(())
        })
    }

    fn set_momentum(&mut self, momentum: RSlice<'_, f32>) -> Answer<()> {
        self.call(|checked| {
            same_length("values of the momentum for the model", momentum.len(), checked.model.weight_count())?;
            checked.model.set_momentum(momentum.as_slice())
        })
    }

    fn predict(&mut self, examples: AbiExamples<'_>, mut scores: RSliceMut<'_, f32>) -> Answer<()> {
        self.call(|checked| {
            let examples = checked.examples(&examples)?;
            same_length("scores to fill", scores.len(), examples.len() * checked.task.outputs())?;
            checked.model.predict(&examples, scores.as_mut_slice())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        description::{Description, Options},
        layout::{Layout, Tensor},
    };

    /// A model that sums no errors.
    struct Silent([f32; 1]);

    impl Model for Silent {
        fn describe() -> Description {
            Description::new("silent", "1", "sums no errors")
        }

        fn build(_: &Options, _: &Task, _: u64) -> Result<Self> {
            Ok(Self([0.0]))
        }

        fn layout(&self) -> Layout {
            [Tensor::param("w", &[1])].into_iter().collect()
        }

        fn weights(&self) -> &[f32] {
            &self.0
        }

        fn weights_mut(&mut self) -> &mut [f32] {
            &mut self.0
        }

        fn train_epoch(&mut self, _: &Examples<'_>, _: &Epoch<'_>) -> Result<Report> {
            Ok(Report::default())
        }

        fn evaluate(&mut self, examples: &Examples<'_>) -> Result<Sums> {
            Ok(Sums { examples: examples.len() as u64, ..Sums::default() })
        }
    }

    #[test]
    fn an_evaluation_of_a_real_target_without_errors_is_refused() {
        let checked = |target| CheckedModel::new(Silent([0.0]), Task { shape: vec![1], target }).unwrap();
        let rows = Rows::Floats(&[0.5]);
        let refusal =
            checked(Target::Real).evaluate_task(&Examples::new(rows, 1, &[1.5], &[0])).unwrap_err().to_string();
        assert_eq!(refusal, "the model sums no errors of the real target; call Sums::add_predictions in evaluate");
        checked(Target::Real).evaluate_task(&Examples::new(rows, 1, &[1.5], &[])).unwrap();
        checked(Target::Classes(2)).evaluate_task(&Examples::new(rows, 1, &[1], &[0])).unwrap();
    }
}
