//! Aggregation rules: from many flat weight vectors to one.

/// Σ n_k w_k / Σ n_k, summed in f64 in the order given and rounded once to f32 (McMahan 2017, Algorithm 1).
///
/// The order is the caller's promise of the same bits: client order, never arrival.
///
/// # Panics
/// If `members` is empty or the vectors' lengths differ.
pub fn weighted_mean(members: &[(f64, &[f32])]) -> Vec<f32> {
    let total: f64 = members.iter().map(|(n, _)| n).sum();
    let length = members[0].1.len();
    assert!(members.iter().all(|(_, weights)| weights.len() == length), "weight vectors of different lengths");
    let mut mean = vec![0.0_f32; length];
    // A block of sums stays in the first cache while all members pass by.
    const BLOCK: usize = 1024;
    let mut sums = [0.0_f64; BLOCK];
    for (index, out) in mean.chunks_mut(BLOCK).enumerate() {
        let start = index * BLOCK;
        let sums = &mut sums[..out.len()];
        sums.fill(0.0);
        for (n, weights) in members {
            let part = &weights[start..start + sums.len()];
            sums.iter_mut().zip(part).for_each(|(sum, &w)| *sum += n * f64::from(w));
        }
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = (*sum / total) as f32);
    }
    mean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_the_closed_form() {
        let mean = weighted_mean(&[(1.0, &[1.0, -2.0, 0.5]), (3.0, &[5.0, 2.0, 0.5])]);
        assert_eq!(mean, [4.0, 1.0, 0.5]);
    }

    #[test]
    fn one_rounding_at_the_end() {
        // Summed in f32 this would be 1: each half ulp would be lost.
        let half_ulp = f32::EPSILON / 2.0;
        let mean = weighted_mean(&[(1.0, &[1.0]), (1.0, &[1.0 + 2.0 * half_ulp])]);
        assert_eq!(mean, [1.0]);
        let mean = weighted_mean(&[(1.0, &[1.0]), (1.0, &[half_ulp]), (1.0, &[half_ulp])]);
        assert_eq!(mean, [((1.0 + f64::from(f32::EPSILON)) / 3.0) as f32]);
    }

    proptest! {
        #[test]
        fn identical_updates_aggregate_to_themselves(
            weights in prop::collection::vec(-1e6_f32..1e6, 1..3000),
            counts in prop::collection::vec(1_u32..100_000, 1..9),
        ) {
            let members: Vec<_> = counts.iter().map(|&n| (f64::from(n), weights.as_slice())).collect();
            prop_assert_eq!(weighted_mean(&members), weights);
        }

        #[test]
        fn it_lies_between_its_members(a in -1e6_f32..1e6, b in -1e6_f32..1e6, n in 1_u32..1000, m in 1_u32..1000) {
            let mean = weighted_mean(&[(f64::from(n), &[a]), (f64::from(m), &[b])])[0];
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(low <= mean && mean <= high);
        }
    }
}
