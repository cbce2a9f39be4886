//! Looks at what a client answered: the host takes nothing from one on trust.

use fedpipe_protocol::{BlockSums, Data, EVALUATION_BLOCK, Parts, Reply, Request, Update, WEIGHTS};

use crate::{Cause, fleet::Job};

type Checked = Result<(), Cause>;

/// An update must be the one that was asked for, from all of the client's examples, and finite.
pub(crate) fn update(job: &Job, reply: &Reply, parts: &Parts, weight_count: usize, sizes: &[u64]) -> Checked {
    let (Reply::Update(Update { client, round, loss_sum, examples, .. }), Request::Train(train)) =
        (reply, &job.request)
    else {
        return Err(Cause::protocol("it answered a request to train with something else"));
    };
    if (*client, *round) != (train.client, train.round) {
        return Err(Cause::protocol(format!(
            "it answered for client {client} in round {round}, asked was client {} in round {}",
            train.client, train.round
        )));
    }
    if *examples != sizes[train.client as usize] {
        let held = sizes[train.client as usize];
        return Err(Cause::rejected(format!("it says it trained on {examples} examples, but holds {held}")));
    }
    if !loss_sum.is_finite() {
        return Err(Cause::rejected(format!("its training loss is {loss_sum}")));
    }
    weights(parts, Some(weight_count))
}

/// The payload must be weights, as many as expected, and none may be NaN or infinite.
pub(crate) fn weights(parts: &Parts, expected: Option<usize>) -> Checked {
    let weights = parts.iter().find_map(|(name, data)| match data {
        Data::F32(values) if name == WEIGHTS => Some(values),
        _ => None,
    });
    let Some(weights) = weights else {
        return Err(Cause::protocol("its answer has no part \"weights\""));
    };
    if let Some(expected) = expected.filter(|&n| n != weights.len()) {
        return Err(Cause::rejected(format!("it has {} weights, expected {expected}", weights.len())));
    }
    match first_not_finite(weights) {
        Some(index) => Err(Cause::rejected(format!("weight {index} is {}; try a lower --lr", weights[index]))),
        None => Ok(()),
    }
}

/// A block at a time without an early end, which is compiled to whole vectors: every update of every round is looked at.
fn first_not_finite(weights: &[f32]) -> Option<usize> {
    const BLOCK: usize = 1024;
    let bad = weights.chunks(BLOCK).position(|block| block.iter().fold(false, |bad, w| bad | !w.is_finite()))?;
    let start = bad * BLOCK;
    weights[start..].iter().position(|w| !w.is_finite()).map(|index| start + index)
}

/// The sums must be of the blocks that were asked for, and possible.
pub(crate) fn blocks(job: &Job, reply: &Reply, test_examples: u64) -> Checked {
    let (Reply::Evaluated { blocks }, Request::Evaluate(asked)) = (reply, &job.request) else {
        return Err(Cause::protocol("it answered a request to evaluate with something else"));
    };
    if !blocks.iter().map(|sums| sums.block).eq(asked.blocks.iter().copied()) {
        return Err(Cause::protocol("it evaluated other blocks than it was asked to"));
    }
    let plausible = |sums: &BlockSums| {
        let start = u64::from(sums.block) * EVALUATION_BLOCK as u64;
        let n = (test_examples - start).min(EVALUATION_BLOCK as u64);
        sums.examples == n && sums.correct <= n && sums.loss_sum.is_finite()
    };
    match blocks.iter().find(|sums| !plausible(sums)) {
        Some(sums) => Err(Cause::rejected(format!("its sums for block {} cannot be: {sums:?}", sums.block))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::first_not_finite;

    #[test]
    fn the_first_that_is_not_finite_is_found_wherever_it_is() {
        let mut weights = vec![1.0_f32; 3000];
        assert_eq!(first_not_finite(&weights), None);
        for (index, value) in [(2999, f32::NAN), (1024, f32::INFINITY), (1023, f32::NEG_INFINITY), (0, f32::NAN)] {
            weights[index] = value;
            assert_eq!(first_not_finite(&weights), Some(index));
        }
    }
}
