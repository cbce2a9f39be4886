//! The nearest neighbours of the updates of a round, on which Krum and its kin decide.

use crate::vector_math::Distances;

/// Returns the score of each vector among `left`: the sum of its `count` least squared distances to the others. The sum
/// is in ascending order, so that the order of the clients has no part in it.
pub(crate) fn scores(distances: &Distances, left: &[usize], count: usize) -> Vec<f64> {
    let score = |&one: &usize| {
        let others = left.iter().filter(|&&other| other != one);
        let mut squares: Vec<f64> = others.map(|&other| distances.of(one, other)).collect();
        squares.sort_unstable_by(f64::total_cmp);
        squares.iter().take(count).fold(0.0, |sum, square| sum + square)
    };
    left.iter().map(score).collect()
}

/// Returns the places of the `count` least scores, ascending. Of equal scores the first ones count.
pub(crate) fn least(scores: &[f64], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..scores.len()).collect();
    // A stable sort.
    places.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    places.truncate(count);
    places.sort_unstable();
    places
}

/// Returns the `count` vectors nearest to one, itself among them, ascending. Of equal distances the first ones count.
pub(crate) fn nearest(distances: &Distances, one: usize, all: usize, count: usize) -> Vec<usize> {
    let of_each: Vec<f64> = (0..all).map(|other| if other == one { -1.0 } else { distances.of(one, other) }).collect();
    least(&of_each, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector_math::{Math, OneCore};

    #[test]
    fn a_score_is_the_sum_of_the_nearest_squares() {
        let rows = [[0.0_f32], [1.0], [3.0], [7.0]];
        let distances = OneCore.squared_distances(&rows.each_ref().map(|row| row.as_slice()));
        assert_eq!(scores(&distances, &[0, 1, 2, 3], 2), [1.0 + 9.0, 1.0 + 4.0, 4.0 + 9.0, 16.0 + 36.0]);
        assert_eq!(scores(&distances, &[0, 2, 3], 1), [9.0, 9.0, 16.0]);
        assert_eq!(least(&[2.0, 1.0, 1.0, 0.5], 2), [1, 3]);
        assert_eq!([nearest(&distances, 1, 4, 2), nearest(&distances, 3, 4, 3)], [vec![0, 1], vec![1, 2, 3]]);
    }
}
