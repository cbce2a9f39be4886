//! Functions of one number whose bits are the same everywhere. The system's libm differs between versions.

/// Returns eˣ within 1.1 units in the last place (a test measures it), with gradual underflow. NaN stays NaN.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2, with ln 2 in two parts (Cody and Waite 1980). The polynomial for eʳ is that of
/// `expf` in Cephes.
///
/// ```
/// assert_eq!(fedpipe_nn::math::exp(0.0), 1.0);
/// ```
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5·2²³ rounds to an integer, which is then in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Beyond these limits the result is 0 or ∞. A comparison with NaN is false, so that NaN stays.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.987_569_1e-4_f32;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p.mul_add(r, c);
    }
    let p = (r * r).mul_add(p, r) + 1.0;
    // 2ⁿ is the product of two normal numbers, so that a subnormal result is rounded once, by the last product.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// Returns the natural logarithm, correctly rounded except for about one argument in ten million.
///
/// ```
/// assert_eq!(fedpipe_nn::math::ln(1.0), 0.0);
/// ```
#[inline]
pub fn ln(x: f32) -> f32 {
    libm::log(f64::from(x)) as f32
}

/// Returns 2ⁿ for an `n` whose power is a normal number.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// Returns the sum of `values` over eight virtual lanes, on every CPU.
#[inline(always)]
pub(crate) fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let mut chunks = values.chunks_exact(8);
    for chunk in &mut chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, v)| *lane += v);
    }
    lanes.iter_mut().zip(chunks.remainder()).for_each(|(lane, v)| *lane += v);
    sum_of_lanes(lanes)
}

/// Returns the sum of the products of two slices of equal length, over the lanes of [`sum`].
#[inline(always)]
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<8>(), right.as_chunks::<8>());
    for (left, right) in left.iter().zip(right) {
        for lane in 0..8 {
            lanes[lane] = left[lane].mul_add(right[lane], lanes[lane]);
        }
    }
    let rest = left_rest.iter().zip(right_rest);
    lanes.iter_mut().zip(rest).for_each(|(lane, (x, y))| *lane = x.mul_add(*y, *lane));
    sum_of_lanes(lanes)
}

#[inline(always)]
fn sum_of_lanes([a, b, c, d, e, f, g, h]: [f32; 8]) -> f32 {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the distance of `got` from `exact`, in units of the last place of `exact` as an f32.
    fn ulps(got: f32, exact: f64) -> f64 {
        let rounded = exact as f32;
        let unit = f64::from(f32::from_bits(rounded.to_bits() + 1)) - f64::from(rounded);
        (f64::from(got) - exact).abs() / unit
    }

    #[test]
    fn exp_is_within_its_stated_error() {
        let mut worst = 0.0f64;
        for i in 0..2_000_000 {
            let x = -104.0 + 192.7 * (i as f32 / 2_000_000.0);
            let error = ulps(exp(x), libm::exp(f64::from(x)));
            worst = if error > worst { error } else { worst };
        }
        assert!(worst < 1.1, "{worst}");
    }

    #[test]
    fn exp_at_the_edges() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(-103.0) > 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_take_every_value_once() {
        for len in 0..40_usize {
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            assert_eq!(sum(&values), (len * len.saturating_sub(1) / 2) as f32);
            let squares = (0..len).map(|i| i * i).sum::<usize>();
            assert_eq!(dot(&values, &values), squares as f32);
        }
    }
}
