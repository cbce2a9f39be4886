//! `metrics.csv`: the numbers of each round, one row a round.

use fedpipe_record::{client_scores::ClientScores, finite::Finite, history::History, round_line::Round};

type Cell = fn(&Round) -> Option<f64>;

/// The columns after the round, with the number of each.
const COLUMNS: [(&str, Cell); 24] = [
    ("accuracy", |round| round.accuracy.map(Finite::get)),
    ("loss", |round| round.loss.map(Finite::get)),
    ("rmse", |round| round.regression.map(|errors| errors.rmse.get())),
    ("mae", |round| round.regression.map(|errors| errors.mae.get())),
    ("r2", |round| round.regression.and_then(|errors| errors.r2).map(Finite::get)),
    ("training_loss", |round| round.training_loss.map(Finite::get)),
    ("start_loss", |round| round.start_loss.map(Finite::get)),
    ("learning_rate", |round| round.learning_rate.map(f64::from)),
    ("held_out_accuracy", |round| accuracy(&round.held_out, |of| of.mean)),
    ("held_out_worst_accuracy", |round| accuracy(&round.held_out, |of| of.worst)),
    ("held_out_worst_decile_accuracy", |round| accuracy(&round.held_out, |of| of.worst_decile)),
    ("held_out_spread", |round| accuracy(&round.held_out, |of| of.spread)),
    ("held_out_loss", |round| round.held_out.as_ref().map(|scores| scores.loss.mean.get())),
    ("personal_accuracy", |round| accuracy(&round.personal, |of| of.mean)),
    ("personal_worst_accuracy", |round| accuracy(&round.personal, |of| of.worst)),
    ("new_clients_accuracy", |round| accuracy(&round.new_clients, |of| of.mean)),
    ("clients", |round| Some(f64::from(round.clients))),
    ("failed", |round| Some(f64::from(round.failed))),
    ("bytes_sent", |round| Some(round.bytes_sent as f64)),
    ("bytes_received", |round| Some(round.bytes_received as f64)),
    ("update_norm", |round| mean(&round.update_norms)),
    ("weights_change", |round| round.weights_change.map(Finite::get)),
    ("seconds", |round| Some(round.seconds.get())),
    ("virtual_seconds", |round| round.virtual_seconds.map(Finite::get)),
];

type Number = fn(fedpipe_record::client_scores::Distribution) -> Finite;

fn accuracy(scores: &Option<ClientScores>, number: Number) -> Option<f64> {
    scores.as_ref()?.accuracy.map(|of| number(of).get())
}

/// Returns the mean of some lengths; `None` without any.
pub(crate) fn mean(norms: &[f32]) -> Option<f64> {
    let sum = norms.iter().fold(0.0, |sum, norm| sum + f64::from(*norm));
    (!norms.is_empty()).then(|| sum / norms.len() as f64)
}

/// Returns the names of the columns after the round, each with its number.
pub(crate) fn numbers(round: &Round) -> impl Iterator<Item = (&'static str, f64)> + '_ {
    COLUMNS.iter().filter_map(|(name, cell)| Some((*name, cell(round)?)))
}

/// Returns the table. Round 0 is the score of the initial weights. A number that a round lacks is empty.
pub fn metrics(history: &History) -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let mut text = format!("round,{}\n", names.join(","));
    if let Some(initial) = history.initial {
        let (accuracy, regression, loss) = (initial.accuracy, initial.regression, Some(initial.loss));
        let scored = Round { accuracy, regression, loss, ..Round::blank(0) };
        let of_score = ["accuracy", "loss", "rmse", "mae", "r2"];
        text += &row(&scored, |name| of_score.contains(&name));
    }
    history.rounds.iter().for_each(|round| text += &row(round, |_| true));
    text
}

fn row(round: &Round, has: impl Fn(&str) -> bool) -> String {
    let cell = |(name, cell): &(&str, Cell)| {
        cell(round).filter(|_| has(name)).map_or_else(String::new, |number| number.to_string())
    };
    let cells: Vec<String> = COLUMNS.iter().map(cell).collect();
    format!("{},{}\n", round.round, cells.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_cell_for_each_column_and_leaves_out_what_a_round_lacks() {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let round = Round {
            accuracy: Some(finite(0.5)),
            loss: Some(finite(0.1 + 0.2)),
            update_norms: vec![1.0, 2.0],
            clients: 2,
            ..Round::blank(3)
        };
        let text = row(&round, |_| true);
        assert_eq!(text, "3,0.5,0.30000000000000004,,,,0,,,,,,,,,,,2,0,0,0,1.5,,0,\n");
        assert_eq!(text.matches(',').count(), COLUMNS.len());
        assert_eq!(row(&round, |name| name == "loss").trim_end_matches([',', '\n']), "3,,0.30000000000000004");
    }
}
