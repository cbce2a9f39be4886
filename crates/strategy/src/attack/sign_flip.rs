//! Sign flipping (Li 2019, RSA): the change −scale · Δ_k in the place of the client's own Δ_k.
//!
//! ByzFL's attack of this name sends −mean of the honest changes, which is `ipm:epsilon=1` here.

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Attack, Attacked, FRACTION, sum_of};
use crate::vector_math::Math;

pub(super) const ROW: TableRow<dyn Attack> = TableRow {
    name: "sign-flip",
    summary: "−scale · Δ_k in the place of the client's own change Δ_k",
    parameters: &[
        FRACTION,
        Parameter {
            key: "scale",
            default: Some(Value::Number(1.0)),
            range: Range::Positive,
            help: "the length of the change, relative to the client's own",
        },
    ],
    source: "Li 2019 (RSA), section 5",
    build: |values| Arc::new(SignFlip { fraction: values.number("fraction"), scale: values.number("scale") }),
};

#[derive(Debug)]
struct SignFlip {
    fraction: f64,
    scale: f64,
}

impl Attack for SignFlip {
    fn fraction(&self) -> f64 {
        self.fraction
    }

    fn weights(&self, round: &Attacked<'_>, math: &dyn Math) -> Vec<Vec<f32>> {
        let flipped =
            |&(_, own): &(u32, &[f32])| sum_of([(1.0 + self.scale, round.received), (-self.scale, own)], math);
        round.own.iter().map(flipped).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::attack::testing::{HONEST, attacked};

    #[test]
    fn each_change_is_turned_about() {
        assert_eq!(attacked("sign-flip:0.3", &HONEST), [[0.0, 1.0], [2.0, 2.0]]);
        assert_eq!(attacked("sign-flip:fraction=0.3,scale=3", &HONEST), [[-2.0, -1.0], [4.0, 2.0]]);
    }
}
