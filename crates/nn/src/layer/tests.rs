//! Tests of the layers against stored values of NumPy, and of what each layer promises beside its numbers.

use serde_json::Value;

use super::*;
use crate::{error::Result, network::Network, optimiser::Optimiser};

/// A case of `crates/python/reference/layers.py`: layers, a batch, and what NumPy says about it.
struct Case(Value);

impl Case {
    fn all() -> Vec<Case> {
        let json: Value = serde_json::from_str(include_str!("reference.json")).unwrap();
        json["cases"].as_array().unwrap().iter().cloned().map(Case).collect()
    }

    fn numbers(&self, key: &str) -> Vec<f64> {
        serde_json::from_value(self.0[key].clone()).unwrap()
    }

    fn floats(&self, key: &str) -> Vec<f32> {
        self.numbers(key).iter().map(|&x| x as f32).collect()
    }

    fn labels(&self) -> Vec<u32> {
        serde_json::from_value(self.0["labels"].clone()).unwrap()
    }

    fn network(&self, isa: Isa) -> Network {
        let [channels, height, width]: [usize; 3] = serde_json::from_value(self.0["shape"].clone()).unwrap();
        let is_interleaved = self.0["order"] == "pixels";
        let shape = Shape { interleaved: is_interleaved, ..Shape::image(channels, height, width) };
        let specs: Vec<LayerSpec> = self.0["layers"].as_array().unwrap().iter().map(spec).collect();
        let mut network = Network::stack_on(isa, shape, &specs).unwrap();
        network.inputs(self.labels().len()).copy_from_slice(&self.floats("inputs"));
        network
    }
}

fn spec(json: &Value) -> LayerSpec {
    let number = |index: usize| json[index].as_u64().unwrap() as usize;
    match json[0].as_str().unwrap() {
        "conv" => LayerSpec::Conv { channels: number(1), kernel: number(2) },
        "dense" => LayerSpec::Dense { outputs: number(1) },
        "pool" => LayerSpec::MaxPool { size: number(1) },
        "relu" => LayerSpec::Relu,
        "batch" => LayerSpec::BatchNorm,
        "layer" => LayerSpec::LayerNorm,
        other => panic!("{other}"),
    }
}

fn assert_near(what: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (&got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(got) - expected).abs() < tolerance, "{what}, value {i}: {got} for {expected}");
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn outputs_gradients_and_statistics_agree_with_numpy() {
    for case in Case::all() {
        let mut network = case.network(Isa::current().unwrap());
        let (mut weights, mut gradient) = (case.floats("weights"), vec![f32::NAN; case.floats("weights").len()]);
        let logits: Vec<f32> = network.logits(&weights).iter().copied().collect();
        let name = case.0["name"].as_str().unwrap();
        assert_near(&format!("{name}: logits"), &logits, &case.numbers("logits"), 1e-5);
        let score = network.gradient(&weights, case.labels(), &mut gradient).unwrap();
        let loss = case.0["training_loss"].as_f64().unwrap();
        assert!((score.loss_sum - loss).abs() < 1e-5, "{name}: {} for {loss}", score.loss_sum);
        assert_near(&format!("{name}: gradient"), &gradient, &case.numbers("gradient"), 3e-6);
        network.move_statistics(&mut weights, &[]);
        assert_near(&format!("{name}: statistics"), &weights, &case.numbers("moved"), 1e-6);
    }
}

