//! Checks the replies of clients and strategy programs, which the host does not trust.

use fedpipe_data::counted;
use fedpipe_protocol::{BlockSums, EVALUATION_BLOCK, PartData, Parts, Reply, Request, Update, WEIGHTS};
use fedpipe_strategy::range::{GREATEST_OF_A_CLIENT, first_beyond, shown};

use fedpipe_record::cause::Cause;

use crate::{fleet::Job, process::peer::PeerReply};

type Checked = Result<(), Cause>;

/// The expectations that the updates of a round are compared with.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    /// The number of weights.
    pub(crate) weights: usize,
    /// The examples of each client.
    pub(crate) sizes: &'a [u64],
    /// The advice for a client whose numbers are not finite or too large.
    pub(crate) remedy: &'a str,
}

/// Checks an update: it answers the request, covers all examples of the client, and its numbers are in range.
pub(crate) fn update(job: &Job, reply: &Reply, parts: &Parts, expected: &Expected<'_>) -> Checked {
    let (Reply::Update(update), Request::Train(train)) = (reply, &job.request) else {
        return Err(Cause::protocol(format!("it answered a request to train with {}", reply.name())));
    };
    let Update { client, round, loss_sum, examples, correct, .. } = *update;
    if (client, round) != (train.client, train.round) {
        return Err(Cause::protocol(format!(
            "it answered for client {client} in round {round}, expected an update of client {} for round {}",
            train.client, train.round
        )));
    }
    let held = expected.sizes[train.client as usize];
    if examples != held {
        return Err(Cause::rejected(format!(
            "it says it trained on {}, but holds {held}",
            counted(examples, "example")
        )));
    }
    if correct > examples {
        let examples = counted(examples, "example");
        return Err(Cause::rejected(format!("it says that it predicted {correct} of {examples}")));
    }
    if !is_loss_sum(loss_sum, examples) {
        let why = if loss_sum.is_nan() { "not finite".into() } else { format!("{loss_sum:e}") };
        return Err(Cause::rejected(format!("its training loss is {why}; {}", expected.remedy)));
    }
    only(parts, &[WEIGHTS])?;
    weights(parts, expected.weights, expected.remedy)
}

/// Checks that a reply has `expected` weights, each of at most [`GREATEST_OF_A_CLIENT`] in size.
pub(crate) fn weights(parts: &Parts, expected: usize, remedy: &str) -> Checked {
    let weights = parts.iter().find_map(|(name, data)| match data {
        PartData::F32(values) if name == WEIGHTS => Some(values),
        _ => None,
    });
    let Some(weights) = weights else {
        return Err(Cause::protocol("its answer has no part \"weights\""));
    };
    if weights.len() != expected {
        return Err(Cause::rejected(format!("it has {}, expected {expected}", counted(weights.len(), "weight"))));
    }
    match first_beyond(weights, GREATEST_OF_A_CLIENT) {
        Some(index) => Err(Cause::rejected(format!("weight {index} is {}; {remedy}", shown(weights[index])))),
        None => Ok(()),
    }
}

/// Checks that a reply has no part except the `known` ones, and none of them twice.
pub(crate) fn only(parts: &Parts, known: &[&str]) -> Checked {
    let mut names: Vec<&str> = parts.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        return Err(Cause::protocol(format!("its answer has the part {name:?}, which was not asked for")));
    }
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Cause::protocol(format!("its answer has the part {:?} twice", pair[0]))),
        None => Ok(()),
    }
}

/// Returns `true` if `sum` can be the loss of so many examples. The loss of one example is at most the greatest f32, so
/// that no sum over clients or blocks overflows.
fn is_loss_sum(sum: f64, examples: u64) -> bool {
    sum.abs() <= examples as f64 * f64::from(f32::MAX)
}

