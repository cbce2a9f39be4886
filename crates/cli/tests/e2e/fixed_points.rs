//! Federations of the fixture `quadratic`, whose fixed points are known in closed form. The file also has the
//! identities of strategies that are cheap to show from end to end.
//!
//! Two clients hold equally many examples. One has a = 1 and b = 0, the other a = 3 and b = 1, so that the optimum is
//! 0.75. Local steps are full batch; client k takes K_k of them at η. With r_k = (1 − ηa_k)^K_k and p = ½:
//!
//! | strategy | fixed point |
//! |---|---|
//! | FedAvg | Σp(1 − r)b / Σp(1 − r) |
//! | FedProx | Σp s b / Σp s with s = a/(a + μ) · (1 − (1 − η(a + μ))^K) |
//! | FedNova | Σu b / Σu with u = p(1 − r)/K |
//! | SCAFFOLD, FedDyn | the optimum |
//!
//! With momentum r_k is what K_k steps leave of the distance to b_k, and ‖a_k‖₁ takes the place of K_k in FedNova.

use fedpipe_record::checkpoint::Checkpoint;

use crate::{
    common::{Place, Run, check_all},
    idx,
};

/// The bound where each step of the host is exact in `f32`. The three parts of a weight are multiples of powers of two
/// with bits to spare. The means, FedNova's coefficients for these K and FedDyn's α = ½ are dyadic. SCAFFOLD's c has a
/// rest, so that c is the mean of the c_k, whose own roundings cancel.
const EXACT: f64 = 1e-12;

/// Runs `quadratic` for so many rounds, with `passes` local steps of the clients.
fn run(place: &Place, out: &str, passes: [u32; 2], arguments: &str) -> Run {
    idx::write_rows(&place.path("pairs"), &[[1, 0], [3, 1]]);
    let [one, two] = passes;
    // This seed gives the first shard to client 0.
    let data = "--data ./pairs --clients 2 --partition shards:per-client=1 --seed 3";
    let fixed = "--batch-size 4 --checkpoint-every 1000";
    place.run(&format!("quadratic {data} {fixed} --model-option passes={one},{two} --out {out} {arguments}"))
}

/// Returns the sum of the three parts of a parameter.
fn joined(parts: &[f32]) -> f64 {
    parts.iter().copied().map(f64::from).sum()
}

