//! The panels of `result.png`: the curves and their points, as pure functions of a history.

use fedpipe_record::{
    client_scores::ClientScores,
    finite::Finite,
    regression::Regression,
    round_line::{InitialScore, Round},
};
use plotters::style::{Color, RGBColor, ShapeStyle};

const ACCURACY: RGBColor = RGBColor(0, 114, 178);
const TEST_LOSS: RGBColor = RGBColor(213, 94, 0);
const TRAINING_LOSS: RGBColor = RGBColor(0, 158, 115);
const HELD_OUT: RGBColor = RGBColor(204, 121, 167);
const RMSE: RGBColor = RGBColor(0, 114, 178);
const MAE: RGBColor = RGBColor(86, 180, 233);
const PERSONAL: RGBColor = RGBColor(230, 159, 0);
const NEW_CLIENTS: RGBColor = RGBColor(0, 0, 0);

/// A panel of the picture, with at least one curve.
pub(crate) struct Panel {
    pub(crate) axis: &'static str,
    pub(crate) curves: Vec<Curve>,
    /// The scores of the clients, which are drawn behind the curves.
    pub(crate) clients: ClientBand,
}

impl Panel {
    /// Returns a panel of those of the curves that have points.
    fn new(axis: &'static str, mut curves: Vec<Curve>) -> Self {
        curves.retain(|curve| !curve.points.is_empty());
        // Without a test set, the curve of all clients that train stands for that of the clients that were scored.
        curves.dedup_by_key(|curve| curve.label);
        Self { axis, curves, clients: ClientBand { colour: HELD_OUT, ranges: Vec::new() } }
    }

    fn with(self, clients: ClientBand) -> Self {
        Self { clients, ..self }
    }
}

/// Rounds and values.
pub(crate) type Points = Vec<(f64, f64)>;

/// A line of one panel.
pub(crate) struct Curve {
    pub(crate) label: &'static str,
    pub(crate) colour: RGBColor,
    width: u32,
    pub(crate) points: Points,
}

impl Curve {
    fn new(label: &'static str, colour: RGBColor, points: Points) -> Self {
        Self { label, colour, width: 2, points }
    }

    fn thin(self) -> Self {
        Self { width: 1, ..self }
    }

    pub(crate) fn style(&self) -> ShapeStyle {
        self.colour.stroke_width(self.width)
    }
}

/// The scores of the clients in a round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ClientRange {
    pub(crate) round: f64,
    pub(crate) worst: f64,
    pub(crate) best: f64,
}

/// The scores of the clients in each round that has them.
pub(crate) struct ClientBand {
    pub(crate) colour: RGBColor,
    pub(crate) ranges: Vec<ClientRange>,
}

/// The names of the curves of the global weights.
#[derive(Debug)]
pub(crate) struct TestNames {
    accuracy: &'static str,
    r2: &'static str,
    rmse: &'static str,
    mae: &'static str,
    loss: &'static str,
}

impl TestNames {
    pub(crate) const OF_TEST_SET: Self =
        Self { accuracy: "test accuracy", r2: "test R2", rmse: "test RMSE", mae: "test MAE", loss: "test loss" };

    /// The names of the scores on held-out examples, which all test examples of a client are.
    const OF_CLIENTS: Self = Self {
        accuracy: "held-out accuracy",
        r2: "held-out R2",
        rmse: "held-out RMSE",
        mae: "held-out MAE",
        loss: "held-out loss",
    };

    pub(crate) fn of(has_test_set: bool) -> Self {
        if has_test_set { Self::OF_TEST_SET } else { Self::OF_CLIENTS }
    }
}

/// The scores on the test set at a round: the accuracy, or the errors of a real target.
type Scored = (f64, Option<Finite>, Option<Regression>, Option<Finite>);

