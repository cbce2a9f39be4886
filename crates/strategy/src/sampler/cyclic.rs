//! Cyclic sampling: the clients take turns in ascending order (Cho 2023, Algorithm 1, with one block a round).

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{Draw, Sampler};

pub(super) const ROW: TableRow<dyn Sampler> = TableRow {
    name: "cyclic",
    summary: "blocks of clients take turns in ascending order; after the last client comes the first",
    parameters: &[],
    source: "Cho 2023, Algorithm 1",
    build: |_| Arc::new(Cyclic),
};

#[derive(Debug)]
struct Cyclic;

impl Sampler for Cyclic {
    fn draw(&self, draw: &Draw<'_>) -> Vec<u32> {
        let (all, count) = (draw.sizes.len() as u64, u64::from(draw.count));
        let first = (draw.round - 1) % all * count % all;
        let mut drawn: Vec<u32> = (0..count).map(|place| ((first + place) % all) as u32).collect();
        drawn.sort_unstable();
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_turn() {
        let draw = |round, count| Cyclic.draw(&Draw { seed: 1, round, count, sizes: &[1; 5] });
        assert_eq!([1, 2, 3, 4, 5].map(|round| draw(round, 2)), [[0, 1], [2, 3], [0, 4], [1, 2], [3, 4]]);
        assert_eq!((draw(6, 2), draw(1, 5)), (draw(1, 2), vec![0, 1, 2, 3, 4]));
        let mut late = draw(u64::MAX, 2);
        late.dedup();
        assert_eq!(late.len(), 2);
    }
}
