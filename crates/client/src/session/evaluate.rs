//! Evaluation: the sums over blocks of examples, and the predictions if the request asks for them.

use std::ops::Range;

use abi_stable::std_types::RSliceMut;
use fedpipe_data::{Partition, counted};
use fedpipe_model::NO_PREDICTIONS;
use fedpipe_protocol::{BlockSums, CONFUSION, EVALUATION_BLOCK, Evaluate, OUTPUTS, PartData, Predictions, SCORES};

use crate::{
    loader::{LoadError, answer},
    session::{
        Failure, Session,
        mapped::{checked, examples},
        protocol,
    },
    translation,
};

/// The sums of the requested blocks, with the parts of the predictions.
#[derive(Debug)]
pub(crate) struct Evaluated {
    pub(crate) blocks: Vec<BlockSums>,
    pub(crate) parts: Vec<(String, PartData)>,
}

/// The predictions of all requested blocks.
enum Predicted {
    /// Counts by class.
    Counts {
        /// (classes, classes): the rows by label, the columns by prediction.
        confusion: Vec<u32>,
        /// The scores of the examples with the labels 0 and 1; none if they were not asked for.
        scores: Option<[Vec<f32>; 2]>,
    },
    /// The outputs of each example: (examples, classes), or (examples) for a real target.
    Outputs(Vec<f32>),
}

impl Session {
    /// Evaluates the model's weights on blocks of the test set, or of a client's held-out examples.
    pub(crate) fn evaluate(&mut self, request: &Evaluate) -> Result<Evaluated, Failure> {
        let mut predicted = request.predictions.map(|asked| Predicted::new(self.classes, asked));
        let mut blocks = Vec::with_capacity(request.blocks.len());
        for &block in &request.blocks {
            let scored = match request.client {
                Some(client) => checked(&mut self.partitions, client)?,
                None => self.test.checked()?,
            };
            let first = request.client.map_or(0, |_| scored.training_len());
            self.order.clear();
            self.order.extend(rows(block, first..scored.len())?);
            let sums = answer(self.model.evaluate(examples(scored, &self.order))).map_err(Failure::model)?;
            let regression = sums.regression.map(translation::regression).into_option();
            let (loss_sum, correct, n) = (sums.loss_sum, sums.correct, sums.examples);
            blocks.push(BlockSums { block, loss_sum, correct, examples: n, regression });
            let Some(all) = &mut predicted else { continue };
            let width = if self.classes > 0 { self.classes } else { 1 };
            let mut scores = vec![0.0; self.order.len() * width];
            let given = self.model.predict(examples(scored, &self.order), RSliceMut::from_mut_slice(&mut scores));
            match answer(given) {
                Ok(()) => all.add(scored, &self.order, &scores),
                Err(LoadError::Refused(why)) if why == NO_PREDICTIONS => predicted = None,
                Err(error) => return Err(Failure::model(error)),
            }
        }
        Ok(Evaluated { blocks, parts: predicted.map_or_else(Vec::new, Predicted::into_parts) })
    }
}

/// Returns the rows of a block of the examples in `scored`.
fn rows(block: u32, scored: Range<usize>) -> Result<Range<u32>, Failure> {
    let start = scored.start + block as usize * EVALUATION_BLOCK;
    let end = (start + EVALUATION_BLOCK).min(scored.end);
    if start >= end {
        let all = counted(scored.len(), "example");
        return Err(protocol(format!("block {block} is beyond the {all} that are scored")));
    }
    Ok(start as u32..end as u32)
}

impl Predicted {
    fn new(classes: usize, asked: Predictions) -> Self {
        let has_scores = asked == Predictions::Scores && classes == 2;
        match asked {
            Predictions::Outputs => Self::Outputs(Vec::new()),
            Predictions::Confusion | Predictions::Scores => {
                Self::Counts { confusion: vec![0; classes * classes], scores: has_scores.then(Default::default) }
            }
        }
    }

    /// Adds the examples in these rows, whose outputs are `given`: (rows, classes).
    fn add(&mut self, partition: &Partition, rows: &[u32], given: &[f32]) {
        let (confusion, scores) = match self {
            Self::Outputs(all) => return all.extend_from_slice(given),
            Self::Counts { confusion, scores } => (confusion, scores),
        };
        let classes = confusion.len().isqrt();
        for (&row, given) in rows.iter().zip(given.chunks_exact(classes)) {
            let label = partition.labels()[row as usize] as usize;
            confusion[label * classes + predicted_class(given)] += 1;
            if let Some(by_label) = scores {
                by_label[label].push(given[1] - given[0]);
            }
        }
    }

    fn into_parts(self) -> Vec<(String, PartData)> {
        let (confusion, scores) = match self {
            Self::Outputs(all) => return vec![(OUTPUTS.to_owned(), PartData::F32(all))],
            Self::Counts { confusion, scores } => (confusion, scores),
        };
        let scores = SCORES.into_iter().zip(scores.into_iter().flatten());
        let scores = scores.map(|(name, scores)| (name.to_owned(), PartData::F32(scores)));
        [(CONFUSION.to_owned(), PartData::U32(confusion))].into_iter().chain(scores).collect()
    }
}

/// Returns the class with the greatest score; of equal ones the lowest class.
fn predicted_class(scores: &[f32]) -> usize {
    (1..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_scores_the_lowest_class_is_predicted() {
        assert_eq!([&[1.0, 1.0][..], &[0.0, 2.0, 2.0], &[-3.0], &[-2.0, -1.0]].map(predicted_class), [0, 1, 0, 1]);
    }
}