/// Returns the panels from top to bottom. The curves of the global weights begin with the initial ones, at round 0,
/// unless no round scores them.
pub(crate) fn panels(names: &TestNames, initial: Option<InitialScore>, rounds: &[Round]) -> Vec<Panel> {
    let initial = initial.filter(|_| rounds.iter().any(|round| round.loss.is_some()));
    let initial = initial.map(|score| (0.0, score.accuracy, score.regression, Some(score.loss)));
    let scored = rounds.iter().map(|round| (round.round as f64, round.accuracy, round.regression, round.loss));
    let scored: Vec<Scored> = initial.into_iter().chain(scored).collect();
    let points = |value: &dyn Fn(&Scored) -> Option<Finite>| {
        let point = |score: &Scored| Some((score.0, value(score)?.get()));
        scored.iter().filter_map(point).collect::<Points>()
    };
    let error = |value: fn(Regression) -> Option<Finite>| points(&move |score| score.2.and_then(value));
    let percent = points(&|score| score.1).into_iter().map(|(round, accuracy)| (round, 100.0 * accuracy));
    let training = rounds.iter().filter_map(|round| Some((round.round as f64, round.training_loss?.get())));
    let [accuracies, rmses] = [client_accuracies, client_rmses].map(|range| client_band(rounds, range));
    let accuracy = |of: fn(&Round) -> &Option<ClientScores>| -> Points {
        let point = |round: &Round| Some((round.round as f64, 100.0 * of(round).as_ref()?.accuracy?.mean.get()));
        rounds.iter().filter_map(point).collect()
    };
    let rmse = |of: fn(&Round) -> &Option<ClientScores>| -> Points {
        let point = |round: &Round| Some((round.round as f64, of(round).as_ref()?.rmse?.mean.get()));
        rounds.iter().filter_map(point).collect()
    };
    let panels = [
        Panel::new(
            "accuracy, %",
            vec![
                Curve::new(names.accuracy, ACCURACY, percent.collect()),
                Curve::new("held-out accuracy", HELD_OUT, accuracy(|round| &round.held_out)),
                Curve::new("own models' accuracy", PERSONAL, accuracy(|round| &round.personal)),
                Curve::new("new clients' accuracy", NEW_CLIENTS, accuracy(|round| &round.new_clients)).thin(),
            ],
        )
        .with(accuracies),
        Panel::new("R2", vec![Curve::new(names.r2, ACCURACY, error(|errors| errors.r2))]),
        Panel::new(
            "error",
            vec![
                Curve::new(names.rmse, RMSE, error(|errors| Some(errors.rmse))),
                Curve::new("held-out RMSE", HELD_OUT, rmse(|round| &round.held_out)),
                Curve::new(names.mae, MAE, error(|errors| Some(errors.mae))),
                Curve::new("own models' RMSE", PERSONAL, rmse(|round| &round.personal)),
                Curve::new("new clients' RMSE", NEW_CLIENTS, rmse(|round| &round.new_clients)).thin(),
            ],
        )
        .with(rmses),
        Panel::new(
            "loss",
            vec![
                Curve::new(names.loss, TEST_LOSS, points(&|score| score.3)),
                Curve::new("training loss", TRAINING_LOSS, training.collect()),
            ],
        ),
    ];
    panels.into_iter().filter(|panel| !panel.curves.is_empty()).collect()
}

/// Returns the ranges of the clients in each round that has one: those of the global weights, or of the clients' own
/// models if the global weights have no score.
fn client_band(rounds: &[Round], range: fn(u64, &ClientScores) -> Option<ClientRange>) -> ClientBand {
    let is_global = rounds.iter().any(|round| round.held_out.is_some());
    let of: fn(&Round) -> &Option<ClientScores> =
        if is_global { |round| &round.held_out } else { |round| &round.personal };
    let ranges = rounds.iter().filter_map(|round| range(round.round, of(round).as_ref()?)).collect();
    ClientBand { colour: if is_global { HELD_OUT } else { PERSONAL }, ranges }
}

/// Returns the accuracies of the clients that train on held-out examples, in percent.
fn client_accuracies(round: u64, scores: &ClientScores) -> Option<ClientRange> {
    let accuracy = scores.accuracy?;
    let best = scores.accuracies().fold(0.0, |best, accuracy| if accuracy > best { accuracy } else { best });
    let worst = 100.0 * accuracy.worst.get();
    Some(ClientRange { round: round as f64, worst, best: 100.0 * best })
}

