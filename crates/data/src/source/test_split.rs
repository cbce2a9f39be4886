//! The draw of a test set from examples that have none.

use fedpipe_random::{
    key::{Key, Use},
    order::order,
};

use crate::split::{Split, SplitTargets};

/// The part of the examples that becomes the test set, and the seed of its draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TestSplit {
    /// The part, between 0 and 1.
    pub fraction: f64,
    /// The seed of the draw: that of the partition.
    pub seed: u64,
}

impl TestSplit {
    /// Returns the rows of the training and of the test set, both ascending.
    ///
    /// All rows are visited in the order of their number under the key. The draw is stratified: each class gives its
    /// first ⌊fraction · m + ½⌋ of m rows to the test set. Real targets count as one class.
    pub(crate) fn rows(&self, whole: &Split) -> [Vec<u32>; 2] {
        let n = whole.len() as u32;
        let class_of = |row: u32| match &whole.targets {
            SplitTargets::Classes(labels) => labels[row as usize] as usize,
            SplitTargets::Real(_) => 0,
        };
        let mut left: Vec<u32> = Vec::new();
        for row in 0..n {
            let class = class_of(row);
            left.resize(left.len().max(class + 1), 0);
            left[class] += 1;
        }
        let quota = |m: u32| (self.fraction * f64::from(m) + 0.5).floor() as u32;
        left.iter_mut().for_each(|m| *m = quota(*m));
        let key = Key { seed: self.seed, purpose: Use::TestSplit, client: 0, round: 0, epoch: 0 };
        let mut is_test = vec![false; n as usize];
        for row in order(&key, n) {
            let left = &mut left[class_of(row)];
            is_test[row as usize] = *left > 0;
            *left = left.saturating_sub(1);
        }
        [false, true].map(|wanted| (0..n).filter(|&row| is_test[row as usize] == wanted).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::SplitFeatures;

    fn split(targets: SplitTargets, n: usize) -> Split {
        Split { shape: vec![1], features: SplitFeatures::U8(vec![0; n]), targets, clients: None }
    }

    #[test]
    fn each_class_gives_its_part_and_the_seed_decides_the_rows() {
        let labels: Vec<u32> = (0..105).map(|row| if row < 5 { 1 } else { 0 }).collect();
        let whole = split(SplitTargets::Classes(labels.clone()), 105);
        let rows = |fraction, seed| TestSplit { fraction, seed }.rows(&whole);
        let [train, test] = rows(0.25, 1);
        let of = |class| test.iter().filter(|&&row| labels[row as usize] == class).count();
        assert_eq!((of(0), of(1)), (25, 1));
        let mut all = [train, test.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..105).collect::<Vec<_>>());
        assert!(test.is_sorted());
        assert_eq!(rows(0.25, 1)[1], test);
        assert_ne!(rows(0.25, 2)[1], test);
    }

    #[test]
    fn real_targets_are_drawn_as_one_class() {
        let whole = split(SplitTargets::Real(vec![0.5; 10]), 10);
        assert_eq!(TestSplit { fraction: 0.25, seed: 0 }.rows(&whole).map(|rows| rows.len()), [7, 3]);
    }
}
