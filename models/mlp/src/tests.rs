//! Tests of the perceptron: against stored results of PyTorch, and of its options.

use fedpipe_model::{Epoch, Examples, Kind, Model, Rows, Target, Tensor};

use super::*;

type Built = NetworkModel<Mlp>;

fn build(hidden: &str, shape: &[usize], classes: usize, seed: u64) -> Result<Built> {
    build_with(&[("hidden", hidden)], classes_of(shape, classes), seed)
}

fn classes_of(shape: &[usize], classes: usize) -> Task {
    Task { shape: shape.to_vec(), target: Target::Classes(classes) }
}

fn build_with(options: &[(&str, &str)], task: Task, seed: u64) -> Result<Built> {
    let given = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Built::build(&Options::resolve(&Built::describe(), given)?, &task, seed)
}

fn assert_near(what: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (&got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(got) - expected).abs() < tolerance, "{what}, value {i}: {got} for {expected}");
    }
}

/// The results that `crates/python/reference/mlp.py` has stored, and the examples that they belong to.
struct Reference {
    json: serde_json::Value,
    inputs: Vec<f32>,
    labels: Vec<u32>,
    order: Vec<u32>,
}

impl Reference {
    fn read() -> Self {
        let json: serde_json::Value = serde_json::from_str(include_str!("reference.json")).unwrap();
        let inputs = numbers(&json["inputs"]).iter().map(|&x| x as f32).collect();
        let labels: Vec<u32> = serde_json::from_value(json["labels"].clone()).unwrap();
        let order = (0..labels.len() as u32).collect();
        Self { json, inputs, labels, order }
    }

    fn numbers(&self, key: &str) -> Vec<f64> {
        numbers(&self.json[key])
    }

    fn examples(&self) -> Examples<'_> {
        Examples::new(Rows::Floats(&self.inputs), 12, &self.labels, &self.order)
    }

    fn model(&self) -> Built {
        let mut model = build("8,6", &[3, 4], 4, 0).unwrap();
        model.weights_mut().iter_mut().zip(self.numbers("weights")).for_each(|(w, value)| *w = value as f32);
        model
    }
}

fn numbers(json: &serde_json::Value) -> Vec<f64> {
    serde_json::from_value(json.clone()).unwrap()
}

#[test]
fn logits_and_loss_agree_with_pytorch() {
    let reference = Reference::read();
    let mut model = reference.model();
    let mut logits = [0.0; 20];
    model.predict(&reference.examples(), &mut logits).unwrap();
    assert_near("logits", &logits, &reference.numbers("logits"), 1e-5);
    let sums = model.evaluate(&reference.examples()).unwrap();
    assert!((sums.loss_sum - reference.json["loss_sum"].as_f64().unwrap()).abs() < 1e-5, "{sums:?}");
    assert_eq!(sums.examples, 5);
}

#[test]
fn the_gradient_agrees_with_pytorch() {
    let reference = Reference::read();
    let (mut model, start) = (reference.model(), reference.numbers("weights"));
    // A step at rate 1 subtracts the gradient.
    model.train_epoch(&reference.examples(), &Epoch::plain(1.0, 5)).unwrap();
    let gradient: Vec<f32> =
        model.weights().iter().zip(start).map(|(w, start)| (start - f64::from(*w)) as f32).collect();
    assert_near("gradient", &gradient, &reference.numbers("gradient"), 1e-6);
}

#[test]
fn steps_of_every_optimiser_agree_with_pytorch() {
    let reference = Reference::read();
    let steps = reference.json["steps"].as_u64().unwrap();
    for case in reference.json["trained"].as_array().unwrap() {
        let optimiser = case["optimiser"].to_string();
        let mut model = reference.model();
        for epoch in 0..steps {
            let mut rules = Epoch::plain(0.1, 5);
            (rules.epoch, rules.optimiser) = (epoch, &optimiser);
            model.train_epoch(&reference.examples(), &rules).unwrap();
        }
        assert_near(&optimiser, model.weights(), &numbers(&case["weights"]), 1e-5);
    }
}

#[test]
fn gradients_are_finite_differences() {
    let reference = Reference::read();
    let mut model = reference.model();
    let start = model.weights().to_vec();
    model.train_epoch(&reference.examples(), &Epoch::plain(1.0, 5)).unwrap();
    let gradient: Vec<f32> = start.iter().zip(model.weights()).map(|(before, after)| before - after).collect();
    for (i, exact) in gradient.iter().enumerate() {
        let mut loss = |step: f32| {
            model.weights_mut().copy_from_slice(&start);
            model.weights_mut()[i] += step;
            model.evaluate(&reference.examples()).unwrap().loss_sum / 5.0
        };
        // The step is a power of two, so that the points are exact. No ReLU of this net changes its sign between them.
        let slope = (loss(1.0 / 1024.0) - loss(-1.0 / 1024.0)) * 512.0;
        assert!((slope - f64::from(*exact)).abs() < 5e-4, "weight {i}: {slope} for {exact}");
    }
}

