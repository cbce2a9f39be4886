//! Tests of the perceptron on burn, against the stored results of PyTorch that `mlp` is tested against.

use fedpipe_model::{Rows, Target};
use serde_json::Value;

use super::*;

const REFERENCE: &str = include_str!("../../mlp/src/reference.json");

fn build(hidden: &str, shape: &[usize], target: Target, seed: u64) -> Result<BurnMlp> {
    let options = Options::resolve(&BurnMlp::describe(), [("hidden".into(), hidden.into())].into())?;
    BurnMlp::build(&options, &Task { shape: shape.to_vec(), target }, seed)
}

/// The stored results, and the examples that they belong to.
struct Reference {
    json: Value,
    inputs: Vec<f32>,
    labels: Vec<u32>,
    order: Vec<u32>,
}

impl Reference {
    fn read() -> Self {
        let json: Value = serde_json::from_str(REFERENCE).unwrap();
        let inputs = numbers(&json["inputs"]).iter().map(|&x| x as f32).collect();
        let labels: Vec<u32> = serde_json::from_value(json["labels"].clone()).unwrap();
        let order = (0..labels.len() as u32).collect();
        Self { json, inputs, labels, order }
    }

    fn examples(&self) -> Examples<'_> {
        Examples::new(Rows::Floats(&self.inputs), 12, &self.labels, &self.order)
    }

    fn model(&self) -> BurnMlp {
        let mut model = build("8,6", &[3, 4], Target::Classes(4), 0).unwrap();
        model.weights_mut().iter_mut().zip(numbers(&self.json["weights"])).for_each(|(w, value)| *w = value as f32);
        model
    }
}

fn numbers(json: &Value) -> Vec<f64> {
    serde_json::from_value(json.clone()).unwrap()
}

fn assert_near(subject: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{subject}");
    for (i, (&got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(got) - expected).abs() < tolerance, "{subject}, value {i}: {got} for {expected}");
    }
}

#[test]
fn logits_and_loss_agree_with_pytorch() {
    let reference = Reference::read();
    let mut model = reference.model();
    let mut logits = [0.0; 20];
    model.predict(&reference.examples(), &mut logits).unwrap();
    assert_near("logits", &logits, &numbers(&reference.json["logits"]), 1e-5);
    let sums = model.evaluate(&reference.examples()).unwrap();
    assert!((sums.loss_sum - reference.json["loss_sum"].as_f64().unwrap()).abs() < 1e-5, "{sums:?}");
    assert_eq!(sums.examples, 5);
}

#[test]
fn steps_of_every_optimiser_agree_with_pytorch() {
    let reference = Reference::read();
    let steps = reference.json["steps"].as_u64().unwrap();
    for case in reference.json["trained"].as_array().unwrap() {
        let optimiser = case["optimiser"].to_string();
        let mut model = reference.model();
        for epoch in 0..steps {
            let rules = Epoch { epoch, optimiser: &optimiser, ..Epoch::plain(0.1, 5) };
            model.train_epoch(&reference.examples(), &rules).unwrap();
        }
        assert_near(&optimiser, model.weights(), &numbers(&case["weights"]), 1e-5);
    }
}

/// A proximal term at its own anchor and a linear term have the step that their formulas have.
#[test]
fn client_terms_and_frozen_tensors_reach_the_step() {
    let reference = Reference::read();
    let trained = |rules: Epoch<'_>| {
        let mut model = reference.model();
        model.train_epoch(&reference.examples(), &rules).unwrap();
        model.weights
    };
    let (start, plain) = (reference.model().weights, trained(Epoch::plain(0.5, 5)));
    let (linear, anchor) = (vec![0.25; start.len()], vec![0.0; start.len()]);
    let rules = Epoch { linear: &linear, proximal: 2.0, anchor: &anchor, ..Epoch::plain(0.5, 5) };
    let expected: Vec<f64> =
        plain.iter().zip(&start).map(|(w, s)| f64::from(*w) - 0.5 * (0.25 + 2.0 * f64::from(*s))).collect();
    assert_near("terms", &trained(rules), &expected, 1e-6);
    // The bias of the first layer alone, under a decay that would move it.
    let (frozen, optimiser) = ([96..104], r#"{"name":"sgd","momentum":0.5,"weight_decay":0.1}"#);
    let weights = trained(Epoch { frozen: &frozen, optimiser, ..Epoch::plain(0.5, 2) });
    assert_eq!(weights[96..104], start[96..104]);
    assert!(weights[..96] != start[..96] && weights[104..] != start[104..]);
}

#[test]
fn the_initial_weights_are_those_of_the_formula() {
    let model = build("3", &[2], Target::Classes(2), 0).unwrap();
    // The values of `fedpipe_nn::he_normal` for 2 inputs, seed 0 and tensor 0.
    assert_eq!(model.weights[..4], [1.401_011_8, 0.924_325_47, 1.850_257_5, -0.333_848_1]);
    assert_eq!(model.weights[6..9], [0.0; 3]);
    assert_eq!(model.weights.len(), model.layout().weight_count());
}

#[test]
fn impossible_values_are_refused_in_one_sentence() {
    let refusal = |hidden, target| build(hidden, &[2], target, 0).err().unwrap().to_string();
    assert_eq!(refusal("3,0", Target::Classes(2)), "model option hidden: a layer cannot be 0 wide; take 1 or more");
    assert!(refusal("3", Target::Real).contains("classes"), "{}", refusal("3", Target::Real));
    let mut model = build("3", &[2], Target::Classes(2), 0).unwrap();
    let examples = Examples::new(Rows::Floats(&[0.5, 1.0]), 2, &[1_u32], &[0]);
    let rules = Epoch { optimiser: r#"{"name":"own"}"#, ..Epoch::plain(0.1, 1) };
    let error = model.train_epoch(&examples, &rules).unwrap_err().to_string();
    assert!(error.starts_with("local optimiser {\"name\":\"own\"}: unknown variant"), "{error}");
    model.weights_mut().fill(f32::MAX);
    let error = model.train_epoch(&examples, &Epoch::plain(0.1, 1)).unwrap_err().to_string();
    assert!(error.contains("the loss became"), "{error}");
}
