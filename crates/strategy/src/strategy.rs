//! A strategy: the rules of a run, a preset whose rows may be replaced one by one.

use std::{fmt, ops::Deref, str::FromStr, sync::Arc};

use fedpipe_protocol::{Kind, Layout, Place, RESIDUAL, feature};
use fedpipe_spec::{error::Error, table::Named};

use crate::{
    aggregator::{Member, Updates, mixed_chain::Aggregation},
    attack::Attack,
    closed_round::{ClientUpdate, ClosedRound, clear_unstepped, stepped, unstepped_ranges},
    preset::{CENTRALISED, Composition, equal_weighting},
    range::{GREATEST, first_beyond, shown},
    sampler::Sampler,
    schedule::Schedule,
    server::{Changes, OUTPUT, ServerOptimiser, ServerRound},
    slots::{Slot, Slots},
    term::ClientTerm,
    transform::chain::Transforms,
    vector_math::Math,
    weighting::Weighting,
};

/// A strategy. `FromStr` reads the name of a preset with its parameters; [`StrategyRows`] may replace each row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Strategy {
    preset: Named<Composition>,
    rows: Composition,
}

/// The preset of a strategy, and the rows in the place of the preset's. A row that is absent is the preset's.
#[derive(Debug, Clone, Default)]
pub struct StrategyRows {
    /// The preset.
    pub name: Named<Composition>,
    /// The clients of a round.
    pub sample: Option<Named<dyn Sampler>>,
    /// The term that a client adds to its loss.
    pub term: Option<Named<dyn ClientTerm>>,
    /// The transforms of an update.
    pub transforms: Option<Transforms>,
    /// The attack of dishonest clients.
    pub attack: Option<Named<dyn Attack>>,
    /// The weight of an update.
    pub weighting: Option<Named<dyn Weighting>>,
    /// The aggregate of the updates.
    pub aggregate: Option<Aggregation>,
    /// The step of the global weights.
    pub server: Option<Named<dyn ServerOptimiser>>,
    /// The updates that make new global weights.
    pub schedule: Option<Named<dyn Schedule>>,
}

/// A step that leaves the range of numbers. The updates are in range, so that the cause is the strategy's own
/// parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("moved {what} {index} to {value}; give it other parameters, such as a lower rate")]
pub struct Overflow {
    what: String,
    index: usize,
    value: String,
}

fn in_range(what: impl FnOnce() -> String, values: &[f32], most: f32) -> Result<(), Overflow> {
    match first_beyond(values, most) {
        Some(index) => Err(Overflow { what: what(), index, value: shown(values[index]) }),
        None => Ok(()),
    }
}

impl Composition {
    /// Returns `true` if each update must have ‖a‖₁ of its local optimiser.
    pub fn needs_accumulation(&self) -> bool {
        self.term.needs_accumulation() || self.aggregator.needs_accumulation()
    }

    /// Returns the row that needs ‖a‖₁, in a sentence.
    pub(crate) fn needing_accumulation(&self) -> String {
        if self.term.needs_accumulation() {
            format!("the client term {}", self.term)
        } else {
            format!("the aggregator {}", self.aggregator)
        }
    }

    /// Returns the features that each client needs.
    pub fn features(&self) -> Vec<String> {
        let of_term = self.term.features().iter().map(|feature| (*feature).to_owned());
        let of_aggregator = self.aggregator.score_start().map(|_| feature::SCORE_START.to_owned());
        let of_attack =
            (self.attack.fraction() > 0.0 && self.attack.flips_labels()).then(|| feature::FLIP_LABELS.to_owned());
        let of_rules = self.needs_accumulation().then(|| feature::ACCUMULATION.to_owned());
        let of_sampler = self.sampler.asks_losses().then(|| feature::SCORE_START.to_owned());
        of_term
            .chain(self.transforms.features())
            .chain(of_aggregator)
            .chain(of_sampler)
            .chain(of_attack)
            .chain(of_rules)
            .collect()
    }

