//! The terms of an algorithm are computed: each one is compared with a loop over plain steps in this test.
//!
//! `logreg` and `mlp` stand for all models on `fedpipe-nn`, `quadratic` for a model with a solver of its own.

use abi_stable::std_types::{RSlice, RStr};
use fedpipe_model::abi::{AbiEpoch, AbiExamples};

use crate::{Behind, bits, bytes, floats, plain};

const INPUTS: [f32; 16] = [0.5, 0.0, -1.0, 0.25, 0.75, 0.0, 0.0, 0.5, 1.5, -0.5, 1.0, 0.125, -0.25, 1.0, 0.5, 0.5];
const LABELS: [u32; 8] = [0, 2, 1, 2, 0, 1, 1, 2];
const ORDER: [u32; 8] = [3, 0, 2, 1, 7, 6, 4, 5];
const RATE: f32 = 0.25;

fn ordered(order: &[u32]) -> AbiExamples<'_> {
    floats(&INPUTS, 2, &LABELS, order)
}

/// Returns a model on `fedpipe-nn`, with weights that are not 0.
fn moved(name: &str) -> Behind {
    let options = if name == "mlp" { r#"{"hidden":"5"}"# } else { "{}" };
    let mut model = Behind::new(name, options, &[2]);
    model.set_weights(&start(&model)).unwrap();
    model
}

fn start(model: &Behind) -> Vec<f32> {
    (0..model.weights().len()).map(|i| (i * 5 % 7) as f32 / 8.0 - 0.3125).collect()
}

/// An optimiser, the terms of an epoch, and their values for weight i.
#[derive(Debug, Clone, Copy)]
struct Case {
    momentum: f64,
    decay: f64,
    proximal: f32,
    linear: bool,
}

impl Case {
    const ALL: [Self; 6] = [
        Self { momentum: 0.0, decay: 0.0, proximal: 0.5, linear: false },
        Self { momentum: 0.0, decay: 0.0, proximal: 0.0, linear: true },
        Self { momentum: 0.5, decay: 0.0, proximal: 0.5, linear: false },
        Self { momentum: 0.5, decay: 0.0, proximal: 0.0, linear: true },
        Self { momentum: 0.0, decay: 0.125, proximal: 0.5, linear: true },
        Self { momentum: 0.5, decay: 0.125, proximal: 0.5, linear: true },
    ];

    fn optimiser(&self) -> String {
        format!(r#"{{"name":"sgd","momentum":{},"weight_decay":{}}}"#, self.momentum, self.decay)
    }

    fn anchor(i: usize) -> f32 {
        (i * 3 % 5) as f32 / 4.0 - 0.5
    }

    fn linear(&self, i: usize) -> f32 {
        if self.linear { (i * 2 % 7) as f32 / 8.0 - 0.375 } else { 0.0 }
    }
}

/// Returns the gradient of the mean loss over a batch: a plain step at rate 1 subtracts it.
fn gradient(model: &mut Behind, weights: &[f64], batch: &[u32]) -> Vec<f64> {
    let weights: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
    model.set_weights(&weights).unwrap();
    model.train(ordered(batch), plain(1.0)).unwrap();
    weights.iter().zip(model.weights()).map(|(before, after)| f64::from(*before) - f64::from(after)).collect()
}

/// Trains `epochs` epochs by the formulas: v ← ρv + (g + μ(w − anchor) + linear) + λw; w ← w − ηv.
fn by_formula(model: &mut Behind, case: Case, epochs: u64) -> Vec<f64> {
    let mut weights: Vec<f64> = start(model).into_iter().map(f64::from).collect();
    let mut velocity = vec![0.0; weights.len()];
    for batch in (0..epochs).flat_map(|_| ORDER.chunks(2)) {
        let gradient = gradient(model, &weights, batch);
        for (i, (w, v)) in weights.iter_mut().zip(&mut velocity).enumerate() {
            let pull = f64::from(case.proximal) * (*w - f64::from(Case::anchor(i)));
            let corrected = gradient[i] + pull + f64::from(case.linear(i));
            *v = case.momentum * *v + corrected + case.decay * *w;
            *w -= f64::from(RATE) * *v;
        }
    }
    weights
}

/// Two epochs of four steps show that each step has the terms, that the anchor stays, and that epoch 1 continues with
/// the momentum of epoch 0. A third one, again numbered 0, begins without it.
#[test]
fn every_step_adds_the_terms_before_momentum_and_decay() {
    for name in ["logreg", "mlp"] {
        for case in Case::ALL {
            let mut model = moved(name);
            let count = model.weights().len();
            let (optimiser, anchor): (_, Vec<f32>) = (case.optimiser(), (0..count).map(Case::anchor).collect());
            let linear: Vec<f32> = (0..count).map(|i| case.linear(i)).collect();
            let mut rules = plain(RATE);
            (rules.optimiser, rules.proximal) = (RStr::from(&*optimiser), case.proximal);
            (rules.anchor, rules.linear) = (RSlice::from_slice(&anchor), RSlice::from_slice(&linear));
            let two_epochs = |model: &mut Behind| {
                model.set_weights(&start(model)).unwrap();
                for epoch in 0..2 {
                    model.train(ordered(&ORDER), AbiEpoch { epoch, ..rules }).unwrap();
                }
                model.weights()
            };
            let trained = two_epochs(&mut model);
            assert_eq!(bits(&trained), bits(&two_epochs(&mut model)), "{name} {case:?}: epoch 0 resets the momentum");
            for (i, (got, expected)) in trained.iter().zip(by_formula(&mut model, case, 2)).enumerate() {
                let off = (f64::from(*got) - expected).abs();
                assert!(off < 2e-6, "{name} {case:?}, weight {i}: {got} for {expected}");
            }
        }
    }
}

#[test]
fn a_term_that_is_zero_leaves_the_bits_of_a_plain_epoch() {
    for name in ["logreg", "mlp"] {
        let mut model = moved(name);
        model.train(ordered(&ORDER), plain(RATE)).unwrap();
        let (free, mut other, count) = (model.weights(), moved(name), model.weights().len());
        let (anchor, linear) = (vec![3.0; count], vec![0.0; count]);
        let (anchor, linear) = (RSlice::from_slice(&anchor), RSlice::from_slice(&linear));
        other.train(ordered(&ORDER), AbiEpoch { anchor, linear, ..plain(RATE) }).unwrap();
        assert_eq!(bits(&free), bits(&other.weights()), "{name}");
    }
}

#[test]
fn a_step_limit_stops_after_that_many_steps() {
    for name in ["logreg", "mlp"] {
        for limit in [1, 3, 4, 9] {
            let (mut limited, mut short) = (moved(name), moved(name));
            let report = limited.train(ordered(&ORDER), AbiEpoch { step_limit: limit, ..plain(RATE) }).unwrap();
            let steps = limit.min(4);
            short.train(ordered(&ORDER[..2 * steps as usize]), plain(RATE)).unwrap();
            assert_eq!(bits(&limited.weights()), bits(&short.weights()), "{name}, limit {limit}");
            let done = (report.steps, report.accumulation, report.sums.examples);
            assert_eq!(done, (steps, steps as f64, 2 * steps), "{name}, limit {limit}");
        }
    }
}

/// Returns ‖a‖₁ after three epochs of three steps each.
fn accumulation(name: &str, optimiser: &str, proximal: f32) -> f64 {
    let mut model = Behind::new(name, "{}", &[2]);
    let anchor = model.weights();
    let mut rules = AbiEpoch { step_limit: 3, proximal, anchor: RSlice::from_slice(&anchor), ..plain(RATE) };
    rules.optimiser = RStr::from(optimiser);
    let examples = bytes(&[1; 16], 2, &LABELS, &ORDER);
    let reports = (0..3).map(|epoch| model.train(examples, AbiEpoch { epoch, ..rules }).unwrap());
    reports.last().unwrap().accumulation
}

#[test]
fn accumulation_is_the_closed_form_or_the_solver_on_a_constant_gradient() {
    const STEPS: i32 = 9;
    let power = |base: f64| (0..STEPS).fold(1.0, |product, _| product * base);
    let momentum = |rho: f64| (f64::from(STEPS) - rho * (1.0 - power(rho)) / (1.0 - rho)) / (1.0 - rho);
    let pull = f64::from(RATE) * 0.5;
    // From 0 on a constant gradient 1: v ← ρv + 1 + μw; w ← w − ηv. The accumulation is −w / η.
    let solver = (0..STEPS).fold((0.0, 0.0), |(w, v): (f64, f64), _| {
        let v = 0.5 * v + 1.0 + 0.5 * w;
        (w - f64::from(RATE) * v, v)
    });
    let both = -solver.0 / f64::from(RATE);
    for name in ["logreg", "mlp", "quadratic"] {
        for (optimiser, proximal, expected) in [
            (r#"{"name":"sgd"}"#, 0.0, f64::from(STEPS)),
            (r#"{"name":"sgd","weight_decay":0.5}"#, 0.0, f64::from(STEPS)),
            (r#"{"name":"sgd","momentum":0.5}"#, 0.0, momentum(0.5)),
            (r#"{"name":"sgd","momentum":0.75}"#, 0.0, momentum(0.75)),
            (r#"{"name":"sgd"}"#, 0.5, (1.0 - power(1.0 - pull)) / pull),
            (r#"{"name":"sgd","momentum":0.5}"#, 0.5, both),
        ] {
            let got = accumulation(name, optimiser, proximal);
            assert!((got - expected).abs() < 1e-12, "{name} {optimiser}, μ {proximal}: {got} for {expected}");
        }
    }
    assert!(accumulation("logreg", r#"{"name":"adam"}"#, 0.0).is_nan());
}

#[test]
fn a_frozen_tensor_keeps_its_bits_and_the_others_train_on() {
    for name in ["logreg", "mlp", "quadratic"] {
        for optimiser in [
            r#"{"name":"sgd"}"#,
            r#"{"name":"sgd","momentum":0.9,"weight_decay":0.1}"#,
            r#"{"name":"adam","weight_decay":0.1}"#,
        ] {
            if name == "quadratic" && optimiser.contains("adam") {
                continue;
            }
            let count = moved(name).layout.tensors.len();
            for frozen in 0..count {
                let (mut model, mut trainable) = (moved(name), vec![1; count]);
                trainable[frozen] = 0;
                let mut rules = AbiEpoch { trainable: RSlice::from_slice(&trainable), ..plain(RATE) };
                rules.optimiser = RStr::from(optimiser);
                for epoch in 0..3 {
                    model.train(ordered(&ORDER), AbiEpoch { epoch, ..rules }).unwrap();
                }
                let (before, after) = (bits(&start(&model)), bits(&model.weights()));
                let mut at = 0;
                for (i, tensor) in model.layout.tensors.iter().enumerate() {
                    let place = at..at + tensor.weight_count();
                    at = place.end;
                    let (kept, is_frozen) = (before[place.clone()] == after[place], i == frozen);
                    assert_eq!(kept, is_frozen, "{name} {optimiser}: {}, frozen {frozen}", tensor.name);
                }
            }
        }
    }
}
