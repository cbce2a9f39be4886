//! Attacks of dishonest clients, which the host plays: some clients train as the others do, and the host alters their
//! updates before any rule sees them. `label-flip` alters the training labels in the client instead.
//!
//! The clients that attack are the same in each round. An altered update is checked as that of any client is: NaN is
//! rejected.

mod alie;
mod gaussian;
mod inner_product;
mod label_flip;
mod mimic;
mod nan;
mod no_attack;
mod sign_flip;
mod zero;

use std::fmt;

use fedpipe_protocol::Layout;
use fedpipe_random::{
    key::{Key, Use},
    order::order,
};
use fedpipe_spec::table::{Parameter, Range, TableRow, Tabled};

use crate::{
    closed_round::{ClientUpdate, unstepped_ranges},
    vector_math::Math,
};

/// The updates of a round before the attack.
#[derive(Debug, Clone, Copy)]
pub struct Attacked<'a> {
    /// The weights that the clients received.
    pub received: &'a [f32],
    /// The honest updates: clients with their weights, in client order.
    pub honest: &'a [(u32, &'a [f32])],
    /// The updates of the clients that attack, likewise.
    pub own: &'a [(u32, &'a [f32])],
    /// The clients of the run that may train, and those of them that attack.
    pub cohort: Cohort,
    /// The key of the round's noise, for client 0.
    pub key: Key,
}

/// The number of clients that may train, and of those of them that attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cohort {
    /// All clients that may train.
    pub clients: u32,
    /// Those that attack.
    pub attackers: u32,
}

/// A rule that alters the updates of dishonest clients.
pub trait Attack: fmt::Debug + Send + Sync {
    /// Returns the share of the clients that attack.
    fn fraction(&self) -> f64;

    /// Returns `true` if the clients that attack train on flipped labels.
    fn flips_labels(&self) -> bool {
        false
    }

    /// Returns `true` if the rule alters updates.
    fn alters_updates(&self) -> bool {
        true
    }

    /// Returns `true` if the rule makes its updates of the honest ones of the same round.
    fn needs_honest(&self) -> bool {
        false
    }

    /// Returns `true` if every update of a client that attacks is rejected.
    fn is_rejected(&self) -> bool {
        false
    }

    /// Returns the weights in the place of those of each client that attacks. Without an honest update, a rule that
    /// needs one leaves the clients' own.
    fn weights(&self, round: &Attacked<'_>, math: &dyn Math) -> Vec<Vec<f32>>;

    /// Returns the reason why the attack makes no sense with these clients, one sentence; `None` if it does.
    fn refusal(&self, _clients: u32, _attackers: &[u32]) -> Option<String> {
        None
    }
}

/// The share of the clients that attack.
const FRACTION: Parameter = Parameter {
    key: "fraction",
    default: None,
    range: Range::Decay,
    help: "the share of the clients that attack, rounded down to whole clients",
};

/// Returns those of the `clients`, ascending, that attack: ⌊fraction · N⌋ of them, drawn by the seed.
pub fn attackers(seed: u64, fraction: f64, clients: &[u32]) -> Vec<u32> {
    /// The share that f64 may take away from a product which is a whole number.
    const ROUNDING: f64 = 1e-9;
    let count = (fraction * clients.len() as f64 + ROUNDING) as usize;
    let key = Key { seed, purpose: Use::Attack, client: 0, round: 0, epoch: 0 };
    let mut drawn: Vec<u32> =
        order(&key, clients.len() as u32).into_iter().take(count).map(|place| clients[place as usize]).collect();
    drawn.sort_unstable();
    drawn
}

/// The attack of a run.
#[derive(Debug, Clone, Copy)]
pub struct Attackers<'a> {
    /// The rule.
    pub attack: &'a dyn Attack,
    /// The clients that attack, ascending.
    pub clients: &'a [u32],
    /// The number of clients that may train.
    pub of: u32,
    /// The seed of the run.
    pub seed: u64,
}

impl Attackers<'_> {
    /// Replaces the weights of the updates of clients that attack. Buffers and local tensors keep their values: no
    /// gradient moves the former, and the server does not see the latter.
    pub fn alter(
        &self,
        updates: &mut [ClientUpdate],
        (round, received): (u64, &[f32]),
        layout: &Layout,
        math: &dyn Math,
    ) {
        if !self.attack.alters_updates() || self.clients.is_empty() {
            return;
        }
        let attacks = |client: u32| self.clients.binary_search(&client).is_ok();
        let members = |of_attackers: bool| -> Vec<(u32, &[f32])> {
            let members = updates.iter().map(|update| (update.header.client, update.weights.as_slice()));
            members.filter(|(client, _)| attacks(*client) == of_attackers).collect()
        };
        let (honest, own) = (members(false), members(true));
        let cohort = Cohort { clients: self.of, attackers: self.clients.len() as u32 };
        let key = Key { seed: self.seed, purpose: Use::Attack, client: 0, round, epoch: 0 };
        let altered = self.attack.weights(&Attacked { received, honest: &honest, own: &own, cohort, key }, math);
        let of_attackers = updates.iter_mut().filter(|update| attacks(update.header.client));
        for (update, mut weights) in of_attackers.zip(altered) {
            for range in unstepped_ranges(layout) {
                weights[range.clone()].copy_from_slice(&update.weights[range]);
            }
            update.weights = weights;
        }
    }
}