    /// Returns the names of a client's slots that the rules set.
    pub fn client_slots(&self) -> Vec<&'static str> {
        let residual = self.transforms.has_residual().then_some(RESIDUAL);
        self.term.client_slots().iter().copied().chain(residual).collect()
    }

    /// Returns `true` if the new global weights are a mean of the clients' weights. No rule of the host can then move
    /// them out of range.
    pub fn is_plain(&self) -> bool {
        self.needs_only_mean() && self.server.keeps_aggregate()
    }

    /// Returns `true` if the rules need only the weighted mean of the updates. Each update may then be added as soon as
    /// it arrives.
    pub fn needs_only_mean(&self) -> bool {
        let is_plain = self.aggregator.is_mean() && self.term.server_slots().is_empty() && self.is_synchronous();
        is_plain && !self.server.needs_changes() && !self.alters_updates() && !self.term.trains_alone()
    }

    /// Returns `true` if the global weights change after all clients of a round.
    pub fn is_synchronous(&self) -> bool {
        self.schedule.buffer_size().is_none()
    }

    /// Returns `true` if each update changes the global weights alone.
    pub(crate) fn takes_single_updates(&self) -> bool {
        self.schedule.buffer_size() == Some(1)
    }

    /// Returns `true` if the weights of the updates have a part in the aggregate.
    pub fn is_weighted(&self) -> bool {
        self.aggregator.is_weighted() && !self.takes_single_updates()
    }

    /// Returns `true` if some clients may attack by altered updates.
    pub fn alters_updates(&self) -> bool {
        self.attack.fraction() > 0.0 && self.attack.alters_updates()
    }

    /// Returns the weights that are the result after a round which left these: they are scored, and end the run.
    pub fn output<'w>(&self, weights: &'w Arc<Vec<f32>>, slots: &'w Slots) -> &'w Arc<Vec<f32>> {
        let mean = || slots.vector(OUTPUT).filter(|_| self.server.reports_mean());
        mean().unwrap_or(weights)
    }

    /// Returns the global weights and the server's state after a round.
    ///
    /// # Errors
    /// Returns the errors of [`Composition::apply_aggregate`].
    pub fn apply(
        &self,
        mut round: ClosedRound<'_>,
        slots: &Slots,
        math: &dyn Math,
    ) -> Result<(Vec<f32>, Slots), Overflow> {
        if self.term.trains_alone() {
            return Ok((round.received.to_vec(), slots.clone()));
        }
        let mut of_aggregator = slots.only(self.aggregator.slots());
        let aggregate = self.aggregate(&mut round, &mut of_aggregator, math);
        let (weights, mut slots) = self.apply_aggregate(round, &aggregate, slots, math)?;
        of_aggregator.iter().for_each(|(name, slot)| slots.set(name, slot.clone()));
        check_slots(&of_aggregator)?;
        Ok((weights, slots))
    }

    /// Returns the aggregate of a round. Buffers have the weighted mean if the aggregator does not suit them, and then
    /// no part in the rule.
    fn aggregate(&self, round: &mut ClosedRound<'_>, slots: &mut Slots, math: &dyn Math) -> Vec<f32> {
        let ClosedRound { received, updates, layout, .. } = round;
        let buffers: Vec<_> = layout.ranges().filter(|(tensor, _)| tensor.kind == Kind::Buffer).collect();
        if self.aggregator.suits_buffers() || buffers.is_empty() {
            return self.aggregate_all(round, round.received, slots, math);
        }
        let members = updates.iter().map(|update| (update.weight(&*self.weighting), &*update.weights));
        let members: Vec<_> = members.collect();
        let mean = math.combine(&members, members.iter().map(|(weight, _)| weight).sum());
        updates.iter_mut().for_each(|update| clear_unstepped(&mut update.weights, layout));
        let origin = stepped(received, layout);
        let mut aggregate = self.aggregate_all(round, &origin, slots, math);
        buffers.into_iter().for_each(|(_, range)| aggregate[range.clone()].copy_from_slice(&mean[range]));
        aggregate
    }

    /// Returns the aggregate of all values, with `received` in the place of the round's.
    fn aggregate_all(&self, round: &ClosedRound<'_>, received: &[f32], slots: &mut Slots, math: &dyn Math) -> Vec<f32> {
        let updates = round.updates.iter();
        let members: Vec<Member<'_>> = updates.map(|update| Member::of(update, &*self.weighting)).collect();
        let (is_proximal, learning_rate) = (self.term.proximal() > 0.0, round.learning_rate);
        let updates = Updates { received, members: &members, is_proximal, learning_rate, layout: round.layout };
        self.aggregator.aggregate(&updates, slots, &round.key, math)
    }

    /// Returns the global weights and the server's state after a round whose updates have this aggregate.
    ///
    /// Tensors of kind `buffer` take the aggregate. Local tensors keep their values: each client has its own. The
    /// server optimiser and the term see 0 for both in every vector, so that neither is in any slot.
    ///
    /// # Errors
    /// Returns [`Overflow`] for a weight or a state beyond the range.
    pub fn apply_aggregate(
        &self,
        round: ClosedRound<'_>,
        aggregate: &[f32],
        slots: &Slots,
        math: &dyn Math,
    ) -> Result<(Vec<f32>, Slots), Overflow> {
        let ClosedRound { received, updates, clients, learning_rate, layout, key } = round;
        updates.iter_mut().for_each(|update| clear_unstepped(&mut update.weights, layout));
        let origin = &*stepped(received, layout);
        // A forced change of the strategy leaves slots of other rows, which would go along in each checkpoint.
        let mut slots = slots.only(&[self.server.slots(), self.term.server_slots()].concat());
        let centre = stepped(aggregate, layout);
        let changes = self.server.needs_changes().then(|| changes(origin, updates, &centre, math));
        let mut moved = self.server.step(&mut slots, &ServerRound { weights: origin, aggregate: &centre, changes });
        let closed = ClosedRound { received: origin, updates, clients, learning_rate, layout, key };
        moved = self.term.settle(&closed, moved, &mut slots, math);
        for (tensor, range) in layout.ranges() {
            match (tensor.place, tensor.kind) {
                (Place::Local, _) => moved[range.clone()].copy_from_slice(&received[range]),
                (Place::Shared, Kind::Buffer) => moved[range.clone()].copy_from_slice(&aggregate[range]),
                (Place::Shared, Kind::Param) => {}
            }
        }
        in_range(|| "weight".into(), &moved, GREATEST)?;
        if self.server.reports_mean() {
            slots.set_vector(OUTPUT, mean_output(received, &moved, layout));
        }
        check_slots(&slots)?;
        Ok((moved, slots))
    }
}

