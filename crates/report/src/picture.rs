//! `result.png`: accuracy, or RMSE, MAE and R², and loss by round. A legend stands beside each panel.

use fedpipe_record::{
    client_scores::ClientScores,
    finite::Finite,
    history::History,
    regression::Regression,
    round_line::{InitialScore, Round},
};
use plotters::prelude::*;

use crate::{
    axes::{Chart, chart_of_rounds, range},
    canvas::{Area, Drawn, drawable, png_of},
};

const SIZE: (u32, u32) = (1020, 640);
/// The width of the legends.
const LEGEND: u32 = 190;
const ACCURACY: RGBColor = RGBColor(0, 114, 178);
const TEST_LOSS: RGBColor = RGBColor(213, 94, 0);
const TRAINING_LOSS: RGBColor = RGBColor(0, 158, 115);
const HELD_OUT: RGBColor = RGBColor(204, 121, 167);
const RMSE: RGBColor = RGBColor(0, 114, 178);
const MAE: RGBColor = RGBColor(86, 180, 233);
const PERSONAL: RGBColor = RGBColor(230, 159, 0);
const NEW_CLIENTS: RGBColor = RGBColor(0, 0, 0);
/// A panel of the picture, with at least one curve.
struct Panel {
    axis: &'static str,
    curves: Vec<Curve>,
    /// The scores of the clients, which are drawn behind the curves.
    clients: Vec<ClientRange>,
}

/// An entry of a legend.
type Entry = (&'static str, ShapeStyle);

impl Panel {
    /// Returns a panel of those of the curves that have points.
    fn new(axis: &'static str, mut curves: Vec<Curve>) -> Self {
        curves.retain(|curve| !curve.points.is_empty());
        Self { axis, curves, clients: Vec::new() }
    }

    fn with(self, clients: Vec<ClientRange>) -> Self {
        Self { clients, ..self }
    }
}

/// Rounds and values.
type Points = Vec<(f64, f64)>;

/// A line of one panel.
struct Curve {
    label: &'static str,
    colour: RGBColor,
    width: u32,
    points: Points,
}

impl Curve {
    fn new(label: &'static str, colour: RGBColor, points: Points) -> Self {
        Self { label, colour, width: 2, points }
    }

    fn thin(self) -> Self {
        Self { width: 1, ..self }
    }

    fn style(&self) -> ShapeStyle {
        self.colour.stroke_width(self.width)
    }
}

/// The scores of the clients in a round.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ClientRange {
    round: f64,
    worst: f64,
    best: f64,
    mean: f64,
}

/// Returns the picture of the run with this history as a PNG file; `None` before the first round is complete.
///
/// # Errors
/// Returns those of drawing.
pub fn result(history: &History) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(summary) = &history.finished else { return Ok(None) };
    (!history.rounds.is_empty()).then(|| png(&summary.title(), history.initial, &history.rounds)).transpose()
}

/// Returns a picture of at least one round as a PNG file; `title` stands above it. The test curves begin with the score
/// of the initial weights, at round 0.
fn png(title: &str, initial: Option<InitialScore>, rounds: &[Round]) -> anyhow::Result<Vec<u8>> {
    png_of(SIZE, |area| draw(area, title, &panels(initial, rounds)))
}

/// The scores on the test set at a round: the accuracy, or the errors of a real target.
type Scored = (f64, Option<Finite>, Option<Regression>, Finite);

