//! Tests of the logistic regression: losses, gradients, steps.

use std::collections::BTreeMap;

use fedpipe_model::{Epoch, Examples, Model, Rows, Target};

use super::*;

type Built = NetworkModel<LogReg>;

const INPUTS: [f32; 12] = [0.5, 0.0, -1.0, 0.25, 0.75, 0.0, 0.0, 0.0, 1.5, -0.5, 1.0, 0.125];
const LABELS: [u32; 4] = [0, 2, 1, 2];
const ORDER: [u32; 4] = [3, 0, 2, 1];

fn examples() -> Examples<'static> {
    Examples::new(Rows::Floats(&INPUTS), 3, &LABELS, &ORDER)
}

fn build(target: Target) -> Result<Built> {
    let options = Options::resolve(&Built::describe(), BTreeMap::new())?;
    Built::build(&options, &Task { shape: vec![3], target }, 0)
}

fn model() -> Built {
    build(Target::Classes(3)).unwrap()
}

/// Returns a model with weights that are not 0.
fn moved() -> Built {
    let mut model = model();
    model.weights_mut().iter_mut().zip(0..).for_each(|(w, i)| *w = (i * 5 % 7) as f32 / 8.0 - 0.25);
    model
}

#[test]
fn the_first_loss_is_that_of_guessing() {
    let sums = model().evaluate(&examples()).unwrap();
    // 4 ln 3
    assert!((sums.loss_sum - 4.394_449_154_672_439).abs() < 1e-6, "{sums:?}");
    assert_eq!((sums.correct, sums.examples), (1, 4));
}

#[test]
fn gradients_are_finite_differences() {
    let (mut model, start) = (moved(), moved().weights().to_vec());
    // A step at rate 1 subtracts the gradient.
    model.train_epoch(&examples(), &Epoch::plain(1.0, 4)).unwrap();
    let gradient: Vec<f32> = start.iter().zip(model.weights()).map(|(before, after)| before - after).collect();
    for (i, exact) in gradient.iter().enumerate() {
        let mut loss = |step: f32| {
            model.weights_mut().copy_from_slice(&start);
            model.weights_mut()[i] += step;
            model.evaluate(&examples()).unwrap().loss_sum / 4.0
        };
        let slope = (loss(1.0 / 1024.0) - loss(-1.0 / 1024.0)) * 512.0;
        assert!((slope - f64::from(*exact)).abs() < 2e-4, "weight {i}: {slope} for {exact}");
    }
}

#[test]
fn training_lowers_the_loss_and_counts_its_steps() {
    let mut model = model();
    let before = model.evaluate(&examples()).unwrap();
    let report = model.train_epoch(&examples(), &Epoch::plain(0.5, 3)).unwrap();
    assert_eq!((report.steps, report.accumulation, report.sums.examples), (2, 2.0, 4));
    assert!(model.evaluate(&examples()).unwrap().loss_sum < before.loss_sum);
}

#[test]
fn the_layout_is_the_shape_of_the_task() {
    let layout = model().layout();
    let shapes: Vec<_> = layout.tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
    assert_eq!(shapes, [("dense1.weight", &[3, 3][..]), ("dense1.bias", &[3])]);
}

#[test]
fn a_real_target_is_refused_with_the_remedy() {
    let refusal = build(Target::Real).err().unwrap().to_string();
    assert_eq!(
        refusal,
        "the model predicts classes, but the targets of the data are real numbers; take a model of regression, such as \
         linreg or mlp"
    );
}
