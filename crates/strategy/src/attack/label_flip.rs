//! Label flipping (Biggio 2012): the client trains on the label C − 1 − y in the place of y, with C classes.
//!
//! The client flips the labels of the training rows of a request. The held-out rows and the test set keep theirs.

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{Attack, Attacked, FRACTION, own};
use crate::vector_math::Math;

pub(super) const ROW: TableRow<dyn Attack> = TableRow {
    name: "label-flip",
    summary: "the client trains on the label C − 1 − y in the place of y",
    parameters: &[FRACTION],
    source: "Biggio 2012; Tolpegin 2020",
    build: |values| Arc::new(LabelFlip { fraction: values.number("fraction") }),
};

#[derive(Debug)]
struct LabelFlip {
    fraction: f64,
}

impl Attack for LabelFlip {
    fn fraction(&self) -> f64 {
        self.fraction
    }

    fn flips_labels(&self) -> bool {
        true
    }

    fn alters_updates(&self) -> bool {
        false
    }

    fn weights(&self, round: &Attacked<'_>, _: &dyn Math) -> Vec<Vec<f32>> {
        own(round)
    }
}
