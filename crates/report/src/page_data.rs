//! The data of the figures in `report.html`, which the script in the page draws.

use std::collections::BTreeMap;

use fedpipe_record::{
    by_class::ByClass,
    client_scores::ClientScores,
    finite::Finite,
    history::{DealtLine, History},
    partition_table::PartitionTable,
    regression::Regression,
    round_line::Round,
};
use serde::Serialize;

use crate::metrics_table::mean;

/// The most points of a curve: more are closer than pixels.
const MOST_POINTS: usize = 800;

/// The most columns and rows of a heat map; more share one.
const MOST_COLUMNS: usize = 300;
const MOST_ROWS: usize = 100;

/// A figure with curves over the rounds, or over another axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct CurveFigure {
    #[serde(skip)]
    pub(crate) id: &'static str,
    #[serde(skip)]
    pub(crate) caption: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'static str,
    /// The name of another axis than the rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<&'static str>,
    series: Vec<Series>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bands: Vec<Band>,
}

/// A curve: places on the axis and values.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Series {
    name: &'static str,
    colour: u8,
    points: Vec<[f64; 2]>,
}

/// The area between two curves: rounds, lower values, upper values.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Band {
    name: &'static str,
    colour: u8,
    points: Vec<[f64; 3]>,
}

/// A heat map: (rows, columns).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct HeatMap {
    values: Vec<Vec<Option<f64>>>,
    rows: Vec<String>,
    columns: Vec<String>,
    /// The label of the axis.
    x: String,
    /// The words about a cell, with `{row}`, `{column}` and `{value}`.
    title: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<[f64; 2]>,
    /// `true` if a cell has its value as text where there is room.
    text: bool,
    /// `true` if cells are about as high as wide.
    square: bool,
}

