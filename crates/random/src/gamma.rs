//! Gamma samples, and the shares of a symmetric Dirichlet distribution.
//!
//! `rand_distr` has these samplers, but takes its logarithms from the system's libm as soon as any crate of the build
//! turns on `num-traits/std`.

use rand_chacha::ChaCha8Rng;

use crate::{key::unit, normal};

/// Returns the logarithm of a gamma sample of the given shape (> 0) and scale 1 (Marsaglia and Tsang 2000).
///
/// A try takes one `u64` of the stream for the normal number, and another for its test if `1 + c·x` is above 0. For a
/// shape below 1 the uniform number of the boost comes first. The boost multiplies by `u^(1/shape)`, which underflows
/// for small shapes; its logarithm does not.
pub(crate) fn ln_gamma_sample(shape: f64, rng: &mut ChaCha8Rng) -> f64 {
    if shape < 1.0 {
        let boost = libm::log(unit(rng)) / shape;
        return ln_gamma_sample(shape + 1.0, rng) + boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / libm::sqrt(9.0 * d);
    loop {
        let x = normal::standard(rng);
        let t = 1.0 + c * x;
        if t <= 0.0 {
            continue;
        }
        let v = t * t * t;
        let ln_v = libm::log(v);
        if libm::log(unit(rng)) < 0.5 * x * x + d * (1.0 - v + ln_v) {
            return libm::log(d) + ln_v;
        }
    }
}

/// Draws the shares of the places that are `open` from a symmetric Dirichlet distribution of concentration `alpha`, >
/// 0; closed places get 0.
///
/// A sample is drawn for closed places, too, so that the stream does not depend on which places are closed. The shares
/// sum to 1 up to rounding. At least one place must be open.
pub fn shares(alpha: f64, open: &[bool], rng: &mut ChaCha8Rng) -> Vec<f64> {
    shares_of(&ln_shares(alpha, open.len(), rng), open)
}

/// Draws the logarithms of the shares of `places` from a symmetric Dirichlet distribution, up to a common summand.
pub fn ln_shares(alpha: f64, places: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    (0..places).map(|_| ln_gamma_sample(alpha, rng)).collect()
}

/// Returns the shares of the `open` places, which sum to 1 up to rounding, from the logarithms of [`ln_shares`]. Closed
/// places get 0. At least one place must be open.
pub fn shares_of(logs: &[f64], open: &[bool]) -> Vec<f64> {
    let mut largest = f64::NEG_INFINITY;
    for (&log, _) in logs.iter().zip(open).filter(|(_, open)| **open) {
        if log > largest {
            largest = log;
        }
    }
    let weights: Vec<f64> =
        logs.iter().zip(open).map(|(log, open)| if *open { libm::exp(log - largest) } else { 0.0 }).collect();
    let mut total = 0.0;
    for weight in &weights {
        total += weight;
    }
    weights.iter().map(|weight| weight / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Key, Use};

    fn rng(seed: u64) -> ChaCha8Rng {
        Key { seed, purpose: Use::Partition, client: 0, round: 0, epoch: 0 }.rng()
    }

    fn mean_and_variance(samples: &[f64]) -> (f64, f64) {
        let n = samples.len() as f64;
        let mean = samples.iter().fold(0.0, |sum, x| sum + x) / n;
        (mean, samples.iter().fold(0.0, |sum, x| sum + (x - mean) * (x - mean)) / n)
    }

    /// The bounds are four standard errors: that of the mean is √(k / n), that of the variance √((2k² + 6k) / n).
    #[test]
    fn a_gamma_sample_has_mean_and_variance_of_its_shape() {
        for shape in [0.1, 0.5, 1.0, 5.0, 40.0] {
            let mut rng = rng(7);
            let n = 200_000;
            let samples: Vec<f64> = (0..n).map(|_| libm::exp(ln_gamma_sample(shape, &mut rng))).collect();
            let (mean, variance) = mean_and_variance(&samples);
            let of_mean = (mean - shape) / (shape / f64::from(n)).sqrt();
            let of_variance = (variance - shape) / ((2.0 * shape * shape + 6.0 * shape) / f64::from(n)).sqrt();
            println!(
                "shape {shape}: the mean is off by {of_mean:.2} standard errors, the variance by {of_variance:.2}"
            );
            assert!(of_mean.abs() < 4.0, "shape {shape}: mean {mean}");
            assert!(of_variance.abs() < 4.0, "shape {shape}: variance {variance}");
        }
    }

    #[test]
    fn a_tiny_alpha_gives_all_to_one_place_and_never_nan() {
        for seed in 0..50 {
            let shares = shares(1e-6, &[true, true, false, true], &mut rng(seed));
            assert_eq!(shares[2], 0.0);
            assert!(shares.iter().all(|share| share.is_finite()));
            assert!(shares.iter().any(|share| *share > 0.999), "{shares:?}");
        }
    }

    #[test]
    fn a_huge_alpha_gives_even_shares() {
        for share in shares(1e12, &[true; 8], &mut rng(1)) {
            assert!((share - 0.125).abs() < 1e-4);
        }
    }

    /// Another libm, compiler or CPU that changes a partition fails here. `vectors.py` has the numbers to 12 digits.
    #[test]
    fn shares_have_known_bits() {
        let bits: Vec<u64> = shares(0.3, &[true; 3], &mut rng(1)).iter().map(|share| share.to_bits()).collect();
        assert_eq!(bits, [0x3fc5_2b7f_3099_1891, 0x3fe8_ba58_58a5_0e40, 0x3faf_ac7d_b34a_b9b6]);
    }
}