/// Returns the mean of the weights before and after a round. Buffers and local tensors have those after it.
fn mean_output(before: &[f32], after: &[f32], layout: &Layout) -> Vec<f32> {
    let mean = |(before, after): (&f32, &f32)| ((f64::from(*before) + f64::from(*after)) / 2.0) as f32;
    let mut output: Vec<f32> = before.iter().zip(after).map(mean).collect();
    unstepped_ranges(layout).for_each(|range| output[range.clone()].copy_from_slice(&after[range]));
    output
}

/// Refuses a state that is not finite.
fn check_slots(slots: &Slots) -> Result<(), Overflow> {
    slots.iter().try_for_each(|(name, slot)| match slot {
        Slot::F32(values) => in_range(|| format!("the state {name:?} of weight"), values, f32::MAX),
        Slot::Bytes(_) => Ok(()),
    })
}

/// Returns the squared lengths of the changes of a round whose updates have the equal mean `centre`.
fn changes(received: &[f32], updates: &[ClientUpdate], centre: &[f32], math: &dyn Math) -> Changes {
    let squares = updates.iter().map(|update| math.squared_distance(received, &update.weights));
    let mean_of_squares = squares.sum::<f64>() / updates.len() as f64;
    Changes { mean_of_squares, square_of_mean: math.squared_distance(received, centre) }
}

impl Strategy {
    /// Returns the preset that the rows began with.
    pub fn preset(&self) -> &Named<Composition> {
        &self.preset
    }