/// Returns the figures with curves that have points.
pub(crate) fn curves(history: &History) -> Vec<CurveFigure> {
    let rounds = &history.rounds;
    // A lone point says nothing of rounds without a global score.
    let initial = history.initial.filter(|_| rounds.is_empty() || rounds.iter().any(|round| round.loss.is_some()));
    let initial = initial.map(|of| (0.0, of.accuracy, of.regression, Some(of.loss)));
    type Scored = (f64, Option<Finite>, Option<Regression>, Option<Finite>);
    let scored = rounds.iter().map(|round| (round.round as f64, round.accuracy, round.regression, round.loss));
    let scored: Vec<Scored> = initial.into_iter().chain(scored).collect();
    let test = |value: &dyn Fn(&Scored) -> Option<Finite>| {
        thinned(scored.iter().filter_map(|score| Some([score.0, value(score)?.get()])).collect())
    };
    let of_round = |value: &dyn Fn(&Round) -> Option<f64>| {
        thinned(rounds.iter().filter_map(|round| Some([round.round as f64, value(round)?])).collect())
    };
    let percent = |points: Vec<[f64; 2]>| points.into_iter().map(|[x, y]| [x, 100.0 * y]).collect::<Vec<_>>();
    let error = |value: fn(Regression) -> Option<Finite>| test(&move |score| score.2.and_then(value));
    let clients = |scores: fn(&Round) -> &Option<ClientScores>| {
        percent(of_round(&|round| scores(round).as_ref()?.accuracy.map(|of| of.mean.get())))
    };
    // Without a test set, the curve of all clients that train stands for that of the clients that were scored.
    let has_test_set = history.stretch_of_last_round().experiment.has_test_set();
    let (of_test_set, errors, errors_in_time) = if has_test_set {
        ("test set", "Errors on the test set", "Errors on the test set by virtual time")
    } else {
        ("held-out examples", "Errors on held-out examples", "Errors on held-out examples by virtual time")
    };
    let held_out = if has_test_set { clients(|round| &round.held_out) } else { Vec::new() };
    let figures = vec![
        CurveFigure {
            bands: client_band(rounds).into_iter().collect(),
            ..figure(
                "accuracy",
                "Accuracy",
                "%",
                vec![
                    (of_test_set, 0, percent(test(&|score| score.1))),
                    ("held-out examples", 3, held_out),
                    ("own models", 5, clients(|round| &round.personal)),
                    ("new clients", 4, clients(|round| &round.new_clients)),
                ],
            )
        },
        figure("r2", "R²", "", vec![(of_test_set, 0, error(|errors| errors.r2))]),
        figure(
            "errors",
            errors,
            "",
            vec![
                ("RMSE", 3, error(|errors| Some(errors.rmse))),
                ("MAE", 5, error(|errors| Some(errors.mae))),
                ("RMSE of own models, held out", 0, of_round(&|round| Some(round.personal.as_ref()?.rmse?.mean.get()))),
            ],
        ),
        figure(
            "loss",
            "Loss",
            "",
            vec![
                (of_test_set, 1, test(&|score| score.3)),
                ("training", 2, of_round(&|round| round.training_loss.map(Finite::get))),
                ("received weights", 4, of_round(&|round| round.start_loss.map(Finite::get))),
            ],
        ),
        CurveFigure {
            bands: norm_band(rounds).into_iter().collect(),
            ..figure(
                "norms",
                "Length of the updates, ‖w_k − w‖",
                "",
                vec![("mean of the clients", 0, of_round(&|round| mean(&round.update_norms)))],
            )
        },
        figure(
            "bytes",
            "Bytes of a round",
            "",
            vec![
                ("sent to clients", 0, of_round(&|round| Some(round.bytes_sent as f64))),
                ("received from clients", 1, of_round(&|round| Some(round.bytes_received as f64))),
            ],
        ),
        figure(
            "change",
            "Relative change of the global weights",
            "",
            vec![("‖Δw‖ / ‖w‖", 2, of_round(&|round| round.weights_change.map(Finite::get)))],
        ),
        figure("seconds", "Seconds of a round", "", vec![("seconds", 5, of_round(&|round| Some(round.seconds.get())))]),
    ];
    let timed =
        [("accuracy-in-time", "accuracy", "Accuracy by virtual time"), ("errors-in-time", "errors", errors_in_time)];
    let in_time = timed.into_iter().filter_map(|(id, of, caption)| {
        let figure = figures.iter().find(|figure| figure.id == of)?;
        Some(CurveFigure { id, caption, ..in_virtual_time(figure, rounds)? })
    });
    let in_time: Vec<CurveFigure> = in_time.collect();
    in_time.into_iter().chain(figures).filter(|figure| !figure.series.is_empty()).collect()
}

/// Returns a figure over the rounds as one over virtual time; `None` without a clock.
fn in_virtual_time(figure: &CurveFigure, rounds: &[Round]) -> Option<CurveFigure> {
    let ends: BTreeMap<u64, f64> =
        rounds.iter().filter_map(|round| Some((round.round, round.virtual_seconds?.get()))).collect();
    let place = |round: f64| if round == 0.0 { Some(0.0) } else { ends.get(&(round as u64)).copied() };
    let moved = |series: &Series| {
        let points = series.points.iter().filter_map(|[round, value]| Some([place(*round)?, *value]));
        Series { points: points.collect(), ..series.clone() }
    };
    let series = figure.series.iter().map(moved).collect();
    let is_timed = !ends.is_empty();
    is_timed.then(|| CurveFigure { x: Some("virtual seconds"), series, bands: Vec::new(), ..figure.clone() })
}

