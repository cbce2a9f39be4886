//! Uneven local work: the local epochs, or steps, of a client are drawn for each client and round.

use std::sync::Arc;

use fedpipe_random::{
    key::{Key, Use},
    order::{below, order},
};
use fedpipe_spec::table::{Parameter, Range, TableRow, Tabled, Value, Values};

use crate::local_work::LocalWork;

/// The work of the clients of a round, by what the experiment asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UnevenWork {
    /// All clients do all of it.
    None,
    /// Each client does a whole number of epochs or steps, from `least` to all.
    Uniform {
        /// The fewest.
        least: u32,
    },
    /// A share of the round's clients does a whole number from 1 to all but one.
    Stragglers {
        /// The share.
        fraction: f64,
        /// `true` if the work of these clients is dropped.
        drop: bool,
    },
}

impl UnevenWork {
    /// Returns the clients of a round that do a part of the work, of those that were sampled: ascending.
    pub fn stragglers(self, seed: u64, round: u64, sampled: &[u32]) -> Vec<u32> {
        let order = order(&key(seed, 0, round, 1), sampled.len() as u32);
        let order = order.into_iter().take(self.straggler_count(sampled.len() as u32) as usize);
        let mut drawn: Vec<u32> = order.map(|place| sampled[place as usize]).collect();
        drawn.sort_unstable();
        drawn
    }

    /// Returns the number of stragglers among so many clients.
    fn straggler_count(self, clients: u32) -> u32 {
        // The addend is the share that f64 may take away from a product which is a whole number.
        if let Self::Stragglers { fraction, .. } = self { (fraction * f64::from(clients) + 1e-9) as u32 } else { 0 }
    }

    /// Returns `true` if a part of the round's clients are stragglers.
    pub fn has_stragglers(self) -> bool {
        matches!(self, Self::Stragglers { .. })
    }

    /// Returns the number of clients whose work is dropped, so that they need not do it, of so many.
    pub fn dropped(self, clients: u32) -> u32 {
        if matches!(self, Self::Stragglers { drop: true, .. }) { self.straggler_count(clients) } else { 0 }
    }

    /// Returns the work of a client in a round, of `all` that the experiment asks for.
    pub fn of_client(self, all: LocalWork, (seed, client, round): (u64, u32, u64), is_straggler: bool) -> LocalWork {
        let (least, most) = match self {
            Self::Uniform { least } => (u64::from(least), all.whole()),
            Self::Stragglers { .. } if is_straggler => (1, all.whole().saturating_sub(1).max(1)),
            _ => return all,
        };
        let numbers = most.saturating_sub(least).saturating_add(1).min(u64::from(u32::MAX)) as u32;
        let drawn = least + u64::from(below(&mut key(seed, client, round, 0).rng(), numbers));
        match all {
            LocalWork::Epochs(_) => LocalWork::Epochs(drawn as f64),
            LocalWork::Steps(_) => LocalWork::Steps(drawn),
        }
    }

    /// Returns the reason why the work cannot be drawn, a phrase; `None` if it can.
    pub fn refusal(self, all: LocalWork) -> Option<String> {
        let Self::Uniform { least } = self else {
            let is_part = !all.is_counted() && self != Self::None;
            return is_part.then(|| "it draws whole numbers; give whole --epochs, or --local-steps".into());
        };
        if !all.is_counted() {
            return Some("it draws whole numbers; give whole --epochs, or --local-steps".into());
        }
        let most = all.whole();
        (u64::from(least) > most)
            .then(|| format!("its least is above the {most} of --epochs or --local-steps; give less"))
    }
}

fn key(seed: u64, client: u32, round: u64, epoch: u64) -> Key {
    Key { seed, purpose: Use::LocalWork, client, round, epoch }
}

static ROWS: [TableRow<UnevenWork>; 3] = [
    TableRow {
        name: "none",
        summary: "each client does all local epochs or steps",
        parameters: &[],
        source: "McMahan 2017, Algorithm 1",
        build: |_| Arc::new(UnevenWork::None),
    },
    TableRow {
        name: "uniform",
        summary: "each client does a whole number of epochs or steps, drawn from the least to --epochs or --local-steps",
        parameters: &[Parameter {
            key: "least",
            default: Some(Value::Number(1.0)),
            range: Range::Count,
            help: "the fewest epochs or steps",
        }],
        source: "Wang 2020, section 6",
        build: |values| Arc::new(UnevenWork::Uniform { least: values.count("least") }),
    },
    TableRow {
        name: "stragglers",
        summary: "a share of the round's clients does a whole number of epochs or steps, drawn from 1 to all but one",
        parameters: &[
            Parameter {
                key: "fraction",
                default: None,
                range: Range::Decay,
                help: "the share of the round's clients, rounded down to whole clients",
            },
            Parameter {
                key: "drop",
                default: Some(Value::Flag(false)),
                range: Range::Flag,
                help: "true drops these clients from the round, as FedAvg does in the paper; false keeps their work",
            },
        ],
        source: "Li 2020 (FedProx), section 5.2",
        build: stragglers,
    },
];

fn stragglers(values: &Values) -> Arc<UnevenWork> {
    Arc::new(UnevenWork::Stragglers { fraction: values.number("fraction"), drop: values.flag("drop") })
}

impl Tabled for UnevenWork {
    const WHAT: &'static str = "uneven work";
    const LIST: &'static str = "uneven-works";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_and_round_has_a_number_of_its_own() {
        let work = |client, round| {
            UnevenWork::Uniform { least: 2 }.of_client(LocalWork::Epochs(5.0), (1, client, round), false)
        };
        let mut times = [0; 6];
        for (client, round) in (0..20).flat_map(|client| (1..=50).map(move |round| (client, round))) {
            let LocalWork::Epochs(epochs) = work(client, round) else { panic!("{client}") };
            times[epochs as usize] += 1;
        }
        // 250 each, standard deviation 13.7.
        assert!(times[..2] == [0, 0] && times[2..].iter().all(|n| (180..320).contains(n)), "{times:?}");
        assert_eq!(UnevenWork::None.of_client(LocalWork::Steps(7), (1, 2, 3), true), LocalWork::Steps(7));
    }

    #[test]
    fn a_share_of_the_sampled_clients_straggles() {
        let sampled: Vec<u32> = (10..30).collect();
        let rule = UnevenWork::Stragglers { fraction: 0.9, drop: false };
        let drawn = rule.stragglers(1, 1, &sampled);
        assert!(drawn.len() == 18 && drawn.is_sorted() && drawn.iter().all(|client| sampled.contains(client)));
        assert_ne!(drawn, rule.stragglers(1, 2, &sampled));
        for client in sampled {
            let part = rule.of_client(LocalWork::Epochs(20.0), (1, client, 1), true);
            assert!(matches!(part, LocalWork::Epochs(n) if (1.0..=19.0).contains(&n)), "{part:?}");
            assert_eq!(rule.of_client(LocalWork::Epochs(20.0), (1, client, 1), false), LocalWork::Epochs(20.0));
        }
        assert_eq!(rule.of_client(LocalWork::Epochs(1.0), (1, 1, 1), true), LocalWork::Epochs(1.0));
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let rule = UnevenWork::Uniform { least: 3 };
        assert!(rule.refusal(LocalWork::Epochs(2.5)).unwrap().contains("whole numbers"));
        assert!(rule.refusal(LocalWork::Steps(2)).unwrap().contains("above the 2 of --epochs"));
        assert_eq!([rule.refusal(LocalWork::Steps(3)), UnevenWork::None.refusal(LocalWork::Epochs(0.5))], [None, None]);
    }
}
