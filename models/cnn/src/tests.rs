//! Tests of the convolutional network: gradients, terms, options and shapes. `fedpipe-nn` compares its layers with
//! NumPy.

use std::collections::BTreeMap;

use fedpipe_model::{Epoch, Examples, Model, Rows, Target};

use super::*;

type Built = NetworkModel<Cnn>;

const SIDE: usize = 8;
const COUNT: usize = 6;
const ORDER: [u32; COUNT] = [3, 0, 5, 1, 4, 2];
const LABELS: [u32; COUNT] = [0, 2, 1, 2, 0, 1];

fn build(options: &[(&str, &str)], shape: &[usize], seed: u64) -> Result<Built> {
    let given: BTreeMap<String, String> = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let task = Task { shape: shape.to_vec(), target: Target::Classes(3) };
    Built::build(&Options::resolve(&Built::describe(), given)?, &task, seed)
}

/// Returns a small network with the given options.
fn small(options: &[(&str, &str)]) -> Built {
    let size = [("channels", "2,3"), ("kernel", "2"), ("hidden", "5")];
    build(&[&size, options].concat(), &[SIDE, SIDE], 1).unwrap()
}

/// Returns images whose pixels are multiples of 1/8, of which a third is 0.
fn images() -> Vec<f32> {
    (0..COUNT * SIDE * SIDE).map(|i| [0.0, (i * 7 % 11) as f32 / 8.0, (i * i % 13) as f32 / 8.0][i % 3]).collect()
}

fn examples(images: &[f32]) -> Examples<'_> {
    Examples::new(Rows::Floats(images), SIDE * SIDE, &LABELS, &ORDER)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Without dropout and without a batch norm an evaluation has the loss of training.
#[test]
fn gradients_are_finite_differences() {
    let images = images();
    for norm in ["none", "layer"] {
        let mut model = small(&[("norm", norm)]);
        let start = model.weights().to_vec();
        // A step at rate 1 subtracts the gradient.
        model.train_epoch(&examples(&images), &Epoch::plain(1.0, COUNT)).unwrap();
        let gradient: Vec<f32> = start.iter().zip(model.weights()).map(|(before, after)| before - after).collect();
        let mut loss = |i: usize, step: f32| {
            model.set_weights(&start);
            model.weights_mut()[i] += step;
            model.evaluate(&examples(&images)).unwrap().loss_sum / COUNT as f64
        };
        let differs = |i: &usize| {
            let slope = (loss(*i, 1.0 / 1024.0) - loss(*i, -1.0 / 1024.0)) * 512.0;
            (slope - f64::from(gradient[*i])).abs() > 5e-4
        };
        // A ReLU or a maximum that changes between the two points bends a few of the slopes.
        let wrong: Vec<usize> = (0..start.len()).filter(differs).collect();
        assert!(wrong.len() <= start.len() / 20, "{norm}: {wrong:?} of {}", start.len());
    }
}

#[test]
fn training_lowers_the_loss_and_counts_its_steps() {
    let images = images();
    for options in [&[][..], &[("norm", "batch")], &[("norm", "layer"), ("dropout", "0.1")]] {
        let mut model = small(options);
        let before = model.evaluate(&examples(&images)).unwrap();
        for epoch in 0..20 {
            let rules = Epoch { epoch, ..Epoch::plain(0.1, 4) };
            let report = model.train_epoch(&examples(&images), &rules).unwrap();
            assert_eq!((report.steps, report.sums.examples), (2, COUNT as u64));
        }
        let after = model.evaluate(&examples(&images)).unwrap();
        assert!(after.loss_sum < before.loss_sum, "{options:?}: {before:?} {after:?}");
    }
}

