//! Identities of the strategies as properties of federations of quadratics, of aggregators and of transforms.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that cannot continue has failed")]

mod aggregators;
mod federation;
mod transforms;

use fedpipe_strategy::sampler::Draw;
use proptest::prelude::*;

use crate::federation::{Client, Federation, SIZE, clients, distance, mean, norm, with_steps};

proptest! {
    #[test]
    fn a_term_or_a_server_without_effect_has_the_bits_of_fedavg(all in clients(6, 1..=6)) {
        let expected = Federation::new("fedavg", &all).rounds(3);
        for strategy in ["fedprox:mu=0", "fedavgm:rate=1,beta=0", "fedavgm:rate=1,beta=0,nesterov=true"] {
            prop_assert_eq!(&Federation::new(strategy, &all).rounds(3), &expected, "{}", strategy);
        }
    }

    /// Each client has the weights of a federation that it is alone in, and the global weights stay as they are.
    #[test]
    fn a_client_that_trains_alone_is_a_federation_of_one(all in clients(6, 1..=6), rounds in 1..5_usize) {
        let mut local = Federation::new("local", &all);
        let (everyone, initial) = (Vec::from_iter(0..all.len() as u32), local.weights.clone());
        (0..rounds).for_each(|_| drop(local.round(&everyone)));
        for (number, client) in (0..).zip(&all) {
            let expected = Federation::new("fedavg", std::slice::from_ref(client)).rounds(rounds);
            let own = local.states[&number].vector("own").unwrap();
            prop_assert_eq!(own.as_slice(), expected.as_slice(), "client {}", number);
        }
        prop_assert_eq!(local.weights, initial);
    }

    #[test]
    fn one_local_step_of_fedprox_is_that_of_fedavg(all in clients(6, 1..=1), mu in 0.0..50.0_f32) {
        let expected = Federation::new("fedavg", &all).rounds(1);
        let proximal = Federation::new(&format!("fedprox:mu={mu}"), &all).rounds(1);
        prop_assert!(distance(&proximal, &expected) <= 1e-6);
    }

    #[test]
    fn the_first_round_of_scaffold_has_the_bits_of_the_equal_mean(all in clients(6, 1..=6)) {
        let expected = Federation::weighted("fedavg", "equal", &all).rounds(1);
        prop_assert_eq!(Federation::new("scaffold", &all).rounds(1), expected);
    }

    #[test]
    fn fednova_with_equal_accumulations_is_fedavg(all in clients(6, 1..=6), steps in 1..8_u64) {
        let all = with_steps(&all, steps);
        let [nova, average] = ["fednova", "fedavg"].map(|strategy| Federation::new(strategy, &all).rounds(3));
        prop_assert!(distance(&nova, &average) <= 1e-6);
    }

    /// w⁺ = w + 2 · mean(w_k − w) in the first round, and h = (1/N) Σ g_k after each round.
    #[test]
    fn feddyn_doubles_its_first_mean_change_and_has_the_mean_gradient(
        all in clients(6, 1..=6),
        alpha in 0.05..2.0_f64,
    ) {
        let mut federation = Federation::new(&format!("feddyn:alpha={alpha}"), &all);
        let everyone = Vec::from_iter(0..all.len() as u32);
        let start = federation.weights.clone();
        let trained = federation.round(&everyone);
        let centre = mean(&trained, &vec![1.0; all.len()]);
        let doubled: Vec<f32> = start.iter().zip(&centre).map(|(w, m)| w + 2.0 * (m - w)).collect();
        prop_assert!(distance(&federation.weights, &doubled) <= 1e-5);
        for round in 1..6 {
            let gradients: Vec<Vec<f32>> =
                federation.states.values().map(|state| state.vector("g").unwrap().to_vec()).collect();
            let expected = mean(&gradients, &vec![1.0; gradients.len()]);
            let h = federation.server.vector("h").unwrap();
            prop_assert!(distance(h, &expected) <= 1e-5, "round {}", round);
            federation.round(&everyone);
        }
    }

    #[test]
    fn the_weighting_decides_the_mean(all in clients(6, 1..=6)) {
        type Weight = fn(&Client) -> f64;
        let rules: [(&str, Weight); 3] =
            [("examples", |client| client.examples as f64), ("steps", |client| client.steps as f64), ("equal", |_| 1.0)];
        for (weighting, weight) in rules {
            let mut federation = Federation::weighted("fedavg", weighting, &all);
            let trained = federation.round(&Vec::from_iter(0..all.len() as u32));
            let coefficients: Vec<f64> = all.iter().map(weight).collect();
            prop_assert_eq!(&federation.weights, &mean(&trained, &coefficients), "{}", weighting);
        }
    }

    /// FedExP with identical changes has the bits of FedAvg, and its step is never shorter than the mean change.
    #[test]
    fn fedexp_extrapolates(all in clients(6, 1..=6)) {
        let same = vec![Client { examples: 1, ..all[0].clone() }; 4];
        prop_assert_eq!(Federation::new("fedexp", &same).rounds(2), Federation::new("fedavg", &same).rounds(2));
        let [step, mean] = [Federation::new("fedexp", &all), Federation::weighted("fedavg", "equal", &all)]
            .map(|federation| norm(&federation.rounds(1).iter().map(|w| w - 0.25).collect::<Vec<_>>()));
        prop_assert!(step >= mean * (1.0 - 1e-6), "{} < {}", step, mean);
    }
}

