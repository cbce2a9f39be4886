//! A model with as many weights as the default `mlp` that neither trains nor evaluates. The time of its rounds is that
//! of pipes, averaging and scheduling.
#![forbid(unsafe_code)]

use fedpipe_model::{
    Description, Epoch, Examples, Layout, Model, Options, Report, Result, Sums, Task, Tensor, export_model,
};

/// The number of weights of 784-128-64-10.
const WEIGHTS: usize = 109_386;

struct Idle {
    weights: Vec<f32>,
}

impl Model for Idle {
    fn describe() -> Description {
        Description::new("idle", env!("CARGO_PKG_VERSION"), "fixture: does nothing")
    }

    fn build(_: &Options, _: &Task, _seed: u64) -> Result<Self> {
        Ok(Self { weights: vec![1.0; WEIGHTS] })
    }

    fn layout(&self) -> Layout {
        [Tensor::param("weights", &[WEIGHTS])].into_iter().collect()
    }

    fn weights(&self) -> &[f32] {
        &self.weights
    }

    fn weights_mut(&mut self) -> &mut [f32] {
        &mut self.weights
    }

    fn train_epoch(&mut self, examples: &Examples<'_>, epoch: &Epoch<'_>) -> Result<Report> {
        let steps = epoch.batches(examples).count() as u64;
        Ok(Report { steps, accumulation: steps as f64, sums: self.evaluate(examples)? })
    }

    fn evaluate(&mut self, examples: &Examples<'_>) -> Result<Sums> {
        let mut sums = Sums::default();
        sums.add(1.0, 0, examples.len())?;
        Ok(sums)
    }
}

export_model!(Idle);
