//! Checks the replies to requests to evaluate, which the host does not trust.

use fedpipe_data::counted;
use fedpipe_protocol::{
    BlockSums, CONFUSION, EVALUATION_BLOCK, Evaluate, OUTPUTS, PartData, Parts, Predictions, Reply, Request, SCORES,
    Target,
};
use fedpipe_record::cause::Cause;

use crate::{
    fleet::job::Job,
    run::{
        answers::{CheckedAnswer, is_loss_sum, only},
        real_target,
    },
};

/// The expectations that an evaluation is compared with.
#[derive(Debug)]
pub(crate) struct ExpectedScores<'a> {
    /// The number of all examples of the test set, or of those that a client holds out.
    pub(crate) examples: u64,
    pub(crate) target: Target,
    /// The advice where training left the range of numbers.
    pub(crate) remedy: &'a str,
}

/// Checks an evaluation: the sums are of the requested blocks, each of them is possible, and the predictions are of as
/// many examples.
pub(crate) fn evaluated(job: &Job, reply: &Reply, parts: &Parts, expected: &ExpectedScores<'_>) -> CheckedAnswer {
    let (Reply::Evaluated { blocks }, Request::Evaluate(asked)) = (reply, &job.request) else {
        return Err(Cause::protocol(format!("it answered a request to evaluate with {:?}", reply.kind())));
    };
    if !blocks.iter().map(|sums| sums.block).eq(asked.blocks.iter().copied()) {
        return Err(Cause::protocol("it evaluated other blocks than the requested ones"));
    }
    let scored =
        asked.client.map_or("the test set".into(), |client| format!("the held-out examples of client {client}"));
    blocks.iter().try_for_each(|sums| possible(sums, &scored, expected))?;
    real_target::check(blocks, &scored, expected)?;
    predictions(asked, parts, blocks.iter().map(|sums| sums.examples).sum(), expected.target)
}

fn possible(sums: &BlockSums, scored: &str, expected: &ExpectedScores<'_>) -> CheckedAnswer {
    let &BlockSums { block, loss_sum, correct, examples, .. } = sums;
    let start = u64::from(block) * EVALUATION_BLOCK as u64;
    let n = (expected.examples - start).min(EVALUATION_BLOCK as u64);
    if examples != n || correct > n {
        return Err(Cause::rejected(format!(
            "its sums for block {block} have {} and {correct} correct, expected {n}",
            counted(examples, "example")
        )));
    }
    if !is_loss_sum(loss_sum, examples) {
        return Err(Cause::rejected(format!(
            "the global weights have a loss of {loss_sum:e} on block {block} of {scored}; {}",
            expected.remedy
        )));
    }
    Ok(())
}

/// Checks the parts of an evaluation of so many examples. A model that does not predict has none.
fn predictions(asked: &Evaluate, parts: &Parts, examples: u64, target: Target) -> CheckedAnswer {
    let Some(predictions) = asked.predictions.filter(|_| !parts.is_empty()) else { return only(parts, &[]) };
    if predictions == Predictions::Outputs {
        return outputs(parts, examples, target);
    }
    let classes = if let Target::Classes(classes) = target { classes } else { 0 };
    let has_scores = predictions == Predictions::Scores && classes == 2;
    let names: &[&str] = if has_scores { &[CONFUSION, SCORES[0], SCORES[1]] } else { &[CONFUSION] };
    only(parts, names)?;
    let find = |wanted: &str| parts.iter().find_map(|(name, data)| (name == wanted).then_some(data));
    let counts = match find(CONFUSION) {
        Some(PartData::U32(counts)) if counts.len() == classes * classes => counts,
        _ => return Err(Cause::protocol(format!("its answer has no confusion matrix of {classes} classes"))),
    };
    let total: u64 = counts.iter().copied().map(u64::from).sum();
    if total != examples {
        let expected = counted(examples, "example");
        return Err(Cause::rejected(format!("its confusion matrix has {total} of {expected}")));
    }
    let labels = counts.chunks(classes).map(|row| row.iter().copied().map(u64::from).sum::<u64>());
    labels.zip(names.iter().skip(1)).try_for_each(|(labelled, name)| match find(name) {
        Some(PartData::F32(scores))
            if scores.len() as u64 == labelled && !scores.iter().any(|score| score.is_nan()) =>
        {
            Ok(())
        }
        _ => Err(Cause::rejected(format!(
            "its part {name:?} has no number for each of {}",
            counted(labelled, "example")
        ))),
    })
}

