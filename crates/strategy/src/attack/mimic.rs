//! Mimic (Karimireddy 2022, section 3.2): the update of one honest client in the place of the client's own.

use std::{borrow::Cow, sync::Arc};

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Attack, Attacked, FRACTION, shared};
use crate::vector_math::Math;

pub(super) const ROW: TableRow<dyn Attack> = TableRow {
    name: "mimic",
    summary: "the update of one honest client in the place of the client's own",
    parameters: &[
        FRACTION,
        Parameter {
            key: "client",
            default: Some(Value::Text(Cow::Borrowed("first"))),
            range: Range::NumberOr {
                number: &Range::WholeNumber,
                word: "first",
                wants: "a whole number from 0, or first for the first honest client of the round",
            },
            help: "the honest client; in a round without its update, the clients send their own",
        },
    ],
    source: "Karimireddy 2022, section 3.2",
    build: |values| {
        Arc::new(Mimic {
            fraction: values.number("fraction"),
            client: values.number_or_word("client").map(|client| client as u32),
        })
    },
};

#[derive(Debug)]
struct Mimic {
    fraction: f64,
    /// The client; none for the first honest one of the round.
    client: Option<u32>,
}

impl Attack for Mimic {
    fn fraction(&self) -> f64 {
        self.fraction
    }

    fn needs_honest(&self) -> bool {
        true
    }

    fn weights(&self, round: &Attacked<'_>, _: &dyn Math) -> Vec<Vec<f32>> {
        let copied = round.honest.iter().find(|(client, _)| self.client.is_none_or(|copied| copied == *client));
        shared(round, copied.map(|(_, weights)| weights.to_vec()))
    }

    fn refusal(&self, clients: u32, attackers: &[u32]) -> Option<String> {
        let client = self.client?;
        let why = if attackers.binary_search(&client).is_ok() {
            format!("which attacks itself as one of {attackers:?}; name another client")
        } else if client >= clients && !attackers.is_empty() {
            format!("and the number of clients is {clients}; name one from 0 to {}", clients.saturating_sub(1))
        } else {
            return None;
        };
        Some(format!("the attack mimic copies client {client}, {why}"))
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::attack::testing::{HONEST, attacked};

    #[test]
    fn the_update_of_the_client_is_copied_if_it_is_there() {
        assert_eq!(attacked("mimic:fraction=0.3,client=1", &HONEST), [HONEST[1]; 2]);
        assert_eq!(attacked("mimic:0.3", &HONEST), [HONEST[0]; 2]);
        assert_eq!(attacked("mimic:fraction=0.3,client=5", &HONEST), [[2.0, 3.0], [0.0, 2.0]]);
    }

    #[test]
    fn a_client_that_attacks_or_is_not_there_is_refused() {
        let mimic: Named<dyn Attack> = "mimic:fraction=0.3,client=4".parse().unwrap();
        assert_eq!(mimic.refusal(5, &[1, 2]), None);
        assert!(mimic.refusal(5, &[1, 4]).unwrap().contains("client 4, which attacks itself as one of [1, 4]"));
        assert!(
            mimic.refusal(4, &[1]).unwrap().contains("client 4, and the number of clients is 4; name one from 0 to 3")
        );
    }
}
