//! Checks the steps of an update, and ‖a‖₁ after them: a strategy may weigh by the former and divide by the latter.

use fedpipe_data::counted;
use fedpipe_protocol::{PartData, Parts, Phase, Train, Update, WEIGHTS};
use fedpipe_record::cause::Cause;
use fedpipe_strategy::{
    local_optimiser::LocalOptimiser,
    range::{GREATEST_CHANGE, shown},
};

use crate::{
    fleet::job::Job,
    run::answers::{CheckedAnswer, Expected},
};

/// The bounds of ‖a‖₁ where the strategy divides by it.
#[derive(Debug)]
pub(crate) struct Accumulation {
    /// The local optimiser.
    pub(crate) optimiser: LocalOptimiser,
    /// The greatest ‖a‖₁ that a client of the run can report, if the aggregator multiplies the changes of the others
    /// by it.
    pub(crate) factor: Option<f64>,
}

impl Accumulation {
    /// Returns the bounds for clients that do at most so many steps.
    pub(crate) fn new(optimiser: LocalOptimiser, multiplies: bool, most_steps: u64) -> Self {
        let greatest = || optimiser.accumulation(most_steps, 0.0).map(|range| *range.end());
        let factor = multiplies.then(greatest).flatten();
        Self { optimiser, factor }
    }
}

/// Returns the most steps of a phase over a partition. A model may pass over a mini-batch more than once, as a solver
/// does that looks for a minimum.
pub(crate) fn most_steps(phase: &Phase, examples: u64, batch_size: u64) -> u64 {
    const PASSES: u64 = 100;
    let batches = examples.div_ceil(batch_size);
    let all = phase.epochs.saturating_mul(batches).saturating_mul(PASSES);
    phase.steps.map_or(all, |limit| limit.clamp(0, all))
}

/// Returns the phase that is the update.
fn updating(train: &Train) -> Option<&Phase> {
    train.phases.iter().rev().find(|phase| phase.update)
}

/// Checks that the update is from as many steps as the request allows, at least one.
pub(super) fn steps(train: &Train, update: &Update) -> CheckedAnswer {
    let Update { steps, examples, scored, .. } = *update;
    let batch_size = |phase: &Phase| phase.batch_size.unwrap_or(train.batch_size);
    let most = updating(train).map_or(0, |phase| most_steps(phase, examples, batch_size(phase)));
    if !(1..=most).contains(&steps) || scored == 0 {
        return Err(Cause::rejected(format!(
            "it says it did {} and scored {}, expected 1 to {most} steps",
            counted(steps, "step"),
            counted(scored, "example")
        )));
    }
    Ok(())
}

/// Checks ‖a‖₁, by which the strategy divides: the local optimiser of the request can have it after so many steps.
pub(super) fn accumulation(train: &Train, update: &Update, bounds: &Accumulation) -> CheckedAnswer {
    /// The share by which the rounding of a client may differ.
    const ROUNDING: f64 = 1e-6;
    let (&Update { steps, accumulation, .. }, optimiser) = (update, &bounds.optimiser);
    let pull = updating(train).map_or(0.0, |phase| f64::from(train.learning_rate) * f64::from(phase.proximal));
    let range = optimiser.accumulation(steps, pull).unwrap_or(f64::NAN..=f64::NAN);
    let (least, most) = range.into_inner();
    let fits = |a: f64| a >= least * (1.0 - ROUNDING) && a <= most * (1.0 + ROUNDING);
    if accumulation.is_some_and(fits) {
        return Ok(());
    }
    Err(Cause::rejected(format!(
        "it reports the accumulation {accumulation:?} of {}, by which the strategy divides; {optimiser} has {least} to \
         {most}",
        counted(steps, "step")
    )))
}