type Curve = (&'static str, u8, Vec<[f64; 2]>);

fn figure(id: &'static str, caption: &'static str, unit: &'static str, curves: Vec<Curve>) -> CurveFigure {
    let has_points = |(_, _, points): &Curve| !points.is_empty();
    let series = curves.into_iter().filter(has_points);
    let series = series.map(|(name, colour, points)| Series { name, colour, points }).collect();
    CurveFigure { id, caption, unit, x: None, series, bands: Vec::new() }
}

/// Returns every n-th of the points and the last one, so that there are not too many.
pub(crate) fn thinned<T: Copy>(points: Vec<T>) -> Vec<T> {
    let step = points.len().div_ceil(MOST_POINTS).max(1);
    let last = points.len().wrapping_sub(1);
    points.iter().enumerate().filter(|(at, _)| at % step == 0 || *at == last).map(|(_, point)| *point).collect()
}

/// Returns the band from the worst client to the best one: of the global weights, or of the clients' own models if the
/// global weights have no score.
fn client_band(rounds: &[Round]) -> Option<Band> {
    let range = |round: &Round| {
        let scores = round.held_out.as_ref().or(round.personal.as_ref())?;
        let worst = scores.accuracy?.worst.get();
        let best = scores.accuracies().fold(0.0, |best, share| if share > best { share } else { best });
        Some([round.round as f64, 100.0 * worst, 100.0 * best])
    };
    band("worst to best client", 3, rounds.iter().filter_map(range).collect())
}

/// Returns the band from the shortest update to the longest one.
fn norm_band(rounds: &[Round]) -> Option<Band> {
    let range = |round: &Round| {
        let ends = round.update_norms.iter().map(|norm| f64::from(*norm));
        let least = ends.clone().fold(f64::INFINITY, |least, norm| if norm < least { norm } else { least });
        let most = ends.fold(0.0, |most, norm| if norm > most { norm } else { most });
        (round.update_norms.len() > 1).then_some([round.round as f64, least, most])
    };
    band("shortest to longest", 0, rounds.iter().filter_map(range).collect())
}

fn band(name: &'static str, colour: u8, points: Vec<[f64; 3]>) -> Option<Band> {
    (!points.is_empty()).then(|| Band { name, colour, points: thinned(points) })
}

/// Returns the held-out accuracy of the model that each client uses by round, or the loss of a real target.
pub(crate) fn client_map(history: &History) -> Option<HeatMap> {
    let scored: Vec<(&Round, &ClientScores)> =
        history.rounds.iter().filter_map(|round| Some((round, round.used_models()?))).collect();
    let scored = thinned_to(&scored, MOST_COLUMNS);
    let mut clients: Vec<u32> = scored.iter().flat_map(|(_, scores)| &scores.clients).copied().collect();
    clients.sort_unstable();
    clients.dedup();
    let kept = thinned_to(&clients, MOST_ROWS);
    let has_classes = scored.first()?.1.accuracy.is_some();
    let cell = |client: u32, scores: &ClientScores| {
        let at = scores.clients.binary_search(&client).ok()?;
        let examples = scores.examples[at] as f64;
        match scores.correct.get(at) {
            Some(correct) => Some(100.0 * *correct as f64 / examples),
            None => Some(scores.loss_sums[at].get() / examples),
        }
    };
    let values: Vec<Vec<_>> =
        kept.iter().map(|client| scored.iter().map(|(_, scores)| cell(*client, scores)).collect()).collect();
    let known = values.iter().flatten().flatten();
    let least = known.clone().fold(f64::INFINITY, |least, value| if *value < least { *value } else { least });
    let most = known.fold(f64::NEG_INFINITY, |most, value| if *value > most { *value } else { most });
    Some(HeatMap {
        values,
        rows: kept.iter().map(|client| format!("client {client}")).collect(),
        columns: scored.iter().map(|(round, _)| round.round.to_string()).collect(),
        x: "round".to_owned(),
        title: "{row}, round {column}: {value}",
        unit: if has_classes { "%" } else { "" },
        range: Some([least, most]),
        text: true,
        square: false,
    })
}

/// Returns as many values at equal distances as there is room for.
fn thinned_to<T: Copy>(values: &[T], most: usize) -> Vec<T> {
    values.iter().step_by(values.len().div_ceil(most).max(1)).copied().collect()
}

/// Returns the examples of each client by class, or their number alone. Neighbours share a column if there are many.
pub(crate) fn split_map(dealt: &DealtLine) -> HeatMap {
    let table = PartitionTable::new(&dealt.dataset, &dealt.sizes, &dealt.label_counts);
    let together = table.sizes.len().div_ceil(MOST_COLUMNS).max(1);
    let average = |values: Vec<u64>| -> Vec<Option<f64>> {
        let mean = |part: &[u64]| Some(part.iter().sum::<u64>() as f64 / part.len() as f64);
        values.chunks(together).map(mean).collect()
    };
    let mut rows: Vec<String> = table.classes.clone();
    let mut values: Vec<_> = (0..table.classes.len())
        .map(|class| average(table.counts.iter().map(|counts| counts[class]).collect()))
        .collect();
    if rows.is_empty() {
        rows.push("examples".to_owned());
        values.push(average(table.sizes.clone()));
    }
    let columns = (0..table.sizes.len()).step_by(together).map(|client| table.clients[client].clone()).collect();
    let x = if together == 1 { "client".to_owned() } else { format!("client (a column is the mean of {together})") };
    let title = "{row}, client {column}: {value}";
    HeatMap { values, rows, columns, x, title, unit: "", range: None, text: true, square: false }
}

/// Returns the confusion matrix: the rows by label, the columns by prediction.
pub(crate) fn confusion_map(scores: &ByClass, names: &[String]) -> HeatMap {
    let cell = |count: &u64| Some(*count as f64);
    HeatMap {
        values: scores.confusion.iter().map(|row| row.iter().map(cell).collect()).collect(),
        rows: names.to_vec(),
        columns: names.to_vec(),
        x: "prediction".to_owned(),
        title: "{row} taken for {column}: {value}",
        unit: "",
        range: None,
        text: true,
        square: true,
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_record::client_scores::ClientScore;

    use super::*;

    #[test]
    fn a_long_curve_keeps_its_ends() {
        let points: Vec<u64> = (0..10_000).collect();
        let kept = thinned(points);
        assert!(kept.len() <= MOST_POINTS + 1);
        assert_eq!((kept[0], kept[kept.len() - 1]), (0, 9_999));
        assert_eq!((thinned(vec![1, 2]), thinned(Vec::<u8>::new())), (vec![1, 2], vec![]));
    }

    #[test]
    fn the_bands_go_from_the_least_to_the_most() {
        let score =
            |client, correct| ClientScore { client, examples: 4, correct: Some(correct), loss_sum: 1.0, errors: None };
        let scores = ClientScores::new(&[score(0, 1), score(1, 3)]).unwrap();
        let round = Round { held_out: scores, update_norms: vec![2.0, 0.5, 1.0], ..Round::blank(1) };
        assert_eq!(client_band(std::slice::from_ref(&round)).unwrap().points, [[1.0, 25.0, 75.0]]);
        assert_eq!(norm_band(&[round]).unwrap().points, [[1.0, 0.5, 2.0]]);
        assert_eq!(norm_band(&[Round::blank(1)]), None);
    }

    #[test]
    fn a_figure_in_virtual_time_has_the_ends_of_its_rounds() {
        let end = |number: u64, seconds: f64| Round {
            virtual_seconds: Some(Finite::try_from(seconds).unwrap()),
            ..Round::blank(number)
        };
        let figure =
            figure("accuracy", "Accuracy", "%", vec![("test set", 0, vec![[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]])]);
        let timed = in_virtual_time(&figure, &[end(1, 2.5), end(2, 4.0)]).unwrap();
        assert_eq!(timed.series[0].points, [[0.0, 1.0], [2.5, 2.0], [4.0, 3.0]]);
        assert_eq!((timed.x, in_virtual_time(&figure, &[Round::blank(1)])), (Some("virtual seconds"), None));
    }
}
