//! Tests of the linear regression: sums, gradients, the least-squares solution, refusals.

use std::collections::BTreeMap;

use fedpipe_model::{Epoch, Examples, Model, RegressionSums, Rows, Sums, Target};

use super::*;

type Built = NetworkModel<LinReg>;

const INPUTS: [f32; 12] = [0.5, 0.0, -1.0, 0.25, 0.75, 0.0, 0.0, 0.0, 1.5, -0.5, 1.0, 0.125];
const TARGETS: [f32; 4] = [1.5, -2.0, 0.25, 4.0];
const ORDER: [u32; 4] = [3, 0, 2, 1];

fn examples() -> Examples<'static> {
    Examples::new(Rows::Floats(&INPUTS), 3, &TARGETS, &ORDER)
}

fn build(target: Target) -> Result<Built> {
    let options = Options::resolve(&Built::describe(), BTreeMap::new())?;
    Built::build(&options, &Task { shape: vec![3], target }, 0)
}

/// Returns a model with weights that are not 0.
fn moved() -> Built {
    let mut model = build(Target::Real).unwrap();
    model.weights_mut().iter_mut().zip(0..).for_each(|(w, i)| *w = (i * 5 % 7) as f32 / 8.0 - 0.25);
    model
}

#[test]
fn the_first_sums_are_those_of_the_prediction_0() {
    let sums = build(Target::Real).unwrap().evaluate(&examples()).unwrap();
    let squares = 1.5 * 1.5 + 4.0 + 0.0625 + 16.0;
    let regression =
        RegressionSums { squared_error: squares, absolute_error: 7.75, target_sum: 3.75, target_square_sum: squares };
    assert_eq!(sums, Sums { loss_sum: squares, correct: 0, examples: 4, regression: Some(regression) });
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
        assert!((slope - f64::from(*exact)).abs() < 1e-3, "weight {i}: {slope} for {exact}");
    }
}

/// Four examples and four weights: the solution predicts each target.
#[test]
fn full_batches_reach_the_solution() {
    let mut model = build(Target::Real).unwrap();
    for _ in 0..4000 {
        model.train_epoch(&examples(), &Epoch::plain(0.3, 4)).unwrap();
    }
    let sums = model.evaluate(&examples()).unwrap();
    assert!(sums.loss_sum < 1e-9, "{sums:?}");
}

#[test]
fn training_lowers_the_loss_and_counts_its_steps() {
    let mut model = build(Target::Real).unwrap();
    let before = model.evaluate(&examples()).unwrap();
    let report = model.train_epoch(&examples(), &Epoch::plain(0.01, 3)).unwrap();
    assert_eq!((report.steps, report.accumulation, report.sums.examples), (2, 2.0, 4));
    assert!(report.sums.regression.is_some_and(|sums| sums.target_sum == 3.75));
    assert!(model.evaluate(&examples()).unwrap().loss_sum < before.loss_sum);
}

#[test]
fn classes_are_refused_with_the_remedy() {
    let refusal = build(Target::Classes(3)).err().unwrap().to_string();
    assert_eq!(
        refusal,
        "the model predicts real numbers, but the targets of the data are 3 classes; take a model of classification, such \
         as logreg or mlp"
    );
}
