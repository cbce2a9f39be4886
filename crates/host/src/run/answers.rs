//! Checks the replies of clients and strategy programs, which the host does not trust.

pub(crate) mod steps;
pub(crate) mod update_norm;

use std::ops::Range;

use fedpipe_data::counted;
use fedpipe_protocol::{
    MOMENTUM, PartData, Parts, RESIDUAL, Reply, Request, SCORED_ROWS, ScoreStart, Train, Update, WEIGHTS,
};
use fedpipe_spec::error::Error;
use fedpipe_strategy::{
    range::{GREATEST_OF_A_CLIENT, first_beyond, shown},
    transform::chain::Transforms,
};

use fedpipe_record::cause::Cause;

use crate::{
    fleet::job::Job,
    run::answers::{
        steps::{Accumulation, accumulation, change, steps},
        update_norm::{NORM, distance},
    },
};

pub(super) type CheckedAnswer = Result<(), Cause>;

/// The expectations that the updates of a round are compared with.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    /// The number of weights.
    pub(crate) weights: usize,
    /// The examples of each client.
    pub(crate) sizes: &'a [u64],
    /// The ranges of the local tensors.
    pub(crate) local: &'a [Range<usize>],
    /// The bounds of ‖a‖₁, if the strategy divides by it.
    pub(crate) accumulation: Option<&'a Accumulation>,
    /// The advice where training left the range of numbers.
    pub(crate) remedy: &'a str,
}

/// Checks that an update is the one that was asked for, from all of the client's examples, and finite.
pub(crate) fn update(job: &Job, reply: &Reply, parts: &mut Parts, expected: &Expected<'_>) -> CheckedAnswer {
    let (Reply::Update(update), Request::Train(train)) = (reply, &job.request) else {
        return Err(Cause::protocol(format!("it answered a request to train with {:?}", reply.kind())));
    };
    let Update { client, round, loss_sum, examples, correct, scored, .. } = *update;
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
    if correct > scored || scored > examples {
        let examples = counted(examples, "example");
        return Err(Cause::rejected(format!("it says that it scored {scored} of {examples} and predicted {correct}")));
    }
    steps(train, update)?;
    expected.accumulation.map_or(Ok(()), |bounds| accumulation(train, update, bounds))?;
    if !is_loss_sum(loss_sum, scored) {
        let why = if loss_sum.is_nan() { "not finite".into() } else { format!("{loss_sum:e}") };
        return Err(Cause::rejected(format!("its training loss is {why}; {}", expected.remedy)));
    }
    start_score(train, update)?;
    vectors(train, job, parts, expected)?;
    change(job, update, parts, expected)?;
    add_norm(job, parts, expected);
    Ok(())
}

/// Checks the answer of a client that was asked for the loss of the weights alone: nothing was trained.
pub(crate) fn scored(job: &Job, reply: &Reply, parts: &mut Parts, expected: &Expected<'_>) -> CheckedAnswer {
    let (Reply::Update(update), Request::Train(train)) = (reply, &job.request) else {
        return Err(Cause::protocol(format!("it answered a request to train with {:?}", reply.kind())));
    };
    let (client, round, held) = (train.client, train.round, expected.sizes[train.client as usize]);
    if (update.client, update.round, update.steps) != (client, round, 0) || update.examples != held {
        return Err(Cause::rejected(format!(
            "it answered with {} of client {} in round {} over {}, expected 0 steps of client {client} in round {round} \
             over {held}",
            counted(update.steps, "step"),
            update.client,
            update.round,
            counted(update.examples, "example"),
        )));
    }
    start_score(train, update)?;
    only(parts, &[WEIGHTS])
}

/// Adds the length of the update, while the caches have the weights.
fn add_norm(job: &Job, parts: &mut Parts, expected: &Expected<'_>) {
    let norm = parts.iter().find_map(|(name, data)| match data {
        PartData::F32(weights) if name == WEIGHTS => Some(distance(weights, &job.start(expected.local))),
        _ => None,
    });
    parts.set(NORM, PartData::F32(norm.into_iter().collect()));
}