/// Checks the outputs of so many examples.
fn outputs(parts: &Parts, examples: u64, target: Target) -> CheckedAnswer {
    only(parts, &[OUTPUTS])?;
    let width = if let Target::Classes(classes) = target { classes as u64 } else { 1 };
    let is_whole = |data: &PartData| match data {
        PartData::F32(values) => values.len() as u64 == examples * width && !values.iter().any(|value| value.is_nan()),
        PartData::U8(_) | PartData::U32(_) => false,
    };
    if parts.iter().any(|(_, data)| is_whole(data)) {
        return Ok(());
    }
    Err(Cause::rejected(format!(
        "its part \"outputs\" has no {} for each of {}",
        counted(width, "number"),
        counted(examples, "example")
    )))
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::{Limits, Part, read, write};

    use super::*;

    /// Returns the refusal of a reply with these parts to a request, of which 700 examples are scored.
    fn refusal(asked: Evaluate, blocks: &[(u32, f64, u64)], parts: &[Part<'_>]) -> Option<String> {
        let sums = |&(block, loss_sum, examples)| BlockSums { block, loss_sum, correct: 0, examples, regression: None };
        let reply = Reply::Evaluated { blocks: blocks.iter().map(sums).collect() };
        let mut bytes = Vec::new();
        write(&mut bytes, &reply, parts).unwrap();
        let (reply, parts): (Reply, Parts) = read(&mut bytes.as_slice(), Limits::reply(2000)).unwrap();
        let job = Job {
            slot: 0,
            client: None,
            request: Request::Evaluate(asked),
            weights: None,
            parts: Vec::new(),
            only_scores: false,
        };
        let expected = ExpectedScores { examples: 700, target: Target::Classes(2), remedy: "lower it" };
        evaluated(&job, &reply, &parts, &expected).err().map(|cause| cause.to_string())
    }

    #[test]
    fn blocks_whose_sum_could_overflow_are_refused() {
        let check = |asked: Evaluate, loss_sum| refusal(asked, &[(0, loss_sum, 500), (1, loss_sum, 200)], &[]);
        let test = || Evaluate::test(vec![0, 1]);
        assert_eq!(check(test(), 1e3), None);
        assert_eq!(check(Evaluate::held_out(3, 700), 1e3), None);
        for loss_sum in [1.7e308, f64::NAN, f64::NEG_INFINITY] {
            let why = check(test(), loss_sum).unwrap();
            assert!(why.contains("on block 0 of the test set; lower it"), "{why}");
            let why = check(Evaluate::held_out(3, 700), loss_sum).unwrap();
            assert!(why.contains("on block 0 of the held-out examples of client 3; lower it"), "{why}");
        }
    }

    #[test]
    fn predictions_are_of_the_examples_that_were_scored() {
        let asked = |predictions| Evaluate { predictions, ..Evaluate::test(vec![1]) };
        let check = |predictions, parts: &[Part<'_>]| refusal(asked(predictions), &[(1, 1.0, 200)], parts);
        let confusion = Part::U32(CONFUSION, &[100, 98, 1, 1]);
        let many = [0.5; 198];
        let scores = [confusion, Part::F32(SCORES[0], &many), Part::F32(SCORES[1], &[f32::INFINITY, -1.0])];
        let (plain, scored) = (Some(Predictions::Confusion), Some(Predictions::Scores));
        assert_eq!(check(plain, &[confusion]), None);
        assert_eq!(check(scored, &[]), None, "the model does not predict");
        let nan = [confusion, Part::F32(SCORES[0], &many), Part::F32(SCORES[1], &[f32::NAN, 0.0])];
        let numbers = [0.5; 400];
        assert_eq!(check(Some(Predictions::Outputs), &[Part::F32(OUTPUTS, &numbers)]), None);
        assert_eq!(check(Some(Predictions::Outputs), &[]), None, "the model does not predict");
        let outputs = Some(Predictions::Outputs);
        let cases: [(Option<Predictions>, &[Part<'_>], &str); 10] = [
            (outputs, &[Part::F32(OUTPUTS, &many)], "\"outputs\" has no 2 numbers for each of 200 examples"),
            (outputs, &[Part::F32(OUTPUTS, &[f32::NAN; 400])], "\"outputs\" has no 2 numbers"),
            (outputs, &[confusion], "the part \"confusion\", which was not asked for"),
            (None, &[confusion], "the part \"confusion\", which was not asked for"),
            (plain, &scores, "the part \"scores/0\", which was not asked for"),
            (plain, &[Part::U32(CONFUSION, &[200])], "no confusion matrix of 2 classes"),
            (plain, &[Part::U32(CONFUSION, &[100, 98, 1, 0])], "its confusion matrix has 199 of 200 examples"),
            (scored, &[confusion], "its part \"scores/0\" has no number for each of 198 examples"),
            (scored, &nan, "its part \"scores/1\" has no number for each of 2 examples"),
            (scored, &[confusion, scores[1], Part::F32(SCORES[1], &[0.5])], "\"scores/1\" has no number for each of 2"),
        ];
        for (predictions, parts, expected) in cases {
            let why = check(predictions, parts).unwrap();
            assert!(why.contains(expected), "{why}");
        }
    }
}
