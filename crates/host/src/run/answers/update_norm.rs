//! The length of an update: ‖w_after − w_start‖ over all weights.

/// The part that the check of an update adds to it: its length. No message has this part.
pub(crate) const NORM: &str = "norm";

/// The sums that run side by side, so that the compiler can use vectors. Their number is fixed, and with it the bits.
const LANES: usize = 8;

/// Returns ‖a − b‖, summed in f64 and rounded to f32.
pub(crate) fn distance(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f64; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_blocks.remainder().iter().zip(b_blocks.remainder());
    for (a, b) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            let difference = f64::from(a[lane]) - f64::from(b[lane]);
            sums[lane] += difference * difference;
        }
    }
    for (lane, (a, b)) in rest.enumerate() {
        let difference = f64::from(*a) - f64::from(*b);
        sums[lane] += difference * difference;
    }
    sums.iter().fold(0.0, |sum, lane| sum + lane).sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_that_of_the_definition() {
        for length in [0, 1, 7, 8, 9, 100] {
            let a: Vec<f32> = (0..length).map(|index| index as f32 * 0.5).collect();
            let b: Vec<f32> = (0..length).map(|index| 3.0 - index as f32).collect();
            let squares: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum();
            let expected = squares.sqrt();
            assert!((f64::from(distance(&a, &b)) - expected).abs() <= 1e-6 * expected, "{length} values");
        }
        assert_eq!(distance(&[3.0, 0.0], &[0.0, 4.0]), 5.0);
    }
}
