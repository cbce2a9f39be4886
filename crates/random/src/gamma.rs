//! Gamma samples, and the shares of a symmetric Dirichlet distribution.
//!
//! `rand_distr` has these samplers, but takes its logarithms from the system's libm as soon as any crate of the build
//! turns on `num-traits/std`.

use rand_chacha::ChaCha8Rng;

use crate::key::unit;

/// Returns the normal proposal of the gamma sampler, by the polar method (Marsaglia and Bray 1964); the second number
/// of the pair is dropped. It is not [`crate::normal::quantile`] of one uniform number: every Dirichlet partition would
/// change.
fn proposal(rng: &mut ChaCha8Rng) -> f64 {
    loop {
        let x = 2.0 * unit(rng) - 1.0;
        let y = 2.0 * unit(rng) - 1.0;
        let s = x * x + y * y;
        if s < 1.0 && s > 0.0 {
            return x * libm::sqrt(-2.0 * libm::log(s) / s);
        }
    }
}

/// Returns the logarithm of a gamma sample of the given shape (> 0) and scale 1 (Marsaglia and Tsang 2000).
///
/// For a shape below 1 the method's boost multiplies by `u^(1/shape)`, which underflows for small shapes; its logarithm
/// does not.
fn ln_gamma_sample(shape: f64, rng: &mut ChaCha8Rng) -> f64 {
    if shape < 1.0 {
        let boost = libm::log(unit(rng)) / shape;
        return ln_gamma_sample(shape + 1.0, rng) + boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / libm::sqrt(9.0 * d);
    loop {
        let x = proposal(rng);
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
    let logs: Vec<f64> = open.iter().map(|_| ln_gamma_sample(alpha, rng)).collect();
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

    #[test]
    fn a_gamma_sample_has_mean_and_variance_of_its_shape() {
        for shape in [0.1, 0.5, 1.0, 2.5, 40.0] {
            let mut rng = rng(7);
            let samples: Vec<f64> = (0..40_000).map(|_| libm::exp(ln_gamma_sample(shape, &mut rng))).collect();
            let (mean, variance) = mean_and_variance(&samples);
            assert!((mean / shape - 1.0).abs() < 0.05, "shape {shape}: mean {mean}");
            assert!((variance / shape - 1.0).abs() < 0.12, "shape {shape}: variance {variance}");
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

    /// The bits, also from `vectors.py`: another libm, compiler or CPU that changes a partition fails here.
    #[test]
    fn shares_have_known_bits() {
        let bits: Vec<u64> = shares(0.3, &[true; 3], &mut rng(1)).iter().map(|share| share.to_bits()).collect();
        assert_eq!(bits, [0x3f89_fac5_bb00_a4b9, 0x3fee_b22a_f386_f4c2, 0x3f9c_bd3e_b1a1_152a]);
    }
}
