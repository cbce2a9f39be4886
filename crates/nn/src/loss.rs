use crate::{Error, Result, isa::Kernel, math};

/// What a batch scored.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    /// Σ of the examples' cross-entropies, in example order, in nats.
    pub loss_sum: f64,
    /// Examples whose label has the highest logit; of equal logits the lowest class counts.
    pub correct: u64,
}

/// Softmax cross-entropy: scores the logits and turns them into the gradient of the *mean* loss.
///
/// `logits` has shape (labels, `classes`), rows `stride` apart.
pub(crate) struct CrossEntropy<'a> {
    pub(crate) logits: &'a mut [f32],
    pub(crate) stride: usize,
    pub(crate) classes: usize,
    pub(crate) labels: &'a [u32],
}

impl Kernel for CrossEntropy<'_> {
    type Output = Score;

    #[inline(always)]
    fn run<const W: usize>(self) -> Score {
        let mut score = Score::default();
        let count = self.labels.len() as f32;
        for (row, &label) in self.logits.chunks_exact_mut(self.stride).zip(self.labels) {
            example(&mut row[..self.classes], label as usize, count, &mut score);
        }
        score
    }
}

#[inline(always)]
fn example(logits: &mut [f32], label: usize, count: f32, score: &mut Score) {
    let (mut best, mut highest) = (0, f32::NEG_INFINITY);
    for (class, &z) in logits.iter().enumerate() {
        if z > highest {
            (best, highest) = (class, z);
        }
    }
    // In f64, since the two terms nearly cancel for a confident prediction.
    let below = f64::from(highest) - f64::from(logits[label]);
    logits.iter_mut().for_each(|z| *z = math::exp(*z - highest));
    let sum = math::sum(logits);
    score.loss_sum += below + libm::log(f64::from(sum));
    score.correct += u64::from(best == label);
    logits.iter_mut().for_each(|z| *z /= sum);
    logits[label] -= 1.0;
    logits.iter_mut().for_each(|z| *z /= count);
}

/// Refuses labels that are no class.
pub(crate) fn check_labels(labels: &[u32], classes: usize) -> Result<()> {
    match labels.iter().find(|&&label| label as usize >= classes) {
        None => Ok(()),
        Some(label) => Err(Error::new(format!("label {label} is out of range for {classes} classes"))),
    }
}
