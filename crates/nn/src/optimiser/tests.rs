//! Tests of the local optimisers: formulas, state, frozen ranges, refusals.

use super::*;

fn begun(json: &str, weight_count: usize) -> Optimiser {
    let mut optimiser = Optimiser::new().unwrap();
    optimiser.begin(json, weight_count, 0).unwrap();
    optimiser
}

fn refusal(json: &str) -> String {
    Optimiser::new().unwrap().begin(json, 1, 0).unwrap_err().to_string()
}

#[test]
fn an_unknown_name_or_key_is_refused_with_the_known_ones() {
    for (json, words) in [
        (r#"{"name":"lion"}"#, ["`lion`", "`sgd`", "`adam`"]),
        (r#"{"name":"sgd","beta1":0.9}"#, ["`beta1`", "`momentum`", "`weight_decay`"]),
        (r#"{"name":"adam","momentum":0.9}"#, ["`momentum`", "`beta1`", "`epsilon`"]),
        (r#"{"name":"adamw","nesterov":true}"#, ["`nesterov`", "`beta1`", "`weight_decay`"]),
        (r#"{"name":"adamw","beta2":1}"#, ["beta2", "1", "out of range"]),
        (r#"{"name":"sgd","momentum":1.0}"#, ["momentum", "1", "out of range"]),
        (r#"{"name":"adam","epsilon":0}"#, ["epsilon", "0", "out of range"]),
        (r#"{"name":"sgd","weight_decay":-1}"#, ["weight_decay", "-1", "out of range"]),
        ("sgd", ["local optimiser sgd", "expected", "value"]),
    ] {
        let error = refusal(json);
        assert!(words.iter().all(|word| error.contains(word)), "{json}: {error}");
    }
}

#[test]
fn a_step_follows_its_formula() {
    for (json, expected) in [
        (r#"{"name":"sgd"}"#, 1.0 - 0.1 * 0.5 - 0.1 * 0.5),
        (r#"{"name":"sgd","momentum":0.5}"#, 1.0 - 0.1 * 0.5 - 0.1 * 0.75),
        (r#"{"name":"sgd","momentum":0.5,"nesterov":true}"#, 1.0 - 0.1 * 0.75 - 0.1 * 0.875),
        (r#"{"name":"sgd","momentum":0,"nesterov":true}"#, 1.0 - 0.1 * 0.5 - 0.1 * 0.5),
        (r#"{"name":"sgd","weight_decay":1.0}"#, 0.85 - 0.1 * (0.5 + 0.85)),
        // With the bias corrections, a constant gradient moves by the learning rate.
        (r#"{"name":"adam"}"#, 1.0 - 0.1 - 0.1),
        (r#"{"name":"adamw"}"#, (1.0 * 0.999 - 0.1) * 0.999 - 0.1),
        (r#"{"name":"adamw","weight_decay":1}"#, (1.0 * 0.9 - 0.1) * 0.9 - 0.1),
        (r#"{"name":"adamw","weight_decay":0}"#, 1.0 - 0.1 - 0.1),
    ] {
        let mut optimiser = begun(json, 1);
        let mut weights = [1.0];
        optimiser.step(&mut weights, &[0.5], 0.1, &[]);
        optimiser.step(&mut weights, &[0.5], 0.1, &[]);
        assert!((weights[0] - expected).abs() < 1e-6, "{json}: {} for {expected}", weights[0]);
    }
}

#[test]
fn a_first_moment_without_gradients_becomes_zero() {
    let mut optimiser = begun(r#"{"name":"adam"}"#, 1);
    let mut weights = [1.0];
    optimiser.step(&mut weights, &[0.5], 0.1, &[]);
    let mut smallest = optimiser.first[0];
    for _ in 0..1000 {
        optimiser.step(&mut weights, &[0.0], 0.1, &[]);
        smallest = if optimiser.first[0] > 0.0 { optimiser.first[0] } else { smallest };
    }
    assert_eq!(optimiser.first[0], 0.0);
    // No value that is normal became zero: 0.9 times the smallest one is not normal.
    assert!((f32::MIN_POSITIVE..1.2 * f32::MIN_POSITIVE).contains(&smallest), "{smallest}");
}

#[test]
fn accumulation_is_the_closed_form() {
    let (rate, steps) = (0.1, 7);
    let after = |json| {
        let mut optimiser = begun(json, 1);
        (0..steps).for_each(|_| optimiser.step(&mut [0.0], &[1.0], rate, &[]));
        optimiser
    };
    let power = |base: f64| (0..steps).fold(1.0, |product, _| product * base);
    let (plain, heavy) = (after(r#"{"name":"sgd"}"#), after(r#"{"name":"sgd","momentum":0.5}"#));
    assert_eq!(plain.accumulation(rate, 0.0), 7.0);
    let momentum = (7.0 - 0.5 * (1.0 - power(0.5)) / 0.5) / 0.5;
    assert!((heavy.accumulation(rate, 0.0) - momentum).abs() < 1e-12);
    // Σ 1 + ρ v_t = K + ρ · the sum of v.
    let nesterov = after(r#"{"name":"sgd","momentum":0.5,"nesterov":true}"#);
    assert!((nesterov.accumulation(rate, 0.0) - (7.0 + 0.5 * momentum)).abs() < 1e-12);
    let pull = f64::from(rate) * 0.5;
    assert!((plain.accumulation(rate, 0.5) - (1.0 - power(1.0 - pull)) / pull).abs() < 1e-12);
    // A momentum of 0 keeps nothing, so that no gradient of an earlier round is in it.
    assert_eq!(after(r#"{"name":"sgd","keep":true,"weight_decay":0.1}"#).accumulation(rate, 0.0), 7.0);
    let others = [r#"{"name":"adam"}"#, r#"{"name":"adamw"}"#].map(after);
    assert!(others.iter().all(|optimiser| optimiser.accumulation(rate, 0.0).is_nan()));
}

/// The recurrence of [`Optimiser::accumulation`] is compared with the steps themselves, for momentum and proximal term
/// together: there is no closed form.
#[test]
fn accumulation_is_the_solver_on_a_constant_gradient() {
    let pairs = [(0.0_f32, 0.0_f32), (0.5, 0.0), (0.0, 2.0), (0.5, 2.0)];
    for ((momentum, proximal), nesterov) in pairs.iter().flat_map(|pair| [false, true].map(|nesterov| (pair, nesterov)))
    {
        let mut optimiser = begun(&format!(r#"{{"name":"sgd","momentum":{momentum},"nesterov":{nesterov}}}"#), 1);
        let (mut weights, rate) = ([0.0], 0.125);
        for _ in 0..9 {
            let pull = proximal * weights[0];
            optimiser.step(&mut weights, &[1.0 + pull], rate, &[]);
        }
        let (sum, solver) = (optimiser.accumulation(rate, *proximal), f64::from(-weights[0] / rate));
        assert!((sum - solver).abs() < 1e-5, "momentum {momentum}, {nesterov}, μ {proximal}: {sum} for {solver}");
    }
}

#[test]
fn each_round_resets_the_state_and_its_epochs_share_it() {
    let json = r#"{"name":"sgd","momentum":0.5}"#;
    let mut optimiser = Optimiser::new().unwrap();
    for (epoch, velocity, accumulation) in [(0, 1.0, 1.0), (1, 1.5, 2.5), (0, 1.0, 1.0)] {
        optimiser.begin(json, 1, epoch).unwrap();
        optimiser.step(&mut [0.0], &[1.0], 0.1, &[]);
        assert_eq!((optimiser.first[0], optimiser.accumulation(0.1, 0.0)), (velocity, accumulation));
    }
}

/// Two rounds of one epoch are then one round of two.
#[test]
fn a_momentum_that_is_kept_begins_the_next_round() {
    let json = r#"{"name":"sgd","momentum":0.5,"keep":true}"#;
    let mut optimiser = Optimiser::new().unwrap();
    let mut moved = |momentum: &[f32]| {
        optimiser.set_momentum(momentum);
        optimiser.begin(json, 1, 0).unwrap();
        let mut weights = [0.0];
        optimiser.step(&mut weights, &[1.0], 0.5, &[]);
        (weights[0], optimiser.momentum().to_vec(), optimiser.accumulation(0.5, 0.0).is_nan())
    };
    assert_eq!(moved(&[0.0]), (-0.5, vec![1.0], true));
    assert_eq!(moved(&[1.0]), (-0.75, vec![1.5], true));
    // Another client has none yet, and a momentum of another model is not used.
    assert_eq!([moved(&[0.0]), moved(&[1.0, 2.0])], [(-0.5, vec![1.0], true), (-0.5, vec![1.0], true)]);
}

#[test]
fn an_optimiser_that_changes_within_a_round_is_refused() {
    let mut optimiser = begun(r#"{"name":"adam"}"#, 2);
    optimiser.step(&mut [0.0; 2], &[1.0; 2], 0.1, &[]);
    for (json, weight_count) in [(r#"{"name":"adam"}"#, 3), (r#"{"name":"sgd"}"#, 2)] {
        let error = optimiser.begin(json, weight_count, 1).unwrap_err().to_string();
        assert!(error.contains(json) && error.contains(r#"began with {"name":"adam"} (2 values)"#), "{error}");
        optimiser.clone().begin(json, weight_count, 0).unwrap();
    }
}

/// Ranges at both ends, adjacent and empty ones, with stretches between them that are no multiple of a panel.
#[test]
fn a_frozen_range_keeps_its_bits_and_the_others_train_on() {
    const LEN: usize = 150;
    let frozen = [0..3, 3..20, 40..40, 57..101, 149..LEN];
    let is_frozen = |i: usize| frozen.iter().any(|range| range.contains(&i));
    let start: Vec<f32> = (0..LEN).map(|i| (i * 37 % 101) as f32 / 64.0 - 0.75).collect();
    for json in [
        r#"{"name":"sgd"}"#,
        r#"{"name":"sgd","momentum":0.9,"weight_decay":0.01}"#,
        r#"{"name":"sgd","weight_decay":0.1}"#,
        r#"{"name":"sgd","momentum":0.9,"nesterov":true,"weight_decay":0.01}"#,
        r#"{"name":"adam","weight_decay":0.1}"#,
        r#"{"name":"adamw","weight_decay":0.1}"#,
    ] {
        for isa in Isa::available() {
            let train = |frozen: &[Range<usize>]| {
                let (mut optimiser, mut weights) = (Optimiser::on(isa), start.clone());
                for epoch in 0..3 {
                    optimiser.begin(json, LEN, epoch).unwrap();
                    for step in 0..4 {
                        let gradient: Vec<f32> = (0..LEN).map(|i| ((i + step) % 7) as f32 / 4.0 - 0.5).collect();
                        optimiser.step(&mut weights, &gradient, 0.1, frozen);
                    }
                }
                (weights, optimiser)
            };
            let ((weights, optimiser), (free, _)) = (train(&frozen), train(&[]));
            for i in 0..LEN {
                let expected = if is_frozen(i) { start[i] } else { free[i] };
                assert_eq!(weights[i].to_bits(), expected.to_bits(), "{json} {isa:?}: weight {i}");
                assert_ne!(free[i].to_bits(), start[i].to_bits(), "{json}: weight {i} does not move by itself");
            }
            for state in [&optimiser.first, &optimiser.second] {
                assert!(state.iter().enumerate().all(|(i, value)| !is_frozen(i) || *value == 0.0), "{json} {isa:?}");
            }
        }
    }
}
