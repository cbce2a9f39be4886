//! The losses: softmax cross-entropy here, the squared error beside it. The type of the targets chooses the loss.

mod squared_error;

pub(crate) use squared_error::SquaredError;

use crate::{
    error::{Error, Result},
    isa::Kernel,
    math,
};

/// The score of a batch.
///
/// ```
/// let mut network = fedpipe_nn::Network::new(&[1, 2])?;
/// network.inputs(2).fill(1.0);
/// // Equal logits: each loss is ln 2, and class 0 counts as the prediction.
/// let score = network.score(&[0.0; 4], [0, 1])?;
/// assert!((score.loss_sum - 2.0 * 0.693_147).abs() < 1e-5);
/// assert_eq!(score.correct, 1);
/// # Ok::<(), fedpipe_nn::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    /// The sum of the losses of the examples, in order: cross-entropies in nats, or squared errors.
    pub loss_sum: f64,
    /// The number of examples whose label has the highest logit. Of equal logits the lowest class counts. It is 0 for
    /// real targets.
    pub correct: u64,
}

/// The target of an example: a class as `u32`, which chooses the cross-entropy, or a real number as `f32`, which
/// chooses the squared error.
pub trait ExampleTarget: Copy {
    /// Replaces the targets of a network by `from`.
    #[doc(hidden)]
    fn fill(targets: &mut BatchTargets, from: impl Iterator<Item = Self>);
}

/// The targets of a batch.
#[derive(Debug, Clone)]
pub enum BatchTargets {
    Classes(Vec<u32>),
    Real(Vec<f32>),
}

impl ExampleTarget for u32 {
    fn fill(targets: &mut BatchTargets, from: impl Iterator<Item = Self>) {
        match targets {
            BatchTargets::Classes(labels) => refill(labels, from),
            BatchTargets::Real(_) => *targets = BatchTargets::Classes(from.collect()),
        }
    }
}

impl ExampleTarget for f32 {
    fn fill(targets: &mut BatchTargets, from: impl Iterator<Item = Self>) {
        match targets {
            BatchTargets::Real(values) => refill(values, from),
            BatchTargets::Classes(_) => *targets = BatchTargets::Real(from.collect()),
        }
    }
}

fn refill<T>(values: &mut Vec<T>, from: impl Iterator<Item = T>) {
    values.clear();
    values.extend(from);
}

impl BatchTargets {
    fn len(&self) -> usize {
        match self {
            BatchTargets::Classes(labels) => labels.len(),
            BatchTargets::Real(values) => values.len(),
        }
    }

    /// Returns an error if these are not the targets of `rows` examples, each with that many outputs.
    pub(crate) fn check(&self, rows: usize, outputs: usize) -> Result<()> {
        let got = self.len();
        if got != rows {
            return Err(Error::new(format!("the targets ({got}) are not as many as the examples ({rows})")));
        }
        match self {
            BatchTargets::Classes(labels) => check_labels(labels, outputs),
            BatchTargets::Real(_) if outputs == 1 => Ok(()),
            BatchTargets::Real(_) => {
                Err(Error::new(format!("a real target needs a network with 1 output, but this one has {outputs}")))
            }
        }
    }
}

/// Scores the logits by softmax cross-entropy, and replaces them by the gradient of the *mean* loss.
///
/// `logits` has shape (labels, classes), with rows `stride` values apart.
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
    // In f64: the two terms nearly cancel each other for a confident prediction.
    let below = f64::from(highest) - f64::from(logits[label]);
    logits.iter_mut().for_each(|z| *z = math::exp(*z - highest));
    let sum = math::sum(logits);
    score.loss_sum += below + libm::log(f64::from(sum));
    score.correct += u64::from(best == label);
    logits.iter_mut().for_each(|z| *z /= sum);
    logits[label] -= 1.0;
    logits.iter_mut().for_each(|z| *z /= count);
}

fn check_labels(labels: &[u32], classes: usize) -> Result<()> {
    match labels.iter().find(|&&label| label as usize >= classes) {
        None => Ok(()),
        Some(label) => Err(Error::new(format!("label {label} is out of range for {classes} classes"))),
    }
}