/// Checks the parts of an update, and replaces an encoded change by the weights that it leads to.
fn vectors(train: &Train, job: &Job, parts: &mut Parts, expected: &Expected<'_>) -> CheckedAnswer {
    let transforms =
        Transforms::of_texts(&train.transforms).map_err(|error: Error| Cause::protocol(error.to_string()))?;
    let slots: Vec<String> = slots_of(job).map(|(_, name)| name).collect();
    let residual = transforms.has_residual().then_some(RESIDUAL);
    let momentum = train.keeps_momentum.then_some(MOMENTUM);
    let mut known: Vec<&str> = slots.iter().map(String::as_str).chain(residual).chain(momentum).collect();
    if !transforms.is_empty() {
        let change = transforms.decode(parts, expected.weights);
        let change = change.map_err(|why| Cause::protocol(format!("its update: {why}")))?;
        only(parts, &known)?;
        let start = job.start(expected.local);
        let weights = start.iter().zip(change).map(|(before, change)| before + change).collect();
        parts.set(WEIGHTS, PartData::F32(weights));
    }
    known.insert(0, WEIGHTS);
    only(parts, &known)?;
    known.iter().try_for_each(|name| vector(parts, name, expected.weights, expected.remedy))
}

/// Returns the phases of a request that are no update, with the names of the parts of their weights.
pub(crate) fn slots_of(job: &Job) -> impl Iterator<Item = (usize, String)> {
    let phases = if let Request::Train(train) = &job.request { &train.phases[..] } else { &[] };
    let slots = phases.iter().enumerate().filter(|(_, phase)| !phase.update);
    slots.map(|(index, _)| (index, format!("slot/{index}")))
}

/// Checks that the received weights were scored if that was asked for, on as many rows.
fn start_score(train: &Train, update: &Update) -> CheckedAnswer {
    let rows = match train.score_start {
        None if update.start.is_none() => return Ok(()),
        None => return Err(Cause::protocol("it scored the weights that it received, which was not asked for")),
        Some(ScoreStart::All) => update.examples,
        Some(ScoreStart::Rows) => update.examples.min(SCORED_ROWS as u64),
    };
    match update.start {
        Some(start) if start.examples == rows && is_loss_sum(start.loss_sum, rows) => Ok(()),
        start => Err(Cause::rejected(format!(
            "it scored the weights that it received as {start:?}, expected a finite loss over {}",
            counted(rows, "row")
        ))),
    }
}

/// Checks that the payload has weights, as many as expected, each a number of at most [`GREATEST_OF_A_CLIENT`].
pub(crate) fn weights(parts: &Parts, expected: usize, remedy: &str) -> CheckedAnswer {
    vector(parts, WEIGHTS, expected, remedy)
}