/// Checks the sums of an evaluation: they are of the requested blocks, and each of them is possible.
pub(crate) fn blocks(job: &Job, reply: &Reply, parts: &Parts, test_examples: u64, remedy: &str) -> Checked {
    let (Reply::Evaluated { blocks }, Request::Evaluate(asked)) = (reply, &job.request) else {
        return Err(Cause::protocol(format!("it answered a request to evaluate with {}", reply.name())));
    };
    only(parts, &[])?;
    if !blocks.iter().map(|sums| sums.block).eq(asked.blocks.iter().copied()) {
        return Err(Cause::protocol("it evaluated other blocks than the requested ones"));
    }
    blocks.iter().try_for_each(|sums| {
        let &BlockSums { block, loss_sum, correct, examples } = sums;
        let start = u64::from(block) * EVALUATION_BLOCK as u64;
        let n = (test_examples - start).min(EVALUATION_BLOCK as u64);
        if examples != n || correct > n {
            return Err(Cause::rejected(format!(
                "its sums for block {block} have {} and {correct} correct, expected {n}",
                counted(examples, "example")
            )));
        }
        if !is_loss_sum(loss_sum, examples) {
            return Err(Cause::rejected(format!(
                "the global weights have a loss of {loss_sum:e} on block {block} of the test set; {remedy}"
            )));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::{Evaluate, Limits, Part, Train, read, write};

    use super::*;

    fn job(request: Request) -> Job {
        Job { slot: 0, client: None, request, weights: None }
    }

    /// Returns a reply with these parts, as the host reads it.
    fn answer(reply: &Reply, parts: &[Part<'_>]) -> (Reply, Parts) {
        let mut bytes = Vec::new();
        write(&mut bytes, reply, parts).unwrap();
        read(&mut bytes.as_slice(), Limits { payload: 100 }).unwrap()
    }

    #[test]
    fn losses_whose_sum_could_overflow_are_refused() {
        let optimiser = String::new();
        let train = Train { client: 0, round: 1, epochs: 1, batch_size: 1, learning_rate: 0.1, optimiser };
        let job = job(Request::Train(train));
        let expected = Expected { weights: 2, sizes: &[9], remedy: "lower it" };
        let most = 9.0 * f64::from(f32::MAX);
        let cases = [
            (0.5, 9, None),
            (most, 9, None),
            (-most, 0, None),
            (1.7e308, 0, Some("its training loss is 1.7e308; lower it")),
            (-1.7e308, 0, Some("its training loss is -1.7e308; lower it")),
            (f64::NAN, 0, Some("its training loss is not finite; lower it")),
            (0.5, 10, Some("it predicted 10 of 9 examples")),
        ];
        for (loss_sum, correct, refused) in cases {
            let update = Update { client: 0, round: 1, steps: 9, accumulation: None, loss_sum, correct, examples: 9 };
            let (reply, parts) = answer(&Reply::Update(update), &[Part::F32(WEIGHTS, &[1.0, 2.0])]);
            let checked = super::update(&job, &reply, &parts, &expected);
            match refused {
                None => assert_eq!(checked, Ok(()), "{loss_sum}"),
                Some(why) => assert!(checked.unwrap_err().to_string().contains(why), "{loss_sum}"),
            }
        }
        // As many clients as there can be, each with the greatest loss.
        let greatest = f64::from(u32::MAX) * f64::from(f32::MAX);
        assert!(is_loss_sum(greatest, u64::from(u32::MAX)) && (greatest * f64::from(u32::MAX)).is_finite());
    }

    #[test]
    fn blocks_whose_sum_could_overflow_are_refused() {
        let job = job(Request::Evaluate(Evaluate { blocks: vec![0, 1] }));
        let check = |loss_sum| {
            let sums = |block, examples| BlockSums { block, loss_sum, correct: 0, examples };
            let (reply, parts) = answer(&Reply::Evaluated { blocks: vec![sums(0, 500), sums(1, 200)] }, &[]);
            blocks(&job, &reply, &parts, 700, "lower it").map_err(|cause| cause.to_string())
        };
        assert_eq!(check(1e3), Ok(()));
        for loss_sum in [1.7e308, f64::NAN, f64::NEG_INFINITY] {
            let why = check(loss_sum).unwrap_err();
            assert!(why.contains("on block 0 of the test set; lower it"), "{why}");
        }
    }

    #[test]
    fn a_part_that_nobody_asked_for_is_refused_by_name() {
        let (_, parts) = answer(&Reply::Weights, &[Part::F32(WEIGHTS, &[1.0]), Part::U8("more", &[])]);
        assert!(
            only(&parts, &[WEIGHTS]).unwrap_err().to_string().contains("the part \"more\", which was not asked for")
        );
        assert_eq!(only(&parts, &[WEIGHTS, "more"]), Ok(()));
        let (_, parts) = answer(&Reply::Weights, &[Part::F32(WEIGHTS, &[1.0]), Part::F32(WEIGHTS, &[])]);
        assert!(only(&parts, &[WEIGHTS]).unwrap_err().to_string().contains("the part \"weights\" twice"));
    }
}
