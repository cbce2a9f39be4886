//! Initial weights: He's normal distribution from a keyed generator.

use fedpipe_random::{key::Key, normal};

/// Fills `weights` with normal values of mean 0 and variance 2 / `inputs` (He 2015, eq. 10), for a layer with ReLU.
///
/// `tensor` is the tensor's number in its layout. Each tensor has a stream of its own ([`Key::initial`]), so that one
/// tensor's size does not change another's values. Each weight takes the next u64 of the stream and is √(2 / `inputs`)
/// · [`normal::quantile`]((⌊u64 / 2¹²⌋ + ½) / 2⁵²), in f64, rounded once.
pub fn he_normal(weights: &mut [f32], inputs: usize, seed: u64, tensor: u64) {
    let deviation = (2.0 / inputs as f64).sqrt();
    let mut stream = Key::initial(seed, tensor).rng();
    for w in weights {
        *w = (deviation * normal::standard(&mut stream)) as f32;
    }
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
