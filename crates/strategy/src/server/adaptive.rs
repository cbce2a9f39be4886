//! The step that the adaptive servers share (Reddi 2021, Algorithm 2). Their rows differ in the second moment.
//!
//! m ← β₁m + (1 − β₁)Δ; v ← the rule's second moment; w ← w + η m / (√v + τ). τ is outside the root. With a bias
//! correction, η of step t is η √(1 − β₂ᵗ) / (1 − β₁ᵗ), with t from 1, as in Keras and TensorFlow Federated. τ is not
//! corrected.

use std::{borrow::Cow, sync::Arc};

use fedpipe_spec::table::{Parameter, Range, Value, Values};

use super::{ServerOptimiser, ServerRound, moment};
use crate::slots::{Slot, Slots};

pub(super) const RATE: Parameter =
    Parameter {
        key: "rate", default: Some(Value::Number(0.01)), range: Range::Positive, help: "η, the server's rate"
    };
pub(super) const BETA1: Parameter = Parameter {
    key: "beta1",
    default: Some(Value::Number(0.9)),
    range: Range::Decay,
    help: "β₁, the decay of the first moment",
};
pub(super) const BETA2: Parameter = Parameter {
    key: "beta2",
    default: Some(Value::Number(0.99)),
    range: Range::Decay,
    help: "β₂, the decay of the second moment",
};
pub(super) const TAU: Parameter = Parameter {
    key: "tau",
    default: Some(Value::Number(1e-3)),
    range: Range::Positive,
    help: "τ, the adaptivity, added to √v",
};
pub(super) const INITIAL: Parameter = Parameter {
    key: "v0",
    default: Some(Value::Text(Cow::Borrowed("tau^2"))),
    range: Range::NumberOr {
        number: &Range::NotNegative,
        word: "tau^2",
        wants: "a number of at least 0, or tau^2 for that of tau",
    },
    help: "the second moment before the first round; 0 in TensorFlow Federated",
};
pub(super) const CORRECTION: Parameter = Parameter {
    key: "bias-correction",
    default: Some(Value::Flag(false)),
    range: Range::Flag,
    help: "true multiplies η of step t by √(1 − β₂ᵗ)/(1 − β₁ᵗ), as TensorFlow Federated does",
};

/// The slots of a rule: m, v and, with a bias correction, the number of steps.
pub(super) type Names = &'static [&'static str];

/// Returns the second moment after a round from β₂, the moment before and Δ.
pub(super) type SecondMoment = fn(f64, f64, f64) -> f64;

#[derive(Debug)]
pub(super) struct Adaptive {
    pub(super) names: Names,
    pub(super) second: SecondMoment,
    pub(super) rate: f64,
    pub(super) beta1: f64,
    pub(super) beta2: f64,
    pub(super) tau: f64,
    /// The second moment before the first round; τ² if there is none.
    pub(super) initial: Option<f64>,
    pub(super) corrects_bias: bool,
}

impl Adaptive {
    /// Returns the rule with the values of a row that has β₂ and a bias correction.
    pub(super) fn of(values: &Values, names: Names, second: SecondMoment) -> Arc<dyn ServerOptimiser> {
        let [rate, beta1, beta2, tau] = ["rate", "beta1", "beta2", "tau"].map(|key| values.number(key));
        let (initial, corrects_bias) = (values.number_or_word("v0"), values.flag("bias-correction"));
        Arc::new(Self { names, second, rate, beta1, beta2, tau, initial, corrects_bias })
    }

    /// Returns η of the next step, and counts the step.
    fn next_rate(&self, slots: &mut Slots) -> f64 {
        if !self.corrects_bias {
            return self.rate;
        }
        let held: Option<[u8; 8]> = slots.bytes(self.names[2]).try_into().ok();
        let step = held.map_or(0, u64::from_le_bytes) + 1;
        slots.set(self.names[2], Slot::Bytes(Arc::new(step.to_le_bytes().to_vec())));
        let left = |beta| 1.0 - libm::pow(beta, step as f64);
        self.rate * left(self.beta2).sqrt() / left(self.beta1)
    }
}

impl ServerOptimiser for Adaptive {
    fn slots(&self) -> &'static [&'static str] {
        self.names
    }

    fn step(&self, slots: &mut Slots, round: &ServerRound<'_>) -> Vec<f32> {
        let Self { names, second: second_of, beta1, beta2, tau, .. } = *self;
        let (m_name, v_name) = (names[0], names[1]);
        let ServerRound { weights, aggregate, .. } = *round;
        let rate = self.next_rate(slots);
        let initial = self.initial.unwrap_or(tau * tau) as f32;
        let first = moment(slots, m_name, weights.len(), 0.0);
        let second = moment(slots, v_name, weights.len(), initial);
        let (mut m, mut v) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
        let moments = first.iter().zip(&mut m).zip(second.iter().zip(&mut v));
        let moved = weights.iter().zip(aggregate).zip(moments).map(|((&w, &to), ((&first, m), (&second, v)))| {
            let delta = f64::from(to) - f64::from(w);
            *m = (beta1 * f64::from(first) + (1.0 - beta1) * delta) as f32;
            *v = second_of(beta2, f64::from(second), delta) as f32;
            (f64::from(w) + rate * f64::from(*m) / (f64::from(*v).sqrt() + tau)) as f32
        });
        let moved = moved.collect();
        slots.set_vector(m_name, m);
        slots.set_vector(v_name, v);
        moved
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::server::testing::{close, round};

    /// Returns the first step over η for Δ = 0.01.
    fn first_step(rule: &str) -> Vec<f32> {
        let rule: Named<dyn ServerOptimiser> = rule.parse().unwrap();
        rule.step(&mut Slots::default(), &round(&[0.0], &[0.01]))
    }

    /// `server_steps.py` computes these values in NumPy from the formulas of the paper and of TensorFlow Federated.
    #[test]
    fn the_first_steps_have_the_values_of_an_independent_computation() {
        let cases = [
            ("adam:rate=1", 0.414_821_816),
            ("yogi:rate=1", 0.414_213_562),
            ("adagrad:rate=1", 0.904_987_562),
            ("adam:rate=1,v0=0", 0.5),
            ("yogi:rate=1,v0=0", 0.5),
            ("adam:rate=1,bias-correction=true,v0=0", 0.5),
            ("yogi:rate=1,bias-correction=true,v0=0", 0.5),
        ];
        cases.iter().for_each(|(rule, expected)| close(&first_step(rule), &[*expected]));
    }

    /// With a small τ the step does not depend on the scale of Δ.
    #[test]
    fn a_step_has_no_scale() {
        for rule in ["adam", "yogi", "adagrad"] {
            let rule: Named<dyn ServerOptimiser> = format!("{rule}:rate=1,tau=1e-12").parse().unwrap();
            let [small, large] = [0.01, 10.0].map(|to| rule.step(&mut Slots::default(), &round(&[0.0], &[to])));
            close(&small, &[f64::from(large[0])]);
        }
    }

    #[test]
    fn a_weight_that_never_changes_keeps_its_first_second_moment_or_decays_from_it() {
        for (rule, slot, expected) in [("adagrad", "adagrad-v", 1e-6), ("yogi", "yogi-v", 1e-6), ("adam", "v", 0.99e-6)]
        {
            let rule: Named<dyn ServerOptimiser> = rule.parse().unwrap();
            let mut slots = Slots::default();
            assert_eq!(rule.step(&mut slots, &round(&[0.5], &[0.5])), [0.5]);
            close(slots.vector(slot).unwrap(), &[expected]);
        }
    }
}
