//! A strategy: the rules that turn a round's aggregate into new global weights.

use fedpipe_protocol::{Kind, Layout};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use crate::{
    range::{GREATEST, first_beyond, shown},
    server::{ServerOptimiser, ServerState},
};

/// A strategy: a row of the table, with its parameters. `Display` and `FromStr` are the form that users type.
#[derive(Debug, Clone, PartialEq, SerializeDisplay, DeserializeFromStr)]
pub struct Strategy {
    /// The rule that moves the global weights.
    pub server: ServerOptimiser,
}

/// A step of the server optimiser that leaves the range of numbers. The updates are in range, so that the cause is the
/// optimiser's own parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("moved {what} {index} to {value}; give it other parameters, such as a lower rate")]
pub struct Overflow {
    what: &'static str,
    index: usize,
    value: String,
}

fn in_range(what: &'static str, values: &[f32], most: f32) -> Result<(), Overflow> {
    match first_beyond(values, most) {
        Some(index) => Err(Overflow { what, index, value: shown(values[index]) }),
        None => Ok(()),
    }
}

impl Strategy {
    /// Returns the global weights and the server's state after a round, from those before it and the `mean` of the
    /// round's updates.
    ///
    /// Tensors of kind `buffer` take the mean and do not pass through the server optimiser.
    ///
    /// # Errors
    /// Returns [`Overflow`] for a weight or a state beyond the range.
    pub fn step(
        &self,
        state: &ServerState,
        weights: &[f32],
        mean: &[f32],
        layout: &Layout,
    ) -> Result<(Vec<f32>, ServerState), Overflow> {
        let (mut moved, state) = self.server.step(state, weights, mean);
        for (tensor, range) in layout.ranges() {
            if tensor.kind == Kind::Buffer {
                moved[range.clone()].copy_from_slice(&mean[range]);
            }
        }
        if self.server != ServerOptimiser::Mean {
            in_range("weight", &moved, GREATEST)?;
            in_range("the first moment of weight", &state.m, f32::MAX)?;
            in_range("the second moment of weight", &state.v, f32::MAX)?;
        }
        Ok((moved, state))
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::{Place, Tensor};

    use super::*;
    use crate::{range::GREATEST_OF_A_CLIENT, vectors::written_weights};

    fn step(strategy: &str, weights: &[f32], update: &[f32]) -> Result<Vec<f32>, String> {
        let tensor = Tensor { name: "w".into(), shape: vec![update.len()], kind: Kind::Param, place: Place::Shared };
        let layout = Layout::new(vec![tensor]).unwrap();
        let strategy: Strategy = strategy.parse().unwrap();
        let moved = strategy.step(&ServerState::default(), weights, update, &layout).map(|(moved, _)| moved);
        moved.map_err(|overflow| overflow.to_string())
    }

    /// The mean of a round may be as great as any client's update, and change its sign with the momentum's own period.
    #[test]
    fn no_updates_that_are_taken_overflow_a_usual_server() {
        let tensor = Tensor { name: "w".into(), shape: vec![1], kind: Kind::Param, place: Place::Shared };
        let layout = Layout::new(vec![tensor]).unwrap();
        for strategy in ["fedavgm", "fedavgm:nesterov=true", "fedadam"] {
            let strategy: Strategy = strategy.parse().unwrap();
            for period in 1..12 {
                let (mut state, mut weights) = (ServerState::default(), vec![0.0]);
                for round in 0..300 {
                    let sign = if round / period % 2 == 0 { 1.0 } else { -1.0 };
                    let moved = strategy.step(&state, &weights, &[sign * GREATEST_OF_A_CLIENT], &layout);
                    (weights, state) =
                        moved.unwrap_or_else(|error| panic!("{strategy}, period {period}, round {round}: {error}"));
                }
            }
        }
    }

    #[test]
    fn the_servers_own_overflow_is_an_error_that_names_its_parameter() {
        let greatest = [GREATEST, -GREATEST];
        assert_eq!(step("fedavg", &[0.0; 2], &greatest).unwrap(), greatest);
        let cases = [
            ("fedadam:rate=1e30", "moved weight 1 to ", "a lower rate"),
            ("fedavgm:rate=1e30", "moved weight 1 to 1e30", "a lower rate"),
            ("fedavgm:rate=1e300", "moved weight 1 to inf", "a lower rate"),
        ];
        for (strategy, moved, remedy) in cases {
            let why = step(strategy, &[0.0; 2], &[0.0, 1.0]).unwrap_err();
            assert!(why.contains(moved) && why.contains(remedy), "{strategy}: {why}");
        }
        let why = step("fedadam:beta2=0", &greatest, &[-GREATEST, GREATEST]).unwrap_err();
        assert!(why.contains("the second moment of weight 0 to inf"), "{why}");
        let why = step("fedavgm:beta=0.9,nesterov=true", &greatest, &[-GREATEST, GREATEST]).unwrap_err();
        assert!(why.contains("moved weight 0 to -"), "{why}");
    }

    /// Two rounds from the means of the README, so that the second depends on the state.
    #[test]
    fn strategies_move_the_weights_to_those_of_the_readme_to_the_bit() {
        let tensor = Tensor { name: "w".into(), shape: vec![3], kind: Kind::Param, place: Place::Shared };
        let layout = Layout::new(vec![tensor]).unwrap();
        for text in [
            "fedavg",
            "fedavgm",
            "fedavgm:rate=0.5,beta=0.7,nesterov=true",
            "fedadam",
            "fedadam:rate=0.1,beta1=0.8,beta2=0.95,tau=0.01",
        ] {
            let strategy: Strategy = text.parse().unwrap();
            let (mut weights, mut state) = (vec![1.0, -0.5, 0.3], ServerState::default());
            for mean in ["mean of round 1", "mean of round 2"].map(written_weights) {
                (weights, state) = strategy.step(&state, &weights, &mean, &layout).unwrap();
            }
            assert_eq!(weights, written_weights(&format!("weights after `{text}`")), "{text}");
        }
    }
}