/// Checks that the payload has the part `name` with as many weights as expected, each a number of at most
/// [`GREATEST_OF_A_CLIENT`].
fn vector(parts: &Parts, part: &str, expected: usize, remedy: &str) -> CheckedAnswer {
    let weights = parts.iter().find_map(|(name, data)| match data {
        PartData::F32(values) if name == part => Some(values),
        _ => None,
    });
    let Some(weights) = weights else {
        return Err(Cause::protocol(format!("its answer has no part {part:?}")));
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
pub(crate) fn only(parts: &Parts, known: &[&str]) -> CheckedAnswer {
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
pub(super) fn is_loss_sum(sum: f64, examples: u64) -> bool {
    sum.abs() <= examples as f64 * f64::from(f32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fedpipe_protocol::{LOCAL, Limits, Part, Phase, StartScore, read, write};

    use super::*;

    fn job(request: Request) -> Job {
        Job { slot: 0, client: None, request, weights: None, parts: Vec::new(), only_scores: false }
    }

    /// Returns a reply with these parts, as the host reads it.
    fn answer(reply: &Reply, parts: &[Part<'_>]) -> (Reply, Parts) {
        let mut bytes = Vec::new();
        write(&mut bytes, reply, parts).unwrap();
        read(&mut bytes.as_slice(), Limits::reply(100)).unwrap()
    }

    /// The expectations for a client with nine examples.
    const EXPECTED: Expected<'_> =
        Expected { weights: 2, sizes: &[9], local: &[], accumulation: None, remedy: "lower it" };

    /// Returns the refusal of an update.
    fn refusal(train: Train, update: Update) -> Option<String> {
        let (reply, mut parts) = answer(&Reply::Update(update), &[Part::F32(WEIGHTS, &[1.0, 2.0])]);
        let checked = super::update(&job(Request::Train(train)), &reply, &mut parts, &EXPECTED);
        checked.err().map(|cause| cause.to_string())
    }

    #[test]
    fn an_update_has_the_numbers_that_the_strategy_needs() {
        let (train, update) = (Train::plain(0, 1), Update::plain(0, 1, 9));
        assert_eq!(refusal(train.clone(), update.clone()), None);
        for (steps, scored) in [(0, 9), (101, 9), (1 << 63, 9), (1, 0)] {
            let why = refusal(train.clone(), Update { steps, scored, ..update.clone() }).unwrap();
            assert!(why.contains("expected 1 to 100 steps"), "{why}");
        }
        let limited = Train { phases: vec![Phase { steps: Some(3), ..Phase::plain(9) }], ..train.clone() };
        assert_eq!(refusal(limited.clone(), Update { steps: 3, ..update.clone() }), None);
        assert!(refusal(limited, Update { steps: 4, ..update.clone() }).is_some());
        let unrequested = Update { start: Some(StartScore { loss_sum: 1.0, examples: u64::MAX }), ..update.clone() };
        assert!(refusal(train.clone(), unrequested).unwrap().contains("which was not asked for"));
        let scored = Update { scored: 10, ..update.clone() };
        assert!(refusal(train.clone(), scored).unwrap().contains("it scored 10 of 9 examples"));
        let asked = Train { score_start: Some(ScoreStart::Rows), ..train };
        let start = |loss_sum, examples| Update { start: Some(StartScore { loss_sum, examples }), ..update.clone() };
        assert_eq!(refusal(asked.clone(), start(3.0, 9)), None);
        for wrong in [update.clone(), start(3.0, 8), start(f64::NAN, 9)] {
            let why = refusal(asked.clone(), wrong).unwrap();
            assert!(why.contains("expected a finite loss over 9 rows"), "{why}");
        }
    }

    /// The change is added to the weights that the client started from, its own local ones among them.
    #[test]
    fn an_encoded_change_becomes_weights() {
        let train = Train { transforms: vec!["int8:bucket=4".to_owned()], ..Train::plain(0, 1) };
        let parts = vec![(LOCAL.to_owned(), Arc::new(vec![7.0]))];
        let job = Job { weights: Some(Arc::new(vec![1.0, 2.0])), parts, ..job(Request::Train(train)) };
        let encoded = [Part::U8("levels", &[127, 0]), Part::F32("scales", &[0.5])];
        let (reply, mut parts) = answer(&Reply::Update(Update::plain(0, 1, 9)), &encoded);
        let ranges = [Range { start: 1, end: 2 }];
        let local = Expected { local: &ranges, ..EXPECTED };
        super::update(&job, &reply, &mut parts, &local).unwrap();
        assert_eq!(parts.take_f32(WEIGHTS).unwrap(), [1.5, 7.0]);
        let (reply, mut parts) = answer(&Reply::Update(Update::plain(0, 1, 9)), &encoded[..1]);
        let why = super::update(&job, &reply, &mut parts, &local).unwrap_err().to_string();
        assert!(why.contains("its update: it has no part \"scales\" of the length 1"), "{why}");
    }

    #[test]
    fn a_residual_is_there_if_the_encoding_has_one_and_is_checked_as_weights_are() {
        let check = |transform: &str, more: &[Part<'_>]| {
            let train = Train { transforms: vec![transform.to_owned()], ..Train::plain(0, 1) };
            let job = Job { weights: Some(Arc::new(vec![1.0, 2.0])), ..job(Request::Train(train)) };
            let encoded = [Part::U32("indices", &[1]), Part::F32("values", &[0.5])];
            let (reply, mut parts) = answer(&Reply::Update(Update::plain(0, 1, 9)), &[&encoded, more].concat());
            let checked = super::update(&job, &reply, &mut parts, &EXPECTED).map_err(|cause| cause.to_string());
            checked.map(|()| (parts.take_f32(WEIGHTS).unwrap(), parts.take_f32("residual")))
        };
        let left = Part::F32("residual", &[0.25, 0.0]);
        assert_eq!(check("topk:0.5", &[left]), Ok((vec![1.0, 2.5], Some(vec![0.25, 0.0]))));
        assert_eq!(check("topk:fraction=0.5,feedback=false", &[]), Ok((vec![1.0, 2.5], None)));
        let cases: [(&str, &[Part<'_>], &str); 6] = [
            ("topk:0.5", &[], "its answer has no part \"residual\""),
            ("topk:0.5", &[Part::F32("residual", &[0.25])], "it has 1 weight, expected 2"),
            ("topk:0.5", &[Part::F32("residual", &[0.25, f32::INFINITY])], "weight 1 is inf; lower it"),
            ("topk:0.5", &[left, left], "its answer has the part \"residual\" twice"),
            ("topk:fraction=0.5,feedback=false", &[left], "the part \"residual\", which was not asked for"),
            (
                "topk:fraction=0.5,feedback=false",
                &[Part::F32(WEIGHTS, &[1.0, 2.0])],
                "\"weights\", which was not asked for",
            ),
        ];
        for (transform, more, expected) in cases {
            let why = check(transform, more).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn a_momentum_is_there_if_it_is_kept_and_is_checked_as_weights_are() {
        let check = |keeps_momentum, momentum: &[Part<'_>]| {
            let job = job(Request::Train(Train { keeps_momentum, ..Train::plain(0, 1) }));
            let parts = [&[Part::F32(WEIGHTS, &[1.0, 2.0])], momentum].concat();
            let (reply, mut parts) = answer(&Reply::Update(Update::plain(0, 1, 9)), &parts);
            super::update(&job, &reply, &mut parts, &EXPECTED).map_err(|cause| cause.to_string())
        };
        assert_eq!(check(true, &[Part::F32(MOMENTUM, &[3.0, 4.0])]), Ok(()));
        let cases: [(_, &[Part<'_>], _); 3] = [
            (true, &[], "its answer has no part \"momentum\""),
            (true, &[Part::F32(MOMENTUM, &[3.0, f32::NAN])], "weight 1 is NaN"),
            (false, &[Part::F32(MOMENTUM, &[3.0, 4.0])], "the part \"momentum\", which was not asked for"),
        ];
        for (keeps, momentum, expected) in cases {
            let why = check(keeps, momentum).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    /// A phase that is no update has its weights in a part of its own.
    #[test]
    fn the_weights_of_each_phase_are_there_and_finite() {
        let phases = vec![Phase { update: false, ..Phase::plain(1) }, Phase::plain(1)];
        let job = job(Request::Train(Train { phases, ..Train::plain(0, 1) }));
        let check = |parts: &[Part<'_>]| {
            let (reply, mut parts) = answer(&Reply::Update(Update::plain(0, 1, 9)), parts);
            super::update(&job, &reply, &mut parts, &EXPECTED).map_err(|cause| cause.to_string())
        };
        let weights = Part::F32(WEIGHTS, &[1.0, 2.0]);
        assert_eq!(check(&[weights, Part::F32("slot/0", &[3.0, 4.0])]), Ok(()));
        let cases = [
            (vec![weights], "its answer has no part \"slot/0\""),
            (vec![weights, Part::F32("slot/0", &[3.0])], "it has 1 weight, expected 2"),
            (vec![weights, Part::F32("slot/0", &[3.0, f32::NAN])], "weight 1 is NaN"),
            (vec![weights, Part::F32("slot/0", &[3.0; 2]), Part::F32("slot/1", &[3.0; 2])], "\"slot/1\""),
        ];
        for (parts, expected) in cases {
            let why = check(&parts).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn losses_whose_sum_could_overflow_are_refused() {
        let job = job(Request::Train(Train::plain(0, 1)));
        let most = 9.0 * f64::from(f32::MAX);
        let cases = [
            (0.5, 9, None),
            (most, 9, None),
            (-most, 0, None),
            (1.7e308, 0, Some("its training loss is 1.7e308; lower it")),
            (-1.7e308, 0, Some("its training loss is -1.7e308; lower it")),
            (f64::NAN, 0, Some("its training loss is not finite; lower it")),
            (0.5, 10, Some("it scored 9 of 9 examples and predicted 10")),
        ];
        for (loss_sum, correct, refused) in cases {
            let update = Update { loss_sum, correct, ..Update::plain(0, 1, 9) };
            let (reply, mut parts) = answer(&Reply::Update(update), &[Part::F32(WEIGHTS, &[1.0, 2.0])]);
            let checked = super::update(&job, &reply, &mut parts, &EXPECTED);
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