/// Returns the panels from top to bottom. The test curves begin with the initial weights, at round 0.
fn panels(initial: Option<InitialScore>, rounds: &[Round]) -> Vec<Panel> {
    let initial = initial.map(|score| (0.0, score.accuracy, score.regression, score.loss));
    let scored = rounds.iter().map(|round| (round.round as f64, round.accuracy, round.regression, round.loss));
    let scored: Vec<Scored> = initial.into_iter().chain(scored).collect();
    let points = |value: &dyn Fn(&Scored) -> Option<Finite>| {
        let point = |score: &Scored| Some((score.0, value(score)?.get()));
        scored.iter().filter_map(point).collect::<Points>()
    };
    let error = |value: fn(Regression) -> Option<Finite>| points(&move |score| score.2.and_then(value));
    let percent = points(&|score| score.1).into_iter().map(|(round, accuracy)| (round, 100.0 * accuracy));
    let training = rounds.iter().filter_map(|round| Some((round.round as f64, round.training_loss?.get())));
    let [accuracies, rmses] = [client_accuracies, client_rmses].map(|range| client_ranges(rounds, range));
    let means = |ranges: &[ClientRange]| ranges.iter().map(|range| (range.round, range.mean)).collect();
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
                Curve::new("test accuracy", ACCURACY, percent.collect()),
                Curve::new("held-out accuracy", HELD_OUT, means(&accuracies)),
                Curve::new("own models' accuracy", PERSONAL, accuracy(|round| &round.personal)),
                Curve::new("new clients' accuracy", NEW_CLIENTS, accuracy(|round| &round.new_clients)).thin(),
            ],
        )
        .with(accuracies),
        Panel::new("R2", vec![Curve::new("test R2", ACCURACY, error(|errors| errors.r2))]),
        Panel::new(
            "error",
            vec![
                Curve::new("test RMSE", RMSE, error(|errors| Some(errors.rmse))),
                Curve::new("test MAE", MAE, error(|errors| Some(errors.mae))),
                Curve::new("held-out RMSE", HELD_OUT, means(&rmses)),
                Curve::new("own models' RMSE", PERSONAL, rmse(|round| &round.personal)),
                Curve::new("new clients' RMSE", NEW_CLIENTS, rmse(|round| &round.new_clients)).thin(),
            ],
        )
        .with(rmses),
        Panel::new(
            "loss",
            vec![
                Curve::new("test loss", TEST_LOSS, points(&|score| Some(score.3))),
                Curve::new("training loss", TRAINING_LOSS, training.collect()),
            ],
        ),
    ];
    panels.into_iter().filter(|panel| !panel.curves.is_empty()).collect()
}

fn draw(area: &Area<'_>, title: &str, panels: &[Panel]) -> Drawn {
    area.fill(&WHITE)?;
    let area = area.margin(8, 0, 0, 0).titled(&drawable(title), ("sans-serif", 20))?;
    let parts = area.split_evenly((panels.len(), 1));
    panels.iter().zip(parts).try_for_each(|(panel, area)| draw_panel(&area, panel))
}

/// Returns the ranges of the clients in each round that has one.
fn client_ranges(rounds: &[Round], range: fn(u64, &ClientScores) -> Option<ClientRange>) -> Vec<ClientRange> {
    rounds.iter().filter_map(|round| range(round.round, round.held_out.as_ref()?)).collect()
}

/// Returns the accuracies of the clients that train on held-out examples, in percent.
fn client_accuracies(round: u64, scores: &ClientScores) -> Option<ClientRange> {
    let accuracy = scores.accuracy?;
    let best = scores.accuracies().fold(0.0, |best, accuracy| if accuracy > best { accuracy } else { best });
    let [worst, mean] = [accuracy.worst, accuracy.mean].map(|share| 100.0 * share.get());
    Some(ClientRange { round: round as f64, worst, best: 100.0 * best, mean })
}

/// Returns the RMSEs of the clients that train on held-out examples.
fn client_rmses(round: u64, scores: &ClientScores) -> Option<ClientRange> {
    let rmse = scores.rmse?;
    let best = scores.rmses().into_iter().fold(f64::INFINITY, |best, rmse| if rmse < best { rmse } else { best });
    Some(ClientRange { round: round as f64, worst: rmse.worst.get(), best, mean: rmse.mean.get() })
}

fn draw_panel(area: &Area<'_>, Panel { axis, curves, clients }: &Panel) -> Drawn {
    let rounds = range(curves.iter().flat_map(|curve| &curve.points).map(|point| point.0), 0.02);
    let ends = clients.iter().flat_map(|range| [range.worst, range.best]);
    let values = range(curves.iter().flat_map(|curve| &curve.points).map(|point| point.1).chain(ends), 0.08);
    let (plot, legend) = area.split_horizontally(SIZE.0 - LEGEND);
    let mut chart = chart_of_rounds(&plot, 12, (rounds, values), axis)?;
    let band = draw_band(&mut chart, clients)?;
    curves.iter().try_for_each(|curve| draw_curve(&mut chart, curve))?;
    let lines = curves.iter().map(|curve| (curve.label, curve.style()));
    draw_legend(&legend, &lines.chain(band).collect::<Vec<_>>())
}