    /// Returns `true` if one client is to train on all rows.
    pub fn is_centralised(&self) -> bool {
        self.preset.name() == CENTRALISED
    }
}

impl Deref for Strategy {
    type Target = Composition;

    fn deref(&self) -> &Composition {
        &self.rows
    }
}

impl From<Named<Composition>> for Strategy {
    fn from(preset: Named<Composition>) -> Self {
        let rows = (*preset).clone();
        Self { preset, rows }
    }
}

impl From<StrategyRows> for Strategy {
    fn from(given: StrategyRows) -> Self {
        let StrategyRows { name, sample, term, transforms, attack, weighting, aggregate, server, schedule } = given;
        let preset = (*name).clone();
        let mut rows = Composition {
            sampler: sample.unwrap_or(preset.sampler),
            term: term.unwrap_or(preset.term),
            transforms: transforms.unwrap_or(preset.transforms),
            attack: attack.unwrap_or(preset.attack),
            weighting: preset.weighting,
            aggregator: aggregate.unwrap_or(preset.aggregator),
            server: server.unwrap_or(preset.server),
            schedule: schedule.unwrap_or(preset.schedule),
        };
        // The record has no weighting that plays no part.
        let fitting = if rows.is_weighted() { rows.weighting } else { equal_weighting() };
        rows.weighting = weighting.unwrap_or(fitting);
        Self { preset: name, rows }
    }
}

impl From<Strategy> for StrategyRows {
    fn from(strategy: Strategy) -> Self {
        let Composition { sampler, term, transforms, attack, weighting, aggregator, server, schedule } = strategy.rows;
        Self {
            name: strategy.preset,
            sample: Some(sampler),
            term: Some(term),
            transforms: Some(transforms),
            attack: Some(attack),
            weighting: Some(weighting),
            aggregate: Some(aggregator),
            server: Some(server),
            schedule: Some(schedule),
        }
    }
}

impl FromStr for Strategy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse::<Named<Composition>>().map(Self::from)
    }
}

/// The preset, and each row that replaces one of it.
impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, preset) = (&self.rows, &*self.preset);
        self.preset.fmt(f)?;
        let pairs = [
            ("sampler", rows.sampler != preset.sampler, rows.sampler.to_string()),
            ("client term", rows.term != preset.term, rows.term.to_string()),
            ("transform", rows.transforms != preset.transforms, rows.transforms.to_string()),
            ("attack", rows.attack != preset.attack, rows.attack.to_string()),
            ("weighting", rows.weighting != preset.weighting, rows.weighting.to_string()),
            ("aggregator", rows.aggregator != preset.aggregator, rows.aggregator.to_string()),
            ("server optimiser", rows.server != preset.server, rows.server.to_string()),
            ("schedule", rows.schedule != preset.schedule, rows.schedule.to_string()),
        ];
        let mut replaced = pairs.iter().filter(|(_, differs, _)| *differs);
        let mut join = " with the ";
        replaced.try_for_each(|(what, _, row)| write!(f, "{}{what} {row}", std::mem::replace(&mut join, ", the ")))
    }
}

#[cfg(test)]
impl StrategyRows {
    /// Returns the preset `name` with the rows by their keys.
    pub(crate) fn read(name: &str, rows: &[(&str, &str)]) -> Strategy {
        let mut read = Self { name: name.parse().unwrap(), ..Self::default() };
        for (key, row) in rows {
            match *key {
                "sample" => read.sample = Some(row.parse().unwrap()),
                "term" => read.term = Some(row.parse().unwrap()),
                "transform" => read.transforms = Some(row.parse().unwrap()),
                "attack" => read.attack = Some(row.parse().unwrap()),
                "weighting" => read.weighting = Some(row.parse().unwrap()),
                "aggregate" => read.aggregate = Some(row.parse().unwrap()),
                "server" => read.server = Some(row.parse().unwrap()),
                "schedule" => read.schedule = Some(row.parse().unwrap()),
                key => panic!("no row has the key {key}"),
            }
        }
        read.into()
    }
}

#[cfg(test)]
mod tests;
