//! The squared error of one output and its gradient.

use crate::{isa::Kernel, loss::Score};

/// Scores the outputs by (output − target)², and replaces them by the gradient of the *mean* loss.
///
/// There is no factor ½, so that the mean loss is the mean squared error (MSE) and its root the RMSE. The gradient is
/// 2 (output − target) / n. `outputs` has shape (targets, 1), with rows `stride` values apart.
pub(crate) struct SquaredError<'a> {
    pub(crate) outputs: &'a mut [f32],
    pub(crate) stride: usize,
    pub(crate) targets: &'a [f32],
}

impl Kernel for SquaredError<'_> {
    type Output = Score;

    #[inline(always)]
    fn run<const W: usize>(self) -> Score {
        let mut score = Score::default();
        let count = self.targets.len() as f32;
        for (row, &target) in self.outputs.chunks_exact_mut(self.stride).zip(self.targets) {
            // In f64: the square of an f32 is exact.
            let error = f64::from(row[0]) - f64::from(target);
            score.loss_sum += error * error;
            row[0] = 2.0 * (row[0] - target) / count;
        }
        score
    }
}

#[cfg(test)]
mod tests {
    use crate::{init, isa::Isa, network::Network, optimiser::Optimiser};

    const SHAPES: [&[usize]; 3] = [&[7, 1], &[37, 70, 19, 1], &[1, 1, 1]];

    /// Fills the inputs and returns targets whose mean is not 0.
    fn batch(network: &mut Network, examples: usize, seed: u64) -> Vec<f32> {
        init::he_normal(network.inputs(examples), 2, seed, 9);
        let mut targets = vec![0.0; examples];
        init::he_normal(&mut targets, 2, seed, 11);
        targets.iter_mut().for_each(|target| *target = 3.0 * *target - 2.0);
        targets
    }

    /// Trains by fused steps, and returns the bits of the weights and of the losses.
    fn train(isa: Isa, widths: &[usize], fused: bool) -> (Vec<u32>, Vec<u64>) {
        let (mut network, mut optimiser) = (Network::on(isa, widths).unwrap(), Optimiser::on(isa));
        let mut weights = network.init(3);
        let mut gradient = weights.clone();
        optimiser.begin(r#"{"name":"sgd","momentum":0.5}"#, weights.len(), 0).unwrap();
        let losses = [32, 5, 1, 0, 67].into_iter().zip(0..).map(|(examples, seed)| {
            let targets = batch(&mut network, examples, seed);
            let score = if fused {
                network.step(&mut weights, targets, &mut optimiser, 0.001).unwrap()
            } else {
                let score = network.gradient(&weights, targets, &mut gradient).unwrap();
                optimiser.step(&mut weights, &gradient, 0.001, &[]);
                score
            };
            assert_eq!(score.correct, 0);
            score.loss_sum.to_bits()
        });
        let losses = losses.collect();
        (weights.iter().map(|weight| weight.to_bits()).collect(), losses)
    }

    #[test]
    fn every_instruction_set_and_the_fused_step_give_the_same_bits() {
        for widths in SHAPES {
            let expected = train(Isa::available()[0], widths, false);
            for isa in Isa::available() {
                assert!(train(isa, widths, true) == expected, "{widths:?} {isa:?}");
            }
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for widths in [&[6, 5, 4, 1][..], &[7, 1]] {
            let mut network = Network::new(widths).unwrap();
            let mut weights = network.init(1);
            let targets = batch(&mut network, 9, 5);
            let mut gradient = weights.clone();
            network.gradient(&weights, targets.clone(), &mut gradient).unwrap();
            for i in 0..weights.len() {
                let before = weights[i];
                let mut loss = |step: f32| {
                    weights[i] = before + step;
                    let score = network.score(&weights, targets.iter().copied()).unwrap();
                    (f64::from(weights[i]), score.loss_sum / 9.0)
                };
                let (above, below) = (loss(1.0 / 1024.0), loss(-1.0 / 1024.0));
                weights[i] = before;
                let (slope, exact) = ((above.1 - below.1) / (above.0 - below.0), f64::from(gradient[i]));
                let off = (slope - exact).abs();
                assert!(off < 5e-3 * (1.0 + exact.abs()), "{widths:?} weight {i}: {slope} for {exact}");
            }
        }
    }

    /// The outputs are 2x + 1 = 3 and −1. The errors are 2.5 and −3; the gradients 2/n · error · (x, 1), n = 2.
    #[test]
    fn the_loss_is_the_squared_error_without_a_half() {
        let mut network = Network::new(&[1, 1]).unwrap();
        let (weights, mut gradient) = ([2.0, 1.0], [0.0; 2]);
        network.inputs(2).copy_from_slice(&[1.0, -1.0]);
        let score = network.gradient(&weights, [0.5_f32, 2.0], &mut gradient).unwrap();
        assert_eq!((score.loss_sum, gradient), (2.5 * 2.5 + 9.0, [2.5 + 3.0, 2.5 - 3.0]));
        assert_eq!(network.outputs(), ndarray::arr2(&[[3.0], [-1.0]]));
    }

    #[test]
    fn real_targets_need_one_output_and_one_for_each_example() {
        let mut network = Network::new(&[2, 3]).unwrap();
        let weights = network.init(0);
        network.inputs(1).fill(1.0);
        let refusal = network.score(&weights, [0.5_f32]).unwrap_err().to_string();
        assert_eq!(refusal, "a real target needs a network with 1 output, but this one has 3");
        let refusal = network.score(&weights, [0.5_f32, 1.0]).unwrap_err().to_string();
        assert_eq!(refusal, "the targets (2) are not as many as the examples (1)");
    }
}
