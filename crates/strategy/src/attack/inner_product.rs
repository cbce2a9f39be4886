//! Inner-product manipulation, IPM (Xie 2020, section 4): the change −ε · the mean of the honest changes.

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Attack, Attacked, FRACTION, shared};
use crate::vector_math::Math;

pub(super) const ROW: TableRow<dyn Attack> = TableRow {
    name: "ipm",
    summary: "−ε · the mean of the honest changes",
    parameters: &[
        FRACTION,
        Parameter {
            key: "epsilon",
            default: Some(Value::Number(0.5)),
            range: Range::Positive,
            help: "ε, the length of the change, relative to the honest mean",
        },
    ],
    source: "Xie 2020, section 4",
    build: |values| Arc::new(InnerProduct { fraction: values.number("fraction"), epsilon: values.number("epsilon") }),
};

#[derive(Debug)]
struct InnerProduct {
    fraction: f64,
    epsilon: f64,
}

impl Attack for InnerProduct {
    fn fraction(&self) -> f64 {
        self.fraction
    }

    fn needs_honest(&self) -> bool {
        true
    }

    fn weights(&self, round: &Attacked<'_>, math: &dyn Math) -> Vec<Vec<f32>> {
        let count = round.honest.len() as f64;
        let received = (count * (1.0 + self.epsilon), round.received);
        let honest = round.honest.iter().map(|(_, weights)| (-self.epsilon, *weights));
        let members: Vec<_> = [received].into_iter().chain(honest).collect();
        shared(round, (count > 0.0).then(|| math.combine(&members, count)))
    }
}

#[cfg(test)]
mod tests {
    use crate::attack::testing::{HONEST, attacked};

    /// The mean of the honest changes is (1, 0).
    #[test]
    fn it_is_a_share_of_the_honest_mean_turned_about() {
        assert_eq!(attacked("ipm:fraction=0.3,epsilon=1", &HONEST), [[0.0, 2.0]; 2]);
        assert_eq!(attacked("ipm:0.3", &HONEST), [[0.5, 2.0]; 2]);
        assert_eq!(attacked("ipm:0.3", &[]), [[2.0, 3.0], [0.0, 2.0]]);
    }
}