#[test]
fn only_the_seed_and_the_shape_choose_the_first_weights() {
    let weights = |seed| build("8,6", &[12], 4, seed).unwrap().weights().to_vec();
    assert_eq!(weights(1), weights(1));
    assert_ne!(weights(1), weights(2));
}

#[test]
fn hidden_layers_are_named_in_the_layout() {
    let names = |hidden| -> Vec<(String, Vec<usize>)> {
        let layout = build(hidden, &[28, 28], 10, 0).unwrap().layout();
        layout.tensors.into_iter().map(|tensor| (tensor.name, tensor.shape)).collect()
    };
    assert_eq!(names("16")[2], ("dense2.weight".into(), vec![16, 10]));
    assert_eq!(names(""), [("dense1.weight".into(), vec![784, 10]), ("dense1.bias".into(), vec![10])]);
    assert_eq!(names("128,64").len(), 6);
}

#[test]
fn norms_follow_the_hidden_layers_and_may_be_local() {
    let options = [("hidden", "3"), ("norm", "batch"), ("norm-place", "local")];
    let layout = build_with(&options, classes_of(&[4], 2), 0).unwrap().layout();
    let local = |tensor: &Tensor| tensor.place == Place::Local;
    let names: Vec<&str> = layout.tensors.iter().filter(|t| local(t)).map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["norm1.weight", "norm1.bias", "norm1.running_mean", "norm1.running_var"]);
    let buffers = layout.tensors.iter().filter(|tensor| tensor.kind == Kind::Buffer);
    assert_eq!(buffers.map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), names[2..]);
    let refusal = |key, value| build_with(&[(key, value)], classes_of(&[4], 2), 0).err().unwrap().to_string();
    assert!(refusal("norm", "group").ends_with("expected none, layer or batch"));
    assert!(refusal("norm-place", "local").ends_with("set norm=layer or norm=batch"));
    assert!(refusal("dropout", "1.5").contains("but got 1.5"));
}

#[test]
fn impossible_widths_are_refused_in_one_sentence() {
    let refusal = |hidden| build(hidden, &[28, 28], 10, 0).err().unwrap().to_string();
    assert_eq!(refusal("128,0"), "model option hidden: a layer cannot be 0 wide, only 1 to 65536");
    assert!(refusal("1000000").contains("1000000"));
    assert!(refusal("128,wide").contains("\"wide\""));
    assert!(refusal("-1").contains("\"-1\""));
}

#[test]
fn a_loss_that_is_not_finite_ends_the_epoch() {
    let reference = Reference::read();
    let mut model = reference.model();
    model.weights_mut().fill(f32::MAX);
    let error = model.train_epoch(&reference.examples(), &Epoch::plain(0.1, 2)).unwrap_err();
    assert!(error.to_string().contains("the loss became"), "{error}");
}

/// The targets of the examples of the reference.
const TARGETS: [f32; 5] = [1.5, -2.0, 0.25, 4.0, -0.5];

/// Returns the examples of the reference with real targets.
fn real(reference: &Reference) -> Examples<'_> {
    Examples::new(Rows::Floats(&reference.inputs), 12, &TARGETS, &reference.order)
}

fn regression() -> Built {
    build_with(&[("hidden", "8,6")], Task { shape: vec![12], target: Target::Real }, 3).unwrap()
}

#[test]
fn gradients_of_a_real_target_are_finite_differences() {
    let reference = Reference::read();
    let mut model = regression();
    let start = model.weights().to_vec();
    model.train_epoch(&real(&reference), &Epoch::plain(1.0, 5)).unwrap();
    let gradient: Vec<f32> = start.iter().zip(model.weights()).map(|(before, after)| before - after).collect();
    assert!(gradient.iter().any(|value| value.abs() > 0.1), "{gradient:?}");
    for (i, exact) in gradient.iter().enumerate() {
        let mut loss = |step: f32| {
            model.weights_mut().copy_from_slice(&start);
            model.weights_mut()[i] += step;
            model.evaluate(&real(&reference)).unwrap().loss_sum / 5.0
        };
        let slope = (loss(1.0 / 1024.0) - loss(-1.0 / 1024.0)) * 512.0;
        assert!((slope - f64::from(*exact)).abs() < 1e-3 * (1.0 + slope.abs()), "weight {i}: {slope} for {exact}");
    }
}