#[test]
fn terms_limits_and_frozen_tensors_are_applied() {
    let images = images();
    let trained = |rules: &Epoch<'_>| {
        let mut model = small(&[("norm", "batch")]);
        let steps = model.train_epoch(&examples(&images), rules).unwrap().steps;
        (model.weights().to_vec(), steps)
    };
    let model = small(&[("norm", "batch")]);
    let (start, plain) = (model.weights().to_vec(), Epoch::plain(0.1, 2));
    let (usual, _) = trained(&plain);
    assert_eq!(trained(&Epoch { step_limit: Some(1), ..plain }).1, 1);
    let anchor = vec![0.5; start.len()];
    let linear = vec![0.25; start.len()];
    for rules in [Epoch { proximal: 0.5, anchor: &anchor, ..plain }, Epoch { linear: &linear, ..plain }] {
        assert_ne!(trained(&rules).0, usual);
    }
    // All tensors of the first norm, its statistics among them, and the next convolution.
    let names: Vec<String> = model.layout().tensors.iter().map(|tensor| tensor.name.clone()).collect();
    assert_eq!(names[2..7], ["norm1.weight", "norm1.bias", "norm1.running_mean", "norm1.running_var", "conv2.weight"]);
    let frozen = [10..12, 12..14, 14..16, 16..18, 18..42];
    let json = r#"{"name":"sgd","momentum":0.9,"weight_decay":0.1}"#;
    let (weights, _) = trained(&Epoch { frozen: &frozen, optimiser: json, ..plain });
    assert_eq!(bits(&weights[10..42]), bits(&start[10..42]));
    assert!((0..10).chain(42..start.len()).all(|i| weights[i] != start[i] || start[i] == 0.0));
}

#[test]
fn dropout_draws_by_the_key_of_the_epoch() {
    let images = images();
    let trained = |rules: &Epoch<'_>| {
        let mut model = small(&[("dropout", "0.5")]);
        model.train_epoch(&examples(&images), rules).unwrap();
        bits(model.weights())
    };
    let plain = Epoch::plain(0.1, 3);
    assert_eq!(trained(&plain), trained(&plain));
    for other in [Epoch { seed: 1, ..plain }, Epoch { client: 1, ..plain }, Epoch { round: 2, ..plain }] {
        assert_ne!(trained(&other), trained(&plain));
    }
}

#[test]
fn the_default_is_lenet_and_colours_may_come_in_either_order() {
    let shapes = |shape: &[usize]| -> Vec<Vec<usize>> {
        build(&[], shape, 0).unwrap().layout().tensors.into_iter().map(|tensor| tensor.shape).collect()
    };
    let grey = shapes(&[28, 28]);
    assert_eq!(grey[..5], [vec![10, 1, 5, 5], vec![10], vec![20, 10, 5, 5], vec![20], vec![320, 120]]);
    assert_eq!(build(&[], &[28, 28], 0).unwrap().weight_count(), 54_219);
    assert_eq!(shapes(&[3, 32, 32]), shapes(&[32, 32, 3]));
    assert_eq!(shapes(&[32, 32, 3])[0], [10, 3, 5, 5]);
}

#[test]
fn what_does_not_fit_is_refused_in_one_sentence() {
    let refusal = |options: &[(&str, &str)], shape: &[usize]| build(options, shape, 0).err().unwrap().to_string();
    assert_eq!(
        refusal(&[], &[8, 8]),
        "model cnn with channels=10,20 and kernel=5 takes images of at least 16×16, but the examples have the shape \
         [8, 8]; try fewer channels or a smaller kernel"
    );
    assert!(build(&[], &[16, 16], 0).is_ok());
    assert!(build(&[("channels", "4"), ("kernel", "3")], &[4, 4], 0).is_ok());
    assert!(refusal(&[], &[30]).ends_with("but the examples have the shape [30]; take the model mlp"));
    assert_eq!(
        refusal(&[("norm", "group")], &[28, 28]),
        "model option norm: \"group\" does not fit: expected none, layer or batch"
    );
    assert_eq!(
        refusal(&[("norm", "batch"), ("norm-place", "home")], &[28, 28]),
        "model option norm-place: \"home\" does not fit: expected shared or local"
    );
    let idle = "a local place of norms has no effect without a norm; set norm=layer or norm=batch";
    assert_eq!(refusal(&[("norm-place", "local")], &[28, 28]), idle);
    assert!(refusal(&[("dropout", "1")], &[28, 28]).contains("but got 1"));
    assert!(refusal(&[("channels", "0")], &[28, 28]).contains("1 to 2^30"));
}