/// c + c-rest = (1/N) Σ c_k over all N clients, also those that were never sampled, whose c_k is 0. The rounding of c
/// to f32 alone is greater than the error which the test allows.
#[test]
fn the_variate_of_the_server_is_the_mean_of_all_clients_with_10_of_100_sampled() {
    let client = |number: u64| {
        let value = |index: u64, period: u64| ((7 * number + 3 * index) % period) as f32 / period as f32;
        let a = (0..SIZE as u64).map(|index| 0.5 + 2.0 * value(index, 11)).collect();
        let b = (0..SIZE as u64).map(|index| 2.0 * value(index, 13) - 1.0).collect();
        Client { a, b, examples: 1 + number, steps: 1 + number % 7, momentum: 0.0 }
    };
    let all = Vec::from_iter((0..100).map(client));
    let mut federation = Federation::new("scaffold", &all);
    for round in 1..=60 {
        let sampled = federation.strategy.sampler.draw(&Draw { seed: 1, round, count: 10, sizes: &[1; 100] });
        federation.round(&sampled);
        let [c, rest] = ["c", "c-rest"].map(|slot| federation.server.vector(slot).unwrap());
        let greatest = c.iter().fold(0.0_f32, |most, c| most.max(c.abs()));
        for (index, (c, rest)) in c.iter().zip(rest.iter()).enumerate() {
            let sum: f64 = federation.states.values().map(|state| f64::from(state.vector("c").unwrap()[index])).sum();
            let error = (f64::from(*c) + f64::from(*rest) - sum / 100.0).abs();
            assert!(error <= 1e-10 * f64::from(greatest), "round {round}, weight {index}: {error:e} of {greatest}");
        }
    }
}

/// The optimum is Σ a b / Σ a = 0.75. With K in the place of ‖a‖₁, which is 3 to 5 times K here, the variates diverge.
#[test]
fn scaffold_with_local_momentum_reaches_the_optimum() {
    let client =
        |a: f32, b: f32, steps| Client { a: vec![a; SIZE], b: vec![b; SIZE], examples: 1, steps, momentum: 0.9 };
    let all = [client(0.2, 0.0, 6), client(0.6, 1.0, 12)];
    let weights = Federation::new("scaffold", &all).rounds(60);
    assert!(distance(&weights, &[0.75; SIZE]) < 1e-5, "{weights:?}");
}
