//! The range of weights that a run takes.

/// The greatest magnitude of a weight that a server may reach: beyond it, f32 does not hold the square.
pub const GREATEST: f32 = (1_u128 << 64) as f32;

/// The greatest magnitude of a weight in an update. No model has such a weight. The weights that a server makes of
/// several rounds of such updates stay below [`GREATEST`], so that a client cannot end a run.
pub const GREATEST_OF_A_CLIENT: f32 = (1_u64 << 40) as f32;

/// The greatest magnitude of a client's change after an aggregator has multiplied it. Where the weights are beyond
/// [`GREATEST_OF_A_CLIENT`], each change points back, so that the weights of all rounds stay below three times that.
pub const GREATEST_CHANGE: f64 = (1_u64 << 41) as f64;

/// Returns the first value that is NaN or beyond `most` in magnitude. A block at a time without an early end, which is
/// compiled to whole vectors: every update of every round is checked.
pub fn first_beyond(values: &[f32], most: f32) -> Option<usize> {
    const BLOCK: usize = 1024;
    // NaN is in no range.
    let is_beyond = |value: &f32| !(-most..=most).contains(value);
    let bad = values.chunks(BLOCK).position(|block| block.iter().fold(false, |bad, value| bad | is_beyond(value)))?;
    let start = bad * BLOCK;
    values[start..].iter().position(is_beyond).map(|index| start + index)
}

/// Returns the text of a weight in a sentence, short whatever its magnitude.
pub fn shown(weight: f32) -> String {
    if weight.is_finite() { format!("{weight:e}") } else { weight.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_out_of_range_is_found_wherever_it_is() {
        let mut weights = vec![1.0_f32; 3000];
        weights[7] = -GREATEST;
        assert_eq!(first_beyond(&weights, GREATEST), None);
        let beyond = [(2999, f32::NAN), (1024, f32::INFINITY), (1023, -2.0 * GREATEST), (0, f32::NAN)];
        for (index, value) in beyond {
            weights[index] = value;
            assert_eq!(first_beyond(&weights, GREATEST), Some(index));
        }
        assert_eq!([shown(1e38), shown(f32::NAN)], ["1e38", "NaN"]);
    }
}