/// Returns the parameter that a run ended with.
fn parameter(run: &Run) -> f64 {
    let file = run.read("model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let parts = tensors.tensor("w").unwrap().data().to_vec();
    let parts: Vec<f32> = parts.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    joined(&parts)
}

/// Returns the newest checkpoint of a run.
fn newest(run: &Run) -> Checkpoint {
    Checkpoint::all(&run.0, &|_| Ok(())).unwrap().next().unwrap().1.unwrap()
}

fn is_near(reached: f64, expected: f64, bound: f64) -> Result<(), String> {
    let error = (reached - expected).abs();
    if error < bound { Ok(()) } else { Err(format!("{reached} for {expected}: {error:e} is above {bound:e}")) }
}

#[test]
fn every_strategy_reaches_its_fixed_point() {
    let place = Place::new();
    let cases = [
        ("fedavg", "0.1", [5, 5], 80, 0.670_133_071_272_071_2, EXACT),
        ("fedavg", "0.1", [2, 8], 80, 0.832_207_651_262_219_2, EXACT),
        ("fedprox:mu=2", "0.1", [5, 5], 80, 0.677_005_683_935_892_6, EXACT),
        ("fedprox:mu=2", "0.1", [2, 8], 80, 0.778_546_712_802_768_2, EXACT),
        ("fednova", "0.1", [5, 5], 80, 0.670_133_071_272_071_2, EXACT),
        ("fednova", "0.1", [2, 8], 80, 0.553_558_838_322_267_4, EXACT),
        ("feddyn:alpha=0.5", "0.1", [5, 5], 200, 0.75, EXACT),
        ("feddyn:alpha=0.5", "0.1", [2, 8], 300, 0.75, EXACT),
        ("scaffold", "0.125", [4, 4], 80, 0.75, EXACT),
        ("scaffold", "0.125", [2, 8], 80, 0.75, EXACT),
        ("scaffold", "0.1", [5, 5], 80, 0.75, EXACT),
        ("scaffold", "0.1", [2, 8], 80, 0.75, EXACT),
        ("scaffold --optimiser sgd:momentum=0.5", "0.125", [2, 8], 80, 0.75, EXACT),
        ("scaffold:option=I", "0.125", [2, 8], 80, 0.75, EXACT),
        ("scaffold:option=I --optimiser sgd:momentum=0.5", "0.125", [2, 8], 80, 0.75, EXACT),
    ];
    check_all(cases.iter().enumerate(), |(index, (strategy, rate, steps, rounds, expected, bound))| {
        let arguments = format!("--strategy {strategy} --lr {rate} --rounds {rounds}");
        is_near(parameter(&run(&place, &format!("case-{index}"), *steps, &arguments)), *expected, *bound)
    });
}

/// Five steps over two and a half epochs of two batches, whose gradients are the same: the fixed points of K = (5, 5).
#[test]
fn steps_and_parts_of_epochs_reach_the_fixed_point_of_as_many_steps() {
    let place = Place::new();
    let works = ["--local-steps 5", "--epochs 2.5"];
    let strategies = [
        ("fedavg", 80, 0.670_133_071_272_071_2),
        ("fedprox:mu=2", 80, 0.677_005_683_935_892_6),
        ("fednova", 80, 0.670_133_071_272_071_2),
        ("scaffold", 80, 0.75),
        ("feddyn:alpha=0.5", 200, 0.75),
    ];
    let cases = works
        .iter()
        .flat_map(|work| strategies.map(|(strategy, rounds, expected)| (*work, strategy, rounds, expected)));
    check_all(cases.enumerate(), |(index, (work, strategy, rounds, expected))| {
        idx::write_rows(&place.path("pairs"), &[[1, 0], [3, 1]]);
        let data = "--data ./pairs --clients 2 --partition shards:per-client=1 --seed 3 --batch-size 2 --lr 0.1";
        let run = place.run(&format!(
            "quadratic {data} --out work-{index} --checkpoint-every 1000 --strategy {strategy} --rounds {rounds} {work}"
        ));
        is_near(parameter(&run), *expected, EXACT)
    });
}

/// One step of SCAFFOLD moves by −η_t(2w − 1.5), and c is then the mean gradient 2w − 1.5 at the weights that the round
/// received: only if the client and the host use the rate of the round. All numbers are dyadic.
#[test]
fn a_round_has_the_learning_rate_of_its_schedule() {
    let place = Place::new();
    let run =
        run(&place, "rates", [1, 1], "--strategy scaffold --lr 0.125 --rounds 3 --lr-schedule step:every=1,factor=0.5");
    let rates: Vec<f64> = run.ledger("round").iter().map(|line| line["learning_rate"].as_f64().unwrap()).collect();
    assert_eq!(rates, [0.125, 0.0625, 0.03125]);
    let received = rates[..2].iter().fold(0.0, |w, rate| w - rate * (2.0 * w - 1.5));
    let gradient = 2.0 * received - 1.5;
    is_near(parameter(&run), received - rates[2] * gradient, EXACT).unwrap();
    is_near(joined(newest(&run).server.vector("c").unwrap()), gradient, EXACT).unwrap();
}

/// The momentum √2 − 1 at which ‖a‖₁ is 1 after one step and 4 after three, so that the coefficients of the host are
/// dyadic.
const DYADIC: f64 = std::f64::consts::SQRT_2 - 1.0;

/// Returns what so many steps with momentum leave of the distance to the minimum of ½ a x².
fn left(a: f64, momentum: f64, steps: u32) -> f64 {
    let step = |(left, velocity): (f64, f64), _| {
        let velocity = momentum * velocity + a * left;
        (left - 0.125 * velocity, velocity)
    };
    (0..steps).fold((1.0, 0.0), step).0
}

/// The changes of the clients are 1 and 4 accumulated steps. A rule that divides by K would take 1 and 3.
#[test]
fn momentum_counts_in_the_accumulated_steps() {
    let place = Place::new();
    let shares = [0.5 * (1.0 - left(1.0, DYADIC, 1)) / 1.0, 0.5 * (1.0 - left(3.0, DYADIC, 3)) / 4.0];
    let normalised = shares[1] / (shares[0] + shares[1]);
    check_all([("fednova", normalised), ("scaffold", 0.75)], |(strategy, expected)| {
        let arguments = format!("--strategy {strategy} --optimiser sgd:momentum={DYADIC} --lr 0.125 --rounds 80");
        is_near(parameter(&run(&place, strategy, [1, 3], &arguments)), *expected, EXACT)
    });
}

/// With one step a round, all gradients are taken at the same weights.
#[test]
fn one_local_step_has_the_optimum_as_its_fixed_point_from_any_start() {
    let place = Place::new();
    for (index, strategy) in ["fedavg", "fedprox:mu=2", "fednova"].iter().enumerate() {
        let arguments = format!("--strategy {strategy} --lr 0.1 --rounds 200 --model-option start=-7.3");
        is_near(parameter(&run(&place, &format!("start-{index}"), [1, 1], &arguments)), 0.75, EXACT).unwrap();
    }
}

#[test]
fn the_state_of_the_server_is_zero_at_the_fixed_point() {
    let place = Place::new();
    for (strategy, rate, rounds, slot) in [("scaffold", "0.125", 80, "c"), ("feddyn:alpha=0.5", "0.1", 300, "h")] {
        let arguments = format!("--strategy {strategy} --lr {rate} --rounds {rounds}");
        let checkpoint = newest(&run(&place, slot, [2, 8], &arguments));
        is_near(joined(checkpoint.server.vector(slot).unwrap()), 0.0, EXACT).unwrap();
    }
}

/// The first round of FedDyn is one of FedProx with μ = α, whose mean change the server doubles.
#[test]
fn the_first_round_of_feddyn_doubles_the_mean_change() {
    let place = Place::new();
    let arguments = |strategy: &str| format!("--strategy {strategy} --lr 0.1 --rounds 1 --model-option start=0.5");
    let change = |strategy: &str, out: &str| parameter(&run(&place, out, [2, 8], &arguments(strategy))) - 0.5;
    let (dynamic, proximal) = (change("feddyn:alpha=0.5", "dynamic"), change("fedprox:mu=0.5", "proximal"));
    is_near(dynamic, 2.0 * proximal, EXACT).unwrap();
    // Σp (1 − (1 − η(a + μ))^K) · (a b/(a + μ) + μ w/(a + μ) − w) from w = ½
    let way = |a: f64, b: f64, steps: i32| {
        let left = (0..steps).fold(1.0, |product, _| product * (1.0 - 0.1 * (a + 0.5)));
        (1.0 - left) * ((a * b + 0.5 * 0.5) / (a + 0.5) - 0.5)
    };
    is_near(proximal, (way(1.0, 0.0, 2) + way(3.0, 1.0, 8)) / 2.0, EXACT).unwrap();
}

/// Returns the final weights of `logreg` on the sample.
fn weights(place: &Place, index: usize, arguments: &str) -> (Vec<f32>, String) {
    let run = place.run(&format!("logreg --clients 5 --out {index} {arguments}"));
    (newest(&run).weights.to_vec(), run.weights_sha256())
}

#[test]
fn strategies_that_are_fedavg_have_its_bits() {
    let place = Place::new();
    let base = "--rounds 3 --partition dirichlet:alpha=0.3 --optimiser sgd:momentum=0.9";
    let expected = weights(&place, 0, base).1;
    for (index, strategy) in ["fedprox:mu=0", "fedavgm:rate=1,beta=0"].iter().enumerate() {
        assert_eq!(weights(&place, index + 1, &format!("{base} --strategy {strategy}")).1, expected, "{strategy}");
    }
    assert_ne!(weights(&place, 9, &format!("{base} --strategy fedprox:mu=1")).1, expected);
}

#[test]
fn strategies_that_are_fedavg_in_exact_arithmetic_are_close_to_it() {
    let place = Place::new();
    // Equal partitions, so that the equal mean is that by examples, and ‖a‖₁ is the same for all clients.
    let cases = [
        ("--batch-size 400 --rounds 3", "fedprox:mu=5"),
        ("--rounds 3", "fednova"),
        ("--rounds 3 --optimiser sgd:momentum=0.9", "fednova"),
        ("--rounds 1", "scaffold"),
    ];
    for (index, (base, strategy)) in cases.iter().enumerate() {
        let expected = weights(&place, 2 * index, base).0;
        let reached = weights(&place, 2 * index + 1, &format!("{base} --strategy {strategy}")).0;
        let greatest = expected.iter().zip(&reached).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(greatest < 1e-6, "{strategy} with {base}: {greatest:e}");
    }
}
