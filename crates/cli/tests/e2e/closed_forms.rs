//! Federations of the fixture `quadratic`, which reach fixed points that are known in closed form.
//!
//! Two clients hold as many examples each, one with a = 1 and b = 0, the other with a = 3 and b = 1. Local steps are
//! full batch at η = 0.1. The tests of the fixture have the formulas of more algorithms.

use crate::{
    common::{Place, Run},
    idx,
};

/// Runs `quadratic` with one local step an epoch, until the weights no longer change.
fn run(place: &Place, arguments: &str) -> Run {
    idx::write_rows(&place.path("pairs"), &[[1, 0], [3, 1]]);
    let fixed = "--data ./pairs --clients 2 --partition shards:per-client=1 --batch-size 4 --lr 0.1";
    place.run(&format!("quadratic {fixed} {arguments}"))
}

/// Returns the parameter, the sum of the three weights.
fn parameter(run: &Run) -> f64 {
    let file = run.read("model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let parts = tensors.tensor("w").unwrap().data().to_vec();
    parts.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).sum()
}

#[test]
fn fedavg_reaches_its_fixed_point_and_not_the_optimum() {
    let place = Place::new();
    let reached = parameter(&run(&place, "--epochs 5 --rounds 60 --model-option start=-7.3"));
    // Σ p(1 − r)b / Σ p(1 − r) with r = (1 − ηa)⁵
    assert!((reached - 0.670_133_071_272_071_2).abs() < 1e-12, "{reached}");
    // With one step a round both clients' gradients are taken at the same weights.
    let reached = parameter(&run(&place, "--epochs 1 --rounds 200 --out one-step"));
    assert!((reached - 0.75).abs() < 1e-12, "{reached}");
}