#[test]
fn every_instruction_set_and_the_fused_step_give_the_same_bits() {
    let optimisers = [r#"{"name":"sgd","momentum":0.9,"weight_decay":0.1}"#, r#"{"name":"adam"}"#];
    for (case, json) in Case::all().iter().flat_map(|case| optimisers.map(|json| (case, json))) {
        let trained = |isa: Isa, is_fused: bool| {
            let (mut network, mut optimiser) = (case.network(isa), Optimiser::on(isa));
            let mut weights = case.floats("weights");
            let mut gradient = weights.clone();
            optimiser.begin(json, weights.len(), 0).unwrap();
            for _ in 0..3 {
                if is_fused {
                    network.step(&mut weights, case.labels(), &mut optimiser, 0.1).unwrap();
                } else {
                    network.gradient(&weights, case.labels(), &mut gradient).unwrap();
                    optimiser.step(&mut weights, &gradient, 0.1, &network.untrained(&[]));
                    network.move_statistics(&mut weights, &[]);
                }
            }
            bits(&weights)
        };
        let expected = trained(Isa::available()[0], false);
        for isa in Isa::available() {
            assert!(trained(isa, true) == expected, "{} {json} {isa:?}", case.0["name"]);
        }
    }
}

#[test]
fn a_frozen_statistic_keeps_its_bits() {
    let mut network = Network::stack(Shape::flat(3), &[LayerSpec::BatchNorm, LayerSpec::Dense { outputs: 2 }]).unwrap();
    // Factor and shift, mean and variance of three channels each, then the dense layer.
    assert_eq!(network.untrained(&[0..3, 6..9]), [0..3, 6..9, 9..12]);
    assert_eq!(network.untrained(&[0..3, 6..20]), [0..3, 6..20]);
    let mut weights = network.init(1);
    network.inputs(2).copy_from_slice(&[1.0, 2.0, 3.0, 5.0, 6.0, 7.0]);
    network.gradient(&weights.clone(), [0, 1], &mut weights.clone()).unwrap();
    network.move_statistics(&mut weights, std::slice::from_ref(&(6..9)));
    assert_eq!(weights[6..9], [0.0; 3]);
    // The unbiased variance of each channel is 8.
    weights[9..12].iter().for_each(|variance| assert!((variance - 1.7).abs() < 1e-6, "{variance}"));
}

/// A batch norm of rows has no variance for a single row. The running statistics stand in, and do not move.
#[test]
fn a_batch_of_one_row_is_normalised_by_the_running_statistics() {
    let mut network = Network::stack(Shape::flat(3), &[LayerSpec::BatchNorm, LayerSpec::Dense { outputs: 2 }]).unwrap();
    let mut weights = network.init(1);
    weights[6..12].copy_from_slice(&[0.5, -0.5, 0.25, 2.0, 0.5, 1.0]);
    network.inputs(1).copy_from_slice(&[1.0, 2.0, 3.0]);
    let (start, mut gradient) = (weights.clone(), weights.clone());
    let trained = network.gradient(&weights, [1], &mut gradient).unwrap();
    assert_eq!(trained, network.score(&weights, [1]).unwrap());
    network.move_statistics(&mut weights, &[]);
    assert_eq!(weights, start);
    assert!(gradient[..3].iter().all(|g| *g != 0.0), "{gradient:?}");
}

const KEY: TrainKey = TrainKey { seed: 1, client: 3, round: 5, epoch: 2 };

/// Returns the factors by which a dropout multiplied its inputs in the last of `steps` steps. The gradient at a weight
/// of a dense layer is half of its input, since the two classes have equal logits.
fn dropped(key: TrainKey, steps: usize, is_second: bool) -> Vec<f32> {
    let [nothing, dropout] = [0.0, 0.25].map(|rate| LayerSpec::Dropout { rate });
    let layers = [nothing, dropout, LayerSpec::Dense { outputs: 2 }];
    let mut network = Network::stack(Shape::flat(24), &layers[usize::from(!is_second)..]).unwrap();
    let (weights, mut gradient) = (vec![0.0; 50], vec![0.0; 50]);
    network.begin(key);
    for _ in 0..steps {
        network.inputs(1).fill(1.0);
        network.gradient(&weights, [1], &mut gradient).unwrap();
    }
    gradient[..48].iter().step_by(2).map(|g| 2.0 * g).collect()
}

#[test]
fn dropout_scales_what_it_keeps_and_depends_on_its_key_alone() {
    let first = dropped(KEY, 1, false);
    let kept: Vec<&f32> = first.iter().filter(|factor| **factor != 0.0).collect();
    assert!(kept.len() < 24 && kept.iter().all(|factor| (**factor - 4.0 / 3.0).abs() < 1e-6), "{first:?}");
    assert_eq!(first, dropped(KEY, 1, false));
    let other = TrainKey { seed: 2, ..KEY };
    let others = [
        dropped(other, 1, false),
        dropped(TrainKey { client: 4, ..KEY }, 1, false),
        dropped(TrainKey { round: 6, ..KEY }, 1, false),
        dropped(TrainKey { epoch: 3, ..KEY }, 1, false),
        dropped(KEY, 2, false),
        dropped(KEY, 1, true),
    ];
    others.iter().for_each(|other| assert_ne!(other, &first));
}

#[test]
fn dropout_changes_no_evaluation_and_drops_its_share() {
    let layers = [LayerSpec::Dropout { rate: 0.3 }, LayerSpec::Dense { outputs: 2 }];
    let mut network = Network::stack(Shape::flat(1000), &layers).unwrap();
    let mut dense = Network::new(&[1000, 2]).unwrap();
    let weights = dense.init(4);
    for network in [&mut network, &mut dense] {
        init::he_normal(network.inputs(20), 2, 3, 0);
    }
    assert_eq!(network.logits(&weights), dense.logits(&weights));
    network.begin(KEY);
    network.inputs(20).fill(1.0);
    let mut gradient = weights.clone();
    // All examples have the same class, so that a gradient is 0 only if all were dropped.
    let count: usize = (0..20)
        .map(|_| {
            network.inputs(1).fill(1.0);
            network.gradient(&weights, [0], &mut gradient).unwrap();
            gradient[..2000].iter().step_by(2).filter(|g| **g == 0.0).count()
        })
        .sum();
    // Four standard errors of 20,000 choices.
    assert!((count as f64 - 6000.0).abs() < 4.0 * (20_000.0_f64 * 0.3 * 0.7).sqrt(), "{count}");
}

#[test]
fn layers_that_do_not_fit_are_refused_in_one_sentence() {
    let grey = Shape::image(1, 4, 4);
    let refusal = |shape: Shape, layers: &[LayerSpec]| Network::stack(shape, layers).err().map(|why| why.to_string());
    let refused: [(Shape, &[LayerSpec], &str); 8] = [
        (grey, &[], "a network needs a layer, but got none"),
        (Shape::flat(0), &[LayerSpec::Relu], "a layer needs 1 to 2^30 values, but Relu has inputs of 0×1×1"),
        (grey, &[LayerSpec::Conv { channels: 2, kernel: 5 }], "a kernel of 5×5 does not fit into 4×4 pixels"),
        (grey, &[LayerSpec::MaxPool { size: 0 }], "a square of 0×0 pixels does not fit into 4×4"),
        (grey, &[LayerSpec::Dropout { rate: 1.0 }], "a dropout rate must be at least 0 and below 1, but got 1"),
        (
            grey,
            &[LayerSpec::Dense { outputs: 0 }],
            "a layer needs 1 to 2^30 values, but Dense { outputs: 0 } has outputs of 0×1×1",
        ),
        (
            grey,
            &[LayerSpec::Conv { channels: 1 << 30, kernel: 1 }],
            "a layer needs 1 to 2^30 values, but Conv { channels: 1073741824, kernel: 1 } has outputs of 1073741824×4×4",
        ),
        (
            Shape::pixels(3, 4, 4),
            &[LayerSpec::BatchNorm],
            "BatchNorm cannot be the first layer of images whose pixels have their channels side by side; begin with a \
             convolution or a dense layer",
        ),
    ];
    for (shape, layers, expected) in refused {
        assert_eq!(refusal(shape, layers).as_deref(), Some(expected));
    }
}

#[test]
fn initial_weights_follow_the_number_of_their_tensor() -> Result<()> {
    let layers = [
        LayerSpec::Conv { channels: 2, kernel: 2 },
        LayerSpec::BatchNorm,
        LayerSpec::Relu,
        LayerSpec::Dense { outputs: 3 },
    ];
    let network = Network::stack(Shape::image(1, 3, 3), &layers)?;
    let weights = network.init(7);
    let drawn = |len, inputs, tensor| {
        let mut values = vec![0.0; len];
        init::he_normal(&mut values, inputs, 7, tensor);
        values
    };
    let dense: Vec<_> = network.tensors().into_iter().map(|tensor| (tensor.name, tensor.shape)).collect();
    assert_eq!(dense[0], ("conv1.weight".into(), vec![2, 1, 2, 2]));
    assert_eq!(dense[6], ("dense1.weight".into(), vec![8, 3]));
    assert_eq!(weights[..8], drawn(8, 4, 0));
    assert_eq!(weights[8..18], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    assert_eq!(weights[18..42], drawn(24, 8, 6));
    Ok(())
}
