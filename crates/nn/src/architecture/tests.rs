//! Tests of what all models of one network share: when weights are made, targets, predictions, the fused step.

use std::collections::BTreeMap;

use fedpipe_model::Rows;

use super::*;
use crate::{hidden_options::HiddenOptions, layer::LayerSpec, layer::Shape};

/// A hidden layer with norm and dropout.
struct Hidden;

impl Architecture for Hidden {
    const EVALUATION_BATCH: usize = 2;

    fn describe() -> Description {
        HiddenOptions::describe(Description::new("hidden", "1", "one hidden layer"))
    }

    fn network(options: &Options, task: &Task) -> Result<Network> {
        let mut layers = HiddenOptions::read(options)?.dense(&[6])?;
        layers.push(LayerSpec::Dense { outputs: task.outputs() });
        Ok(Network::stack(Shape::flat(task.inputs()), &layers)?)
    }

    fn norm_place(options: &Options) -> Result<Place> {
        Ok(HiddenOptions::read(options)?.norm_place)
    }
}

/// A layer whose weights start at 0.
struct Zero;

impl Architecture for Zero {
    const STARTS_AT_ZERO: bool = true;

    fn describe() -> Description {
        Description::new("zero", "1", "one layer")
    }

    fn network(_: &Options, task: &Task) -> Result<Network> {
        Ok(Network::new(&[task.inputs(), task.outputs()])?)
    }
}

const INPUTS: [f32; 15] = [0.5, 0.0, -1.0, 0.25, 0.75, 0.0, 0.0, 0.0, 1.5, -0.5, 1.0, 0.125, -0.25, 0.375, 2.0];
const LABELS: [u32; 5] = [0, 2, 1, 2, 0];
const TARGETS: [f32; 5] = [1.5, -2.0, 0.25, 4.0, -0.5];
const ORDER: [u32; 5] = [3, 0, 4, 2, 1];

fn examples(target: Target) -> Examples<'static> {
    let rows = Rows::Floats(&INPUTS);
    match target {
        Target::Classes(_) => Examples::new(rows, 3, &LABELS, &ORDER),
        Target::Real => Examples::new(rows, 3, &TARGETS, &ORDER),
    }
}

fn build<A: Architecture>(options: &[(&str, &str)], target: Target, seed: u64) -> Result<NetworkModel<A>> {
    let given: BTreeMap<String, String> = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let options = Options::resolve(&NetworkModel::<A>::describe(), given)?;
    NetworkModel::build(&options, &Task { shape: vec![3], target }, seed)
}

const BOTH: [Target; 2] = [Target::Classes(3), Target::Real];
const NOISY: [(&str, &str); 2] = [("norm", "batch"), ("dropout", "0.3")];

#[test]
fn weights_can_be_set_before_initial_ones_are_made() {
    let built = |seed| build::<Hidden>(&[], Target::Real, seed).unwrap();
    let (one, mut other) = (built(1), built(2));
    assert_ne!(one.weights(), built(2).weights());
    assert_eq!(other.weight_count(), one.weights().len());
    assert!(other.weights.get().is_none(), "initial weights were made although nobody asked for them");
    for _ in 0..2 {
        other.set_weights(one.weights());
        assert_eq!(other.weights(), one.weights());
        other.weights_mut().fill(0.0);
    }
    for target in BOTH {
        assert!(build::<Zero>(&[], target, 3).unwrap().weights().iter().all(|weight| *weight == 0.0));
    }
}

