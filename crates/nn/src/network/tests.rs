//! Tests of a network: bits on each instruction set, gradients, refusals.

use super::*;
use crate::init;

const OPTIMISERS: [&str; 6] = [
    r#"{"name":"sgd"}"#,
    r#"{"name":"sgd","momentum":0.9,"weight_decay":0.01}"#,
    r#"{"name":"adam"}"#,
    r#"{"name":"adam","beta1":0.5,"epsilon":0.001,"weight_decay":0.1}"#,
    r#"{"name":"sgd","momentum":0.9,"nesterov":true,"weight_decay":0.01}"#,
    r#"{"name":"adamw","weight_decay":0.1}"#,
];

/// Widths that are no multiple of a tile, a single class, no hidden layer.
const SHAPES: [&[usize]; 5] = [&[37, 70, 19, 10], &[5, 3], &[1, 1, 1], &[130, 64, 128], &[9, 33, 1]];

/// Fills the inputs, of which `zeros` tenths are 0, and returns labels.
fn batch(network: &mut Network, examples: usize, zeros: u32, seed: u64) -> Vec<u32> {
    let inputs = network.inputs(examples);
    init::he_normal(inputs, 2, seed, 9);
    inputs.iter_mut().filter(|x| (x.to_bits() >> 3) % 10 < zeros).for_each(|x| *x = 0.0);
    let classes = network.last().shape().len();
    (0..examples).map(|i| ((i * 7 + 3) % classes) as u32).collect()
}

/// Trains on batches of several sizes, by fused steps if `fused`; returns the bits of the weights and of the losses.
fn train(isa: Isa, widths: &[usize], json: &str, zeros: u32, fused: bool) -> (Vec<u32>, Vec<u64>) {
    let mut network = Network::on(isa, widths).unwrap();
    let mut optimiser = Optimiser::on(isa);
    let mut weights = network.init(3);
    let mut gradient = weights.clone();
    let mut losses = Vec::new();
    optimiser.begin(json, weights.len(), 0).unwrap();
    for (seed, examples) in [32, 5, 1, 0, 67].into_iter().enumerate() {
        let labels = batch(&mut network, examples, zeros, seed as u64);
        let score = if fused {
            network.step(&mut weights, labels, &mut optimiser, 0.1).unwrap()
        } else {
            let score = network.gradient(&weights, labels, &mut gradient).unwrap();
            optimiser.step(&mut weights, &gradient, 0.1, &[]);
            score
        };
        losses.push(score.loss_sum.to_bits());
    }
    (weights.iter().map(|w| w.to_bits()).collect(), losses)
}

#[test]
fn every_instruction_set_and_the_fused_step_give_the_same_bits() {
    for widths in SHAPES {
        for json in OPTIMISERS {
            for zeros in [0, 5] {
                let expected = train(Isa::available()[0], widths, json, zeros, false);
                for isa in Isa::available() {
                    assert!(train(isa, widths, json, zeros, true) == expected, "{widths:?} {json} {zeros} {isa:?}");
                }
            }
        }
    }
}

#[test]
fn gradients_are_finite_differences() {
    for widths in [&[6, 5, 4, 3][..], &[7, 3], &[4, 5, 1]] {
        let mut network = Network::new(widths).unwrap();
        let mut weights = network.init(1);
        init::he_normal(&mut weights, 4, 2, 0);
        let labels = batch(&mut network, 9, 3, 5);
        let mut gradient = weights.clone();
        network.gradient(&weights, labels.clone(), &mut gradient).unwrap();
        for i in 0..weights.len() {
            let mut loss = |step: f32| {
                let mut moved = weights.clone();
                moved[i] += step;
                network.score(&moved, labels.clone()).unwrap().loss_sum / 9.0
            };
            let slope = (loss(0.004) - loss(-0.004)) / 0.008;
            assert!((slope - f64::from(gradient[i])).abs() < 2e-4, "{widths:?} weight {i}: {slope} {}", gradient[i]);
        }
    }
}

#[test]
fn tensors_tile_the_weights() {
    let network = Network::new(&[784, 128, 64, 10]).unwrap();
    let tensors: Vec<_> = network.tensors().into_iter().map(|tensor| (tensor.name, tensor.shape)).collect();
    assert_eq!(tensors[0], ("dense1.weight".into(), vec![784, 128]));
    assert_eq!(tensors[5], ("dense3.bias".into(), vec![10]));
    let count = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>());
    assert_eq!(count.sum::<usize>(), 109_386);
    assert_eq!(network.weight_count(), 109_386);
    let weights = network.init(1);
    assert!(weights[..100_352].iter().all(|w| *w != 0.0) && weights[100_352..100_480].iter().all(|w| *w == 0.0));
}

#[test]
fn wrong_widths_and_labels_are_refused() {
    assert!(Network::new(&[4]).is_err() && Network::new(&[4, 0, 2]).is_err());
    let mut network = Network::new(&[2, 3]).unwrap();
    let weights = network.init(0);
    network.inputs(2).fill(1.0);
    let error = network.score(&weights, [0]).unwrap_err().to_string();
    assert_eq!(error, "the targets (1) are not as many as the examples (2)");
    let error = network.score(&weights, [0, 3]).unwrap_err().to_string();
    assert_eq!(error, "label 3 is out of range for 3 classes");
}

#[test]
fn a_loss_that_is_not_finite_is_returned() {
    let mut network = Network::new(&[2, 4, 3]).unwrap();
    let mut weights = network.init(0);
    network.inputs(1).fill(1.0);
    weights[9] = f32::INFINITY;
    weights.iter_mut().skip(14).step_by(2).for_each(|w| *w = f32::NAN);
    assert!(!network.score(&weights, [0]).unwrap().loss_sum.is_finite());
}

#[test]
fn of_equal_logits_the_lowest_class_counts() {
    let mut network = Network::new(&[1, 3]).unwrap();
    let weights = [0.0, 0.0, 0.0, -1.0, 2.0, 2.0];
    network.inputs(2).fill(1.0);
    let score = network.score(&weights, [1, 2]).unwrap();
    assert_eq!(score.correct, 1);
    let expected = 2.0 * libm::log(2.0 + libm::exp(-3.0));
    assert!((score.loss_sum - expected).abs() < 1e-6, "{}", score.loss_sum);
    assert_eq!(network.logits(&weights), ndarray::arr2(&[[-1.0, 2.0, 2.0], [-1.0, 2.0, 2.0]]));
}
