//! No attack: every client is honest.

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{Attack, Attacked, own};
use crate::vector_math::Math;

pub(super) const ROW: TableRow<dyn Attack> = TableRow {
    name: "none",
    summary: "every client is honest",
    parameters: &[],
    source: "McMahan 2017, Algorithm 1",
    build: |_| Arc::new(NoAttack),
};

#[derive(Debug)]
struct NoAttack;

impl Attack for NoAttack {
    fn fraction(&self) -> f64 {
        0.0
    }

    fn alters_updates(&self) -> bool {
        false
    }

    fn weights(&self, round: &Attacked<'_>, _: &dyn Math) -> Vec<Vec<f32>> {
        own(round)
    }
}