/// A linear term of 0 keeps the bits of an epoch, but takes the way of gradient, correction and step.
#[test]
fn the_fused_step_has_the_bits_of_its_parts() {
    for target in BOTH {
        let trained = |linear: &[f32]| {
            let mut model = build::<Hidden>(&NOISY, target, 3).unwrap();
            let epochs = [0, 1].map(|epoch| {
                let rules = Epoch { epoch, linear, optimiser: r#"{"name":"adam"}"#, ..Epoch::plain(0.1, 2) };
                model.train_epoch(&examples(target), &rules).unwrap()
            });
            let weights: Vec<u32> = model.weights().iter().map(|weight| weight.to_bits()).collect();
            (weights, epochs.map(|report| (report.sums, report.steps)))
        };
        let zeros = vec![0.0; build::<Hidden>(&NOISY, target, 3).unwrap().weight_count()];
        assert_eq!(trained(&[]), trained(&zeros), "{target:?}");
    }
}

#[test]
fn the_sums_of_an_evaluation_are_those_of_the_predictions() {
    let mut model = build::<Hidden>(&[], Target::Real, 3).unwrap();
    let mut predictions = [f32::NAN; 5];
    model.predict(&examples(Target::Real), &mut predictions).unwrap();
    let targets = ORDER.map(|row| TARGETS[row as usize]);
    let errors: Vec<f64> = predictions.iter().zip(targets).map(|(p, t)| f64::from(*p) - f64::from(t)).collect();
    let sums = model.evaluate(&examples(Target::Real)).unwrap();
    assert_eq!(sums.regression.unwrap().absolute_error, errors.iter().map(|error| error.abs()).sum::<f64>());

    let mut model = build::<Hidden>(&[], Target::Classes(3), 3).unwrap();
    let mut scores = [f32::NAN; 15];
    model.predict(&examples(Target::Classes(3)), &mut scores).unwrap();
    let predicted =
        scores.chunks(3).map(|of| (0..3).fold(0, |best, class| if of[class] > of[best] { class } else { best }));
    let labels = ORDER.map(|row| LABELS[row as usize] as usize);
    let correct = predicted.zip(labels).filter(|(class, label)| class == label).count() as u64;
    assert_eq!(model.evaluate(&examples(Target::Classes(3))).unwrap().correct, correct);
}

/// Every model of one network keeps its momentum, and gives it the shape of the weights.
#[test]
fn a_momentum_is_taken_back_and_continued() {
    let optimiser = r#"{"name":"sgd","momentum":0.5,"keep":true}"#;
    let rules = Epoch { optimiser, ..Epoch::plain(0.1, 5) };
    let target = Target::Classes(3);
    let mut one = build::<Zero>(&[], target, 0).unwrap();
    assert!(NetworkModel::<Zero>::describe().keeps_momentum);
    one.set_momentum(&[0.0; 12]).unwrap();
    one.train_epoch(&examples(target), &rules).unwrap();
    let (weights, momentum) = (one.weights().to_vec(), one.momentum().to_vec());
    one.train_epoch(&examples(target), &rules).unwrap();
    // Another process, which has served another client in between.
    let mut other = build::<Zero>(&[], target, 0).unwrap();
    other.train_epoch(&examples(target), &rules).unwrap();
    other.set_weights(&weights);
    other.set_momentum(&momentum).unwrap();
    other.train_epoch(&examples(target), &rules).unwrap();
    assert_eq!((one.weights(), one.momentum()), (other.weights(), other.momentum()));
}

#[test]
fn norms_are_local_if_asked_for_and_statistics_are_buffers() {
    let options = [("norm", "batch"), ("norm-place", "local")];
    for tensor in build::<Hidden>(&options, Target::Real, 0).unwrap().layout().tensors {
        assert_eq!(tensor.place == Place::Local, tensor.name.starts_with("norm"), "{}", tensor.name);
        assert_eq!(tensor.kind == Kind::Buffer, tensor.name.contains("running"), "{}", tensor.name);
    }
}

#[test]
fn options_that_do_not_fit_are_refused_in_one_sentence() {
    let refusal = |options: &[(&str, &str)]| build::<Hidden>(options, Target::Real, 0).err().unwrap().to_string();
    let cases = [
        (("norm", "group"), "model option norm: \"group\" does not fit: expected none, layer or batch"),
        (("norm-place", "home"), "model option norm-place: \"home\" does not fit: expected shared or local"),
        (("norm-place", "local"), "a local place of norms has no effect without a norm; set norm=layer or norm=batch"),
        (("dropout", "1.5"), "a dropout rate must be at least 0 and below 1, but got 1.5"),
    ];
    for (option, says) in cases {
        assert_eq!(refusal(&[option]), says);
    }
    let options = Options::resolve(&NetworkModel::<Hidden>::describe(), BTreeMap::new()).unwrap();
    let hidden = HiddenOptions::read(&options).unwrap();
    assert!(hidden.dense(&[3, 65_536]).is_ok());
    for width in [0, 65_537] {
        let why = hidden.dense(&[3, width]).unwrap_err().to_string();
        assert_eq!(why, format!("model option hidden: a layer cannot be {width} wide, only 1 to 65536"));
    }
}