/// Returns Σ c x for each element of two vectors.
fn sum_of(terms: [(f64, &[f32]); 2], math: &dyn Math) -> Vec<f32> {
    math.combine(&terms, 1.0)
}

/// Returns the weights of the clients that attack.
fn own(round: &Attacked<'_>) -> Vec<Vec<f32>> {
    round.own.iter().map(|(_, weights)| weights.to_vec()).collect()
}

/// Returns the same weights for each client that attacks, or their own ones.
fn shared(round: &Attacked<'_>, weights: Option<Vec<f32>>) -> Vec<Vec<f32>> {
    weights.map_or_else(|| own(round), |weights| vec![weights; round.own.len()])
}

static ROWS: [TableRow<dyn Attack>; 9] = [
    no_attack::ROW,
    label_flip::ROW,
    sign_flip::ROW,
    gaussian::ROW,
    alie::ROW,
    inner_product::ROW,
    mimic::ROW,
    zero::ROW,
    nan::ROW,
];

impl Tabled for dyn Attack {
    const WHAT: &'static str = "attack";
    const LIST: &'static str = "attacks";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

#[cfg(test)]
mod testing {
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::vector_math::OneCore;

    /// The honest updates of the tests, from the received weights 1 and 2.
    pub(super) const HONEST: [[f32; 2]; 3] = [[2.0, 2.0], [1.0, 5.0], [3.0, -1.0]];

    /// Returns the weights of two clients that attack, of ten.
    pub(super) fn attacked(attack: &str, honest: &[[f32; 2]]) -> Vec<Vec<f32>> {
        let attack: Named<dyn Attack> = attack.parse().unwrap();
        let honest: Vec<_> = (0..).zip(honest.iter().map(|weights| weights.as_slice())).collect();
        let own: [(u32, &[f32]); 2] = [(7, &[2.0, 3.0]), (9, &[0.0, 2.0])];
        let key = Key { seed: 1, purpose: Use::Attack, client: 0, round: 1, epoch: 0 };
        let cohort = Cohort { clients: 10, attackers: 3 };
        attack.weights(&Attacked { received: &[1.0, 2.0], honest: &honest, own: &own, cohort, key }, &OneCore)
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::Update;
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::{preset::testing::every_row, term, vector_math::OneCore};

    #[test]
    fn the_share_of_the_clients_is_rounded_down_and_drawn_by_the_seed() {
        let all: Vec<u32> = (5..105).collect();
        for (fraction, count) in [(0.0, 0), (0.2, 20), (0.29, 29), (0.299, 29), (0.999, 99)] {
            let drawn = attackers(1, fraction, &all);
            assert_eq!(drawn.len(), count, "{fraction}");
            assert!(drawn.is_sorted_by(|a, b| a < b) && drawn.iter().all(|client| all.contains(client)));
        }
        assert_ne!(attackers(1, 0.2, &all), attackers(2, 0.2, &all));
        let few = attackers(1, 0.1, &all);
        assert!(few.iter().all(|client| attackers(1, 0.2, &all).contains(client)), "a greater share adds clients");
    }

    /// Returns the weights of three clients, of which client 1 attacks, after the attack.
    fn altered(attack: &dyn Attack, clients: &[u32]) -> Vec<Vec<f32>> {
        let rows = [[2.0, 5.0, 7.0], [3.5, 6.0, 8.0], [4.0, 7.0, 9.0]];
        let mut updates: Vec<ClientUpdate> =
            (0..).zip(rows).map(|(client, row)| ClientUpdate::new(Update::plain(client, 1, 1), row.to_vec())).collect();
        let attackers = Attackers { attack, clients, of: 3, seed: 1 };
        attackers.alter(&mut updates, (1, &[1.0; 3]), &term::testing::layout(), &OneCore);
        updates.into_iter().map(|update| update.weights).collect()
    }

    #[test]
    fn only_the_parameters_of_clients_that_attack_are_altered() {
        let honest = altered(&*Named::<dyn Attack>::default(), &[1]);
        for attack in every_row::<dyn Attack>() {
            assert_eq!(altered(&*attack, &[]), honest, "{attack} without attackers");
            let altered = altered(&*attack, &[1]);
            assert_eq!((&altered[0], &altered[2]), (&honest[0], &honest[2]), "{attack}");
            assert_eq!(altered[1][1..], honest[1][1..], "{attack}: a buffer and a local tensor");
            assert_eq!(altered[1][0] != honest[1][0], attack.alters_updates(), "{attack}");
        }
    }
}