/// Checks the change of the weights where the aggregator divides it by the client's ‖a‖₁ and multiplies it by those of
/// others. Without the bound, two clients whose numbers are possible each could move the global weights out of range
/// within some rounds, and end the run instead of themselves.
pub(super) fn change(job: &Job, update: &Update, parts: &Parts, expected: &Expected<'_>) -> CheckedAnswer {
    let factor = expected.accumulation.and_then(|bounds| bounds.factor).zip(update.accumulation);
    let Some(factor) = factor.map(|(greatest, own)| greatest / own) else { return Ok(()) };
    let most = (GREATEST_CHANGE / factor) as f32;
    let weights = parts.iter().find_map(|(name, data)| match data {
        PartData::F32(values) if name == WEIGHTS => Some(values),
        _ => None,
    });
    let start = job.start(expected.local);
    let mut changes = start.iter().zip(weights.into_iter().flatten()).map(|(before, after)| after - before);
    match changes.position(|change| change.abs() > most) {
        Some(index) => Err(Cause::rejected(format!(
            "weight {index} changed by more than {}, which the strategy may multiply by {factor}; {}",
            shown(most),
            expected.remedy
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fedpipe_protocol::{Reply, Request};
    use fedpipe_strategy::{
        closed_round::{ClientUpdate, ClosedRound, order_key},
        range::GREATEST_OF_A_CLIENT,
        slots::Slots,
        strategy::Strategy,
        vector_math::OneCore,
    };

    use super::*;
    use crate::run::answers;

    /// Returns the refusal of an update of client 0 of two, which holds nine examples.
    fn refusal(job: &Job, update: &Update, weight: f32, bounds: Option<&Accumulation>) -> Option<String> {
        let mut parts = Parts::default();
        parts.set(WEIGHTS, PartData::F32(vec![weight]));
        let expected = Expected { weights: 1, sizes: &[9, 320], local: &[], accumulation: bounds, remedy: "lower it" };
        let checked = answers::update(job, &Reply::Update(update.clone()), &mut parts, &expected);
        checked.err().map(|cause| cause.to_string())
    }

    fn job(client: u32, weight: f32, phase: Phase) -> Job {
        let request = Request::Train(Train { phases: vec![phase], ..Train::plain(client, 1) });
        Job {
            slot: 0,
            client: None,
            request,
            weights: Some(Arc::new(vec![weight])),
            parts: Vec::new(),
            only_scores: false,
        }
    }

    fn bounds(optimiser: &str, multiplies: bool) -> Accumulation {
        Accumulation::new(optimiser.parse().unwrap(), multiplies, most_steps(&Phase::plain(1), 320, 32))
    }

    /// A value at an end of what the local optimiser can have is taken, and one beyond it is not.
    #[test]
    fn the_accumulation_is_one_that_the_local_optimiser_can_have() {
        let check = |optimiser, proximal, accumulation| {
            let job = job(0, 1.0, Phase { proximal, ..Phase::plain(1) });
            let update = Update { steps: 4, accumulation, ..Update::plain(0, 1, 9) };
            assert_eq!(refusal(&job, &update, 1.0, None), None, "a strategy that does not divide takes any");
            refusal(&job, &update, 1.0, Some(&bounds(optimiser, false)))
        };
        // At the rate 0.1, μ = 2 takes the share 0.2 of each step.
        let pulled = (1.0 - 0.8_f64 * 0.8 * 0.8 * 0.8) / 0.2;
        for (optimiser, proximal, taken, refused) in [
            ("sgd", 0.0, &[4.0][..], &[3.9, 4.1][..]),
            ("sgd:momentum=0.5", 0.0, &[4.0, 6.125, 8.0], &[3.9, 8.1]),
            ("sgd", 2.0, &[pulled], &[0.99 * pulled, 4.0]),
        ] {
            for &accumulation in taken {
                assert_eq!(check(optimiser, proximal, Some(accumulation)), None, "{optimiser}: {accumulation}");
            }
            for accumulation in refused.iter().copied().chain([0.0, 4e-3, 4e3, f64::INFINITY]) {
                let why = check(optimiser, proximal, Some(accumulation)).unwrap();
                assert!(why.contains("of 4 steps, by which the strategy divides; sgd"), "{why}");
            }
        }
        assert!(check("sgd", 0.0, None).unwrap().contains("the accumulation None of 4 steps"));
    }

    /// The large client may report ‖a‖₁ = 1,000, and the small one has 1. A strategy that divides and does not multiply
    /// has no such bound.
    #[test]
    fn a_change_that_is_multiplied_has_a_bound() {
        let job = job(0, 1.0, Phase::plain(1));
        let update = Update { accumulation: Some(1.0), ..Update::plain(0, 1, 9) };
        let most = (GREATEST_CHANGE / 1000.0) as f32;
        let check = |weight, multiplies| refusal(&job, &update, weight, Some(&bounds("sgd", multiplies)));
        assert_eq!((check(most, true), check(most * 1.1, false)), (None, None));
        let why = check(-1.1 * most, true).unwrap();
        assert!(why.contains("weight 0 changed by more than 2.1990") && why.contains("by 1000; lower it"), "{why}");
    }

    /// Two clients lie about their steps and pull to both ends, whatever the weights are. Updates that the host refuses
    /// are those of a client that did nothing.
    #[test]
    fn no_updates_that_are_taken_move_fednova_out_of_range() {
        let strategy: Strategy = "fednova".parse().unwrap();
        let optimiser = "sgd:momentum=0.9";
        let bounds = bounds(optimiser, true);
        let layout = fedpipe_protocol::Tensor {
            name: "w".into(),
            shape: vec![1],
            kind: fedpipe_protocol::Kind::Param,
            place: fedpipe_protocol::Place::Shared,
        };
        let layout = fedpipe_protocol::Layout::new(vec![layout]).unwrap();
        let mut weights = vec![0.0_f32];
        for round in 0..200 {
            let sign = if round % 3 == 0 { 1.0 } else { -1.0 };
            let lies = [(0, 1, 9, 1.0, sign), (1, 1000, 320, 10_000.0, -sign)];
            let mut updates = lies.map(|(client, steps, examples, accumulation, sign)| {
                let accumulation = Some(accumulation);
                let header = Update { steps, accumulation, ..Update::plain(client, 1, examples) };
                let job = job(client, weights[0], Phase::plain(1));
                let wished = [GREATEST_OF_A_CLIENT, 2e6, 1e8, 0.0].map(|size: f32| sign * size);
                let near = [2e6, 1e8].map(|size: f32| weights[0] + sign * size);
                let taken = |weight: &f32| refusal(&job, &header, *weight, Some(&bounds)).is_none();
                let lie = wished.into_iter().chain(near).find(taken).unwrap_or(weights[0]);
                ClientUpdate::new(header, vec![lie])
            });
            let received = &weights.clone()[..];
            let closed = ClosedRound {
                received,
                updates: &mut updates,
                clients: 2,
                learning_rate: 0.1,
                layout: &layout,
                key: order_key(1, 1),
            };
            weights = strategy.apply(closed, &Slots::default(), &OneCore).unwrap().0;
            assert!(weights[0].abs() <= 3.0 * GREATEST_OF_A_CLIENT, "round {round}: {}", weights[0]);
        }
        assert!(weights[0] != 0.0, "the lies were taken");
    }
}
