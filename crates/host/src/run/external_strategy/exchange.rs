//! The messages to a strategy program, and the checks of its answers, which the host does not trust.

use std::sync::Arc;

use fedpipe_data::counted;
use fedpipe_protocol::{
    ANCHOR, Ability, Aggregate, LINEAR, MOST_VECTORS, Part, Parts, Phase, PhaseStart, StrategyReply, StrategyRequest,
    Tensor, WEIGHTS, feature,
};
use fedpipe_record::{cause::Cause, client_state::PROGRAM};
use fedpipe_strategy::{
    closed_round::ClientUpdate,
    local_work::ClientWork,
    range::{first_beyond, shown},
    slots::Slots,
};

use crate::{
    process::{conversation::NamedVector, end::ConversationEnd, peer::Peer},
    run::answers,
};

/// The name of the part that holds the program's state.
pub(super) const STATE: &str = "state";

/// The state of the run before a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before<'a> {
    /// The round, from 1.
    pub(crate) round: u64,
    /// The local learning rate of the round.
    pub(crate) learning_rate: f32,
    /// The state of the server.
    pub(crate) server: &'a Slots,
    /// The global weights.
    pub(crate) weights: &'a [f32],
}

/// The part of a client's request that a program decides.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClientPlan {
    pub(crate) phases: Vec<Phase>,
    /// The parts of the request that the phases need.
    pub(crate) parts: Vec<NamedVector>,
}

/// The reply of a program to its setup.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Capabilities {
    pub(super) abilities: Vec<Ability>,
    /// The features that each client needs.
    pub(super) features: Vec<String>,
}

/// The result of a round.
#[derive(Debug)]
pub(super) struct Aggregated {
    pub(super) weights: Vec<f32>,
    pub(super) state: Vec<u8>,
    /// The new state of each client, in the order of the updates; none where the program left it out.
    pub(super) clients: Vec<Option<Vec<u8>>>,
}

type Answered<A> = Result<A, ConversationEnd>;

/// Asks for the clients of a round and returns them, ascending.
pub(super) fn sample(peer: &mut Peer, before: &Before<'_>, clients: u32, count: u32) -> Answered<Vec<u32>> {
    let request = StrategyRequest::Sample { round: before.round, clients, count };
    let state = Part::U8(STATE, before.server.bytes(PROGRAM));
    match peer.ask::<StrategyReply>(&request, &[state], 0)?.0 {
        StrategyReply::Sampled { clients: sampled } => {
            sampled_clients(sampled, clients).map_err(|why| ConversationEnd::Unfit(Cause::protocol(why)))
        }
        other => Err(wrong_answer("sample", &other)),
    }
}

/// Returns the clients in ascending order. Refuses a sample that is empty, or has a client twice or one that does not
/// exist.
fn sampled_clients(mut sampled: Vec<u32>, clients: u32) -> Result<Vec<u32>, String> {
    sampled.sort_unstable();
    if let Some(pair) = sampled.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("it sampled client {} twice; a round has each client once", pair[0]));
    }
    match sampled.last() {
        None => Err("it sampled no client; a round needs at least one".into()),
        Some(&last) if last >= clients => {
            Err(format!("it sampled client {last}, and the clients are 0 to {}", clients - 1))
        }
        Some(_) => Ok(sampled),
    }
}

/// Asks for the phases of a client's training and returns them with their parts.
pub(super) fn prepare(
    peer: &mut Peer,
    before: &Before<'_>,
    (client, work, state): (u32, ClientWork, &[u8]),
    (rules, layout): (&Capabilities, &[Tensor]),
) -> Answered<ClientPlan> {
    let Before { round, learning_rate, .. } = *before;
    let request = StrategyRequest::Prepare { round, client, learning_rate, phase: work.phase() };
    let name = client_state(client);
    let mut parts = vec![Part::F32(WEIGHTS, before.weights), Part::U8(STATE, before.server.bytes(PROGRAM))];
    if rules.abilities.contains(&Ability::ClientState) {
        parts.push(Part::U8(&name, state));
    }
    // The host adds the weights, the local tensors and the momentum.
    let most = (MOST_VECTORS - 3) * size_of_val(before.weights) as u64;
    let (reply, answer) = peer.ask::<StrategyReply>(&request, &parts, most)?;
    let StrategyReply::Prepared { phases } = reply else { return Err(wrong_answer("prepare", &reply)) };
    let checked = check_phases(&phases, rules, layout).map_err(|why| format!("its answer for client {client}: {why}"));
    checked.map_err(|why| ConversationEnd::Unfit(Cause::protocol(why)))?;
    let parts = parts_of(&phases, answer, before.weights.len()).map_err(ConversationEnd::Unfit)?;
    Ok(ClientPlan { phases, parts })
}