/// Returns the RMSEs of the clients that train on held-out examples.
fn client_rmses(round: u64, scores: &ClientScores) -> Option<ClientRange> {
    let rmse = scores.rmse?;
    let best = scores.rmses().into_iter().fold(f64::INFINITY, |best, rmse| if rmse < best { rmse } else { best });
    Some(ClientRange { round: round as f64, worst: rmse.worst.get(), best })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use fedpipe_record::client_scores::ClientScore;

    pub(crate) fn round(round: u64, accuracy: f64, loss: f64) -> Round {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let (accuracy, loss) = (Some(finite(accuracy)), Some(finite(loss)));
        Round { accuracy, loss, training_loss: loss, clients: 4, ..Round::blank(round) }
    }

    fn panels(initial: Option<InitialScore>, rounds: &[Round]) -> Vec<Panel> {
        super::panels(&TestNames::OF_TEST_SET, initial, rounds)
    }

    /// Returns the axis of each panel, and the points of each of its curves.
    fn points(initial: InitialScore, round: Round) -> Vec<(&'static str, Vec<Points>)> {
        let panels = panels(Some(initial), &[round]);
        panels
            .into_iter()
            .map(|panel| (panel.axis, panel.curves.into_iter().map(|curve| curve.points).collect()))
            .collect()
    }

    #[test]
    fn the_test_curves_begin_with_the_initial_weights() {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let initial = InitialScore { accuracy: Some(finite(0.125)), regression: None, loss: finite(2.5) };
        let expected = [
            ("accuracy, %", vec![vec![(0.0, 12.5), (1.0, 75.0)]]),
            ("loss", vec![vec![(0.0, 2.5), (1.0, 0.5)], vec![(1.0, 0.5)]]),
        ];
        assert_eq!(points(initial, round(1, 0.75, 0.5)), expected);
    }

    #[test]
    fn a_real_target_has_panels_of_its_errors_in_place_of_the_accuracy() {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let errors = |rmse, r2: Option<f64>| Regression { rmse: finite(rmse), mae: finite(1.0), r2: r2.map(finite) };
        let of = |r2: Option<f64>| {
            let initial = InitialScore { accuracy: None, regression: Some(errors(3.0, r2)), loss: finite(9.0) };
            let regression = Some(errors(2.0, r2.map(|_| 0.5)));
            points(initial, Round { accuracy: None, regression, ..round(1, 0.0, 4.0) })
        };
        let errors = ("error", vec![vec![(0.0, 3.0), (1.0, 2.0)], vec![(0.0, 1.0), (1.0, 1.0)]]);
        let loss = ("loss", vec![vec![(0.0, 9.0), (1.0, 4.0)], vec![(1.0, 4.0)]]);
        assert_eq!(of(Some(-0.5)), [("R2", vec![vec![(0.0, -0.5), (1.0, 0.5)]]), errors.clone(), loss.clone()]);
        assert_eq!(of(None), [errors, loss], "equal targets have no R²");
    }

    /// Returns the round with clients of which each predicted so many of four examples.
    pub(crate) fn scored(round: Round, correct: &[u64]) -> Round {
        let score = |(client, &correct): (u32, &u64)| ClientScore {
            client,
            examples: 4,
            correct: Some(correct),
            errors: None,
            loss_sum: 1.0,
        };
        let scores: Vec<_> = (0..).zip(correct).map(score).collect();
        Round { held_out: ClientScores::new(&scores).unwrap(), ..round }
    }

    #[test]
    fn the_band_goes_from_the_worst_client_to_the_best() {
        let rounds = [scored(round(1, 0.5, 1.0), &[1, 3, 2]), round(2, 0.5, 1.0), scored(round(3, 0.5, 1.0), &[4])];
        let range = |round, worst, best| ClientRange { round, worst, best };
        let ranges = client_band(&rounds, client_accuracies).ranges;
        assert_eq!(ranges, [range(1.0, 25.0, 75.0), range(3.0, 100.0, 100.0)]);
    }

    #[test]
    fn new_clients_have_a_curve() {
        let held_out = scored(round(1, 0.5, 1.0), &[1, 3]);
        let new = Round { new_clients: held_out.held_out, ..round(1, 0.5, 1.0) };
        let panels = panels(None, &[new]);
        let curve = panels[0].curves.last().unwrap();
        assert_eq!((curve.label, &curve.points), ("new clients' accuracy", &vec![(1.0, 50.0)]));
    }

    fn labels(panels: &[Panel]) -> Vec<Vec<&'static str>> {
        panels.iter().map(|panel| panel.curves.iter().map(|curve| curve.label).collect()).collect()
    }

    #[test]
    fn a_run_without_a_test_set_has_no_test_curves() {
        let scored = scored(round(1, 0.5, 1.0), &[1, 3]);
        let panels = super::panels(&TestNames::of(false), None, &[scored]);
        assert_eq!(labels(&panels), [vec!["held-out accuracy"], vec!["held-out loss", "training loss"]]);
        assert_eq!(panels[0].clients.ranges.len(), 1);
    }

    #[test]
    fn a_run_without_global_scores_has_the_curves_of_the_clients_alone() {
        let initial = InitialScore { accuracy: Some(Finite::ZERO), regression: None, loss: Finite::ZERO };
        let of_clients = scored(round(1, 0.5, 1.0), &[1, 3]);
        let own = Round { personal: of_clients.held_out, accuracy: None, loss: None, ..round(1, 0.5, 1.0) };
        let panels = panels(Some(initial), &[own]);
        assert_eq!(labels(&panels), [vec!["own models' accuracy"], vec!["training loss"]]);
        let ClientBand { colour, ranges } = &panels[0].clients;
        assert_eq!((*colour, ranges.len()), (PERSONAL, 1));
    }
}
