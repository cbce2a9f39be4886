//! Initial weights: He's normal distribution from a keyed generator.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::normal;

/// Fills `weights` with normal values of mean 0 and variance 2 / `inputs` (He 2015, eq. 10), for a layer with ReLU.
///
/// `tensor` is the number of the tensor in its layout. Each tensor has its own generator, so that the size of one
/// tensor does not change the values of another. The generator is ChaCha8, keyed by 32 bytes: `seed` (u64,
/// little-endian), the eight bytes `nn-init\0`, `tensor` (u64, little-endian), eight zeros. Each weight uses the next
/// u64 of the generator. The weight is √(2 / `inputs`) · [`normal::quantile`]((⌊u64 / 2¹²⌋ + ½) / 2⁵²), computed in f64
/// and rounded once.
///
/// ```
/// let mut weights = [0.0; 6]; // (inputs, outputs) = (2, 3)
/// fedpipe_nn::init::he_normal(&mut weights, 2, 42, 0);
/// assert!(weights.iter().all(|w| *w != 0.0));
/// ```
pub fn he_normal(weights: &mut [f32], inputs: usize, seed: u64, tensor: u64) {
    let deviation = (2.0 / inputs as f64).sqrt();
    let mut generator = ChaCha8Rng::from_seed(key(seed, tensor));
    for w in weights {
        // f64::EPSILON is 2⁻⁵². With 53 bits the sum would need rounding, and could become 1.
        let u = ((generator.next_u64() >> 12) as f64 + 0.5) * f64::EPSILON;
        *w = (deviation * normal::quantile(u)) as f32;
    }
}

fn key(seed: u64, tensor: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(b"nn-init\0");
    key[16..24].copy_from_slice(&tensor.to_le_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_variance_are_those_of_he() {
        let mut weights = vec![0.0; 200_000];
        he_normal(&mut weights, 50, 1, 0);
        let n = weights.len() as f64;
        let (mut sum, mut squares, mut inside) = (0.0, 0.0, 0);
        for w in weights.iter().map(|&w| f64::from(w)) {
            sum += w;
            squares += w * w;
            inside += usize::from(w.abs() < 0.2);
        }
        // Four standard errors each.
        assert!((sum / n).abs() < 4.0 * 0.2 / n.sqrt(), "mean {}", sum / n);
        assert!((squares / n / 0.04 - 1.0).abs() < 4.0 * (2.0 / n).sqrt(), "variance {}", squares / n);
        assert!((inside as f64 / n - 0.682_689).abs() < 4.0 * 0.466 / n.sqrt(), "within one deviation: {inside}");
    }

    #[test]
    fn seed_and_tensor_choose_the_values_and_the_length_does_not() {
        let fill = |len, seed, tensor| {
            let mut weights = vec![0.0; len];
            he_normal(&mut weights, 2, seed, tensor);
            weights
        };
        assert_eq!(fill(5, 7, 1), fill(9, 7, 1)[..5]);
        assert_ne!(fill(5, 7, 1), fill(5, 8, 1));
        assert_ne!(fill(5, 7, 1), fill(5, 7, 2));
    }

    #[test]
    fn the_first_values_never_change() {
        // Checked against ChaCha8 and `statistics.NormalDist().inv_cdf` in Python.
        let mut weights = [0.0; 4];
        he_normal(&mut weights, 2, 0, 0);
        assert_eq!(weights, [1.401_011_8, 0.924_325_47, 1.850_257_5, -0.333_848_1]);
    }
}