/// Checks that a client can do the phases.
fn check_phases(phases: &[Phase], rules: &Capabilities, layout: &[Tensor]) -> Result<(), String> {
    if phases.is_empty() {
        return Err("it has no phase; give at least one".into());
    }
    for (index, phase) in phases.iter().enumerate() {
        let Phase { epochs, steps, proximal, ref frozen, update, .. } = *phase;
        if epochs == 0 || steps == Some(0) {
            let what = if epochs == 0 { "local epochs" } else { "steps" };
            return Err(format!("phase {index} has 0 {what}; give at least 1"));
        }
        if !(0.0..=f32::MAX).contains(&proximal) {
            return Err(format!("phase {index} has the proximal coefficient {proximal}; give a number from 0 on"));
        }
        if let Some(unknown) = frozen.iter().find(|name| layout.iter().all(|tensor| tensor.name != **name)) {
            return Err(format!("phase {index} freezes the tensor {unknown:?}, which the model does not have"));
        }
        if !update {
            return Err(format!("phase {index} is no update; the host keeps no other weights for a strategy program"));
        }
    }
    match feature::unlisted(phases, &rules.features) {
        Some(needed) => {
            Err(format!("it needs the feature {needed:?}, which the program did not list when it was ready"))
        }
        None => Ok(()),
    }
}

/// Returns the parts that the phases need: finite vectors, one value a weight.
fn parts_of(phases: &[Phase], mut answer: Parts, weights: usize) -> Result<Vec<NamedVector>, Cause> {
    let starts = phases.iter().enumerate().filter(|(_, phase)| phase.start == PhaseStart::Slot);
    let mut needed: Vec<String> = starts.map(|(index, _)| format!("start/{index}")).collect();
    needed.extend(phases.iter().any(|phase| phase.linear).then(|| LINEAR.to_owned()));
    // Without an anchor, a proximal term pulls to the weights from which the client starts.
    let has_anchor = answer.iter().any(|(name, _)| name == ANCHOR) && phases.iter().any(|phase| phase.proximal > 0.0);
    needed.extend(has_anchor.then(|| ANCHOR.to_owned()));
    answers::only(&answer, &needed.iter().map(String::as_str).collect::<Vec<_>>())?;
    let vector = |name: String| match answer.take_f32(&name) {
        None => Err(Cause::protocol(format!("its answer has no part {name:?}"))),
        Some(values) if values.len() != weights => {
            Err(Cause::protocol(format!("its part {name:?} has {} values, expected {weights}", values.len())))
        }
        Some(values) => match first_beyond(&values, f32::MAX) {
            Some(index) => {
                let value = shown(values[index]);
                Err(Cause::protocol(format!("value {index} of its part {name:?} is {value}; look at the program")))
            }
            None => Ok((name, Arc::new(values))),
        },
    };
    needed.into_iter().map(vector).collect()
}

/// Has the program aggregate.
pub(super) fn aggregate(
    peer: &mut Peer,
    before: &Before<'_>,
    updates: &[ClientUpdate],
    rules: &Capabilities,
) -> Answered<Aggregated> {
    let keeps_states = rules.abilities.contains(&Ability::ClientState);
    let names: Vec<_> = updates.iter().map(|ClientUpdate { header, .. }| header.client).map(part_names).collect();
    let mut parts = vec![Part::F32(WEIGHTS, before.weights), Part::U8(STATE, before.server.bytes(PROGRAM))];
    parts.extend(names.iter().zip(updates).map(|((name, _), update)| Part::F32(name, &update.weights)));
    let states = names.iter().zip(updates).filter(|_| keeps_states);
    parts.extend(states.map(|((_, name), update)| Part::U8(name, update.before.bytes(PROGRAM))));
    let headers = updates.iter().map(|update| update.header.clone()).collect();
    let Before { round, learning_rate, .. } = *before;
    let request = StrategyRequest::Aggregate(Aggregate { round, learning_rate, updates: headers });
    let states = if keeps_states { updates.len() } else { 0 };
    let weights = before.weights.len();
    let most = 4 * weights as u64 + (1 + states as u64) * most_state(weights);
    let (reply, answer) = peer.ask::<StrategyReply>(&request, &parts, most)?;
    match reply {
        StrategyReply::Aggregated => {
            let states: Vec<&str> = names[..states].iter().map(|(_, name)| name.as_str()).collect();
            aggregated(answer, weights, &states).map_err(ConversationEnd::Unfit)
        }
        other => Err(wrong_answer("aggregate", &other)),
    }
}

/// Returns the result of a round from the parts of an answer.
fn aggregated(mut answer: Parts, weights: usize, states: &[&str]) -> Result<Aggregated, Cause> {
    answers::only(&answer, &[&[WEIGHTS, STATE], states].concat())?;
    answers::weights(&answer, weights, "look at the program")?;
    let mut take = |name: &str| match answer.take_u8(name) {
        Some(state) if state.len() as u64 > most_state(weights) => Err(Cause::protocol(format!(
            "its part {name:?} has {}, at most {} are kept",
            counted(state.len(), "byte"),
            most_state(weights)
        ))),
        state => Ok(state),
    };
    let state = take(STATE)?.unwrap_or_default();
    let clients = states.iter().map(|name| take(name)).collect::<Result<_, _>>()?;
    Ok(Aggregated { weights: answer.take_f32(WEIGHTS).unwrap_or_default(), state, clients })
}

/// Returns the names of the parts with the weights and the state of a client.
fn part_names(client: u32) -> (String, String) {
    (format!("update/{client}"), client_state(client))
}

fn client_state(client: u32) -> String {
    format!("client_state/{client}")
}

/// Returns the most bytes of a state: 16 values of 4 bytes for each weight, and 1 MiB.
fn most_state(weights: usize) -> u64 {
    64 * weights as u64 + (1 << 20)
}

fn wrong_answer(request: &str, reply: &StrategyReply) -> ConversationEnd {
    ConversationEnd::breach(format!("it answered a request to {request} with {:?}", reply.kind()))
}