/// Draws the entries below each other, from the top of the panel.
fn draw_legend(area: &Area<'_>, entries: &[Entry]) -> Drawn {
    let at = |row: usize| 24 + 24 * row as i32;
    entries.iter().enumerate().try_for_each(|(row, (label, style))| {
        let (left, right, y) = (4, 24, at(row));
        if style.filled {
            area.draw(&Rectangle::new([(left, y - 6), (right, y + 6)], *style))?;
        } else {
            area.draw(&PathElement::new([(left, y), (right, y)], *style))?;
        }
        area.draw(&Text::new(*label, (right + 8, y - 7), ("sans-serif", 15)))?;
        Ok(())
    })
}

/// Draws the band from the worst client to the best one; over a single round it is a line. Returns its entry of the
/// legend.
fn draw_band(chart: &mut Chart<'_, '_>, clients: &[ClientRange]) -> Result<Option<Entry>, Box<dyn std::error::Error>> {
    let fill = HELD_OUT.mix(0.25).filled();
    let upper = clients.iter().map(|range| (range.round, range.best));
    let lower = clients.iter().rev().map(|range| (range.round, range.worst));
    let outline: Vec<_> = upper.chain(lower).collect();
    match clients {
        [] => return Ok(None),
        [_] => chart.draw_series([PathElement::new(outline, HELD_OUT.mix(0.5).stroke_width(4))])?,
        _ => chart.draw_series([Polygon::new(outline, fill)])?,
    };
    Ok(Some(("worst to best client", fill)))
}

fn draw_curve(chart: &mut Chart<'_, '_>, curve: &Curve) -> Drawn {
    let Curve { colour, points, .. } = curve;
    chart.draw_series(LineSeries::new(points.iter().copied(), curve.style()))?;
    if points.len() <= 50 {
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedpipe_record::client_scores::ClientScore;

    fn round(round: u64, accuracy: f64, loss: f64) -> Round {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let (accuracy, loss) = (Some(finite(accuracy)), finite(loss));
        Round { accuracy, loss, training_loss: Some(loss), clients: 4, ..Round::blank(round) }
    }

    #[test]
    fn text_is_drawn_without_any_system_font() {
        let picture = png("title", None, &[round(1, 0.8, 0.6)]).unwrap();
        let blank = png("", None, &[round(1, 0.8, 0.6)]).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture != blank);
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
    fn scored(round: Round, correct: &[u64]) -> Round {
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
        let range = |round, worst, best, mean| ClientRange { round, worst, best, mean };
        assert_eq!(
            client_ranges(&rounds, client_accuracies),
            [range(1.0, 25.0, 75.0, 50.0), range(3.0, 100.0, 100.0, 100.0)]
        );
        let plain = png("title", None, &[round(1, 0.5, 1.0), round(2, 0.5, 1.0)]).unwrap();
        for count in [1, 3] {
            assert_ne!(png("title", None, &rounds[..count]).unwrap(), plain);
        }
    }

    #[test]
    fn new_clients_have_a_curve() {
        let held_out = scored(round(1, 0.5, 1.0), &[1, 3]);
        let new = Round { new_clients: held_out.held_out, ..round(1, 0.5, 1.0) };
        let panels = panels(None, &[new]);
        let curve = panels[0].curves.last().unwrap();
        assert_eq!((curve.label, &curve.points), ("new clients' accuracy", &vec![(1.0, 50.0)]));
    }

    #[test]
    fn any_losses_are_drawn() {
        let greatest = f64::from(f32::MAX);
        let next = |x: f64| f64::from_bits(x.to_bits() + 1);
        let ln_10 = f64::from_bits(0x4002_6bb1_bbb5_5516);
        for losses in
            [[0.0, 0.0], [ln_10, next(ln_10)], [greatest, next(greatest)], [-greatest, greatest], [1e-300, 2e-300]]
        {
            let rounds = [round(1, 0.1, losses[0]), round(2, 0.1, losses[1])];
            assert!(png("title", None, &rounds).unwrap().starts_with(b"\x89PNG"), "{losses:?}");
        }
    }
}
