//! NaN in the place of every weight. A host rejects such an update, and counts the client as absent.

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{Attack, Attacked, FRACTION, shared};
use crate::vector_math::Math;

pub(super) const ROW: TableRow<dyn Attack> = TableRow {
    name: "nan",
    summary: "NaN in the place of each weight; the update is rejected, and the client counts as absent",
    parameters: &[FRACTION],
    source: "Blanchard 2017, section 2",
    build: |values| Arc::new(Nan { fraction: values.number("fraction") }),
};

#[derive(Debug)]
struct Nan {
    fraction: f64,
}

impl Attack for Nan {
    fn fraction(&self) -> f64 {
        self.fraction
    }

    fn is_rejected(&self) -> bool {
        true
    }

    fn weights(&self, round: &Attacked<'_>, _: &dyn Math) -> Vec<Vec<f32>> {
        shared(round, Some(vec![f32::NAN; round.received.len()]))
    }
}
