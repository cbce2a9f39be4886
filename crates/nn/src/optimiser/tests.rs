//! Tests of the local optimisers: formulas, kept state, refusals.

use super::*;

fn begun(json: &str, weight_count: usize) -> Optimiser {
    let mut optimiser = Optimiser::new().unwrap();
    optimiser.begin(json, weight_count, 0, false).unwrap();
    optimiser
}

fn refusal(json: &str) -> String {
    Optimiser::new().unwrap().begin(json, 1, 0, false).unwrap_err().to_string()
}

#[test]
fn an_unknown_name_or_key_is_refused_with_the_known_ones() {
    for (json, words) in [
        (r#"{"name":"lion"}"#, ["`lion`", "`sgd`", "`adam`"]),
        (r#"{"name":"sgd","beta1":0.9}"#, ["`beta1`", "`momentum`", "`weight_decay`"]),
        (r#"{"name":"adam","momentum":0.9}"#, ["`momentum`", "`beta1`", "`epsilon`"]),
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
        (r#"{"name":"sgd","weight_decay":1.0}"#, 0.85 - 0.1 * (0.5 + 0.85)),
        // With the bias corrections, a constant gradient moves by the learning rate.
        (r#"{"name":"adam"}"#, 1.0 - 0.1 - 0.1),
    ] {
        let mut optimiser = begun(json, 1);
        let mut weights = [1.0];
        optimiser.step(&mut weights, &[0.5], 0.1);
        optimiser.step(&mut weights, &[0.5], 0.1);
        assert!((weights[0] - expected).abs() < 1e-6, "{json}: {} for {expected}", weights[0]);
    }
}

#[test]
fn a_first_moment_without_gradients_becomes_zero() {
    let mut optimiser = begun(r#"{"name":"adam"}"#, 1);
    let mut weights = [1.0];
    optimiser.step(&mut weights, &[0.5], 0.1);
    let mut smallest = optimiser.first[0];
    for _ in 0..1000 {
        optimiser.step(&mut weights, &[0.0], 0.1);
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
        (0..steps).for_each(|_| optimiser.step(&mut [0.0], &[1.0], rate));
        optimiser
    };
    let power = |base: f64| (0..steps).fold(1.0, |product, _| product * base);
    let (plain, heavy) = (after(r#"{"name":"sgd"}"#), after(r#"{"name":"sgd","momentum":0.5}"#));
    assert_eq!(plain.accumulation(rate, 0.0), 7.0);
    let momentum = (7.0 - 0.5 * (1.0 - power(0.5)) / 0.5) / 0.5;
    assert!((heavy.accumulation(rate, 0.0) - momentum).abs() < 1e-12);
    let pull = f64::from(rate) * 0.5;
    assert!((plain.accumulation(rate, 0.5) - (1.0 - power(1.0 - pull)) / pull).abs() < 1e-12);
    assert!(after(r#"{"name":"adam"}"#).accumulation(rate, 0.0).is_nan());
}

#[test]
fn accumulation_covers_one_round_and_a_kept_state_covers_all() {
    let mut optimiser = Optimiser::new().unwrap();
    for (epoch, steps) in [(0, 1.0), (1, 2.0), (0, 1.0)] {
        optimiser.begin(r#"{"name":"sgd"}"#, 1, epoch, true).unwrap();
        optimiser.step(&mut [0.0], &[1.0], 0.1);
        assert_eq!(optimiser.accumulation(0.1, 0.0), steps);
    }
    assert_eq!(optimiser.steps, 3);
}

#[test]
fn another_process_continues_from_a_kept_state() {
    for json in [r#"{"name":"sgd"}"#, r#"{"name":"sgd","momentum":0.9}"#, r#"{"name":"adam"}"#] {
        let round = |optimiser: &mut Optimiser, weights: &mut [f32]| {
            optimiser.begin(json, weights.len(), 0, true).unwrap();
            optimiser.step(weights, &[0.1, -0.2, 0.3], 0.1);
        };
        let (mut whole, mut weights) = (Optimiser::new().unwrap(), [1.0, 2.0, 3.0]);
        round(&mut whole, &mut weights);
        let (mut other, mut copy) = (Optimiser::new().unwrap(), weights);
        other.restore(&whole.state()).unwrap();
        round(&mut whole, &mut weights);
        round(&mut other, &mut copy);
        assert_eq!(weights, copy, "{json}");
        assert_eq!(whole.state(), other.state(), "{json}");
    }
}

#[test]
fn each_round_resets_a_state_that_is_not_kept() {
    let json = r#"{"name":"sgd","momentum":0.9}"#;
    let mut optimiser = begun(json, 1);
    optimiser.step(&mut [0.0], &[1.0], 0.1);
    assert!(optimiser.state().is_empty());
    optimiser.begin(json, 1, 0, false).unwrap();
    assert_eq!(optimiser.first[0], 0.0);
}

#[test]
fn state_that_does_not_fit_is_refused() {
    let json = r#"{"name":"adam"}"#;
    let mut optimiser = Optimiser::new().unwrap();
    optimiser.begin(json, 2, 0, true).unwrap();
    optimiser.step(&mut [0.0; 2], &[1.0; 2], 0.1);
    let state = optimiser.state();
    for torn in [&state[..3], &state[..20], &state[..state.len() - 1], &state[..state.len() - 4]] {
        assert!(optimiser.clone().restore(torn).is_err(), "{} bytes", torn.len());
    }
    assert!(optimiser.begin(json, 3, 0, true).unwrap_err().to_string().contains("state kept"));
    assert!(optimiser.begin(r#"{"name":"sgd"}"#, 2, 0, true).unwrap_err().to_string().contains("state kept"));
    // A client without a state resets it.
    optimiser.restore(&[]).unwrap();
    optimiser.begin(json, 3, 0, true).unwrap();
    assert_eq!(optimiser.first[..], [0.0; 3]);
}
