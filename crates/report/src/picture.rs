//! `result.png`: accuracy and loss by round.

use fedpipe_record::{
    history::History,
    round_line::{InitialScore, Round},
};
use plotters::{coord::types::RangedCoordf64, prelude::*};

use crate::canvas::{Area, Drawn, png_of};

const SIZE: (u32, u32) = (900, 640);
const ACCURACY: RGBColor = RGBColor(0, 114, 178);
const TEST_LOSS: RGBColor = RGBColor(213, 94, 0);
const TRAINING_LOSS: RGBColor = RGBColor(0, 158, 115);
const HELD_OUT: RGBColor = RGBColor(204, 121, 167);

/// A line of one panel.
struct Curve<'a> {
    label: &'a str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// The accuracies of the clients in a round, in percent.
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
    png_of(SIZE, |area| draw(area, title, &test_curves(initial, rounds), rounds))
}

type Plane = Cartesian2d<RangedCoordf64, RangedCoordf64>;
type Chart<'a, 'b> = ChartContext<'a, BitMapBackend<'b>, Plane>;

/// Returns the points of the accuracy, in percent, and of the test loss, from round 0 on.
fn test_curves(initial: Option<InitialScore>, rounds: &[Round]) -> [Vec<(f64, f64)>; 2] {
    let initial = initial.map(|score| (0.0, score.accuracy, score.loss));
    let rounds = rounds.iter().map(|round| (round.round as f64, round.accuracy, round.loss));
    let points = Vec::from_iter(initial.into_iter().chain(rounds));
    let accuracy = points.iter().map(|(round, accuracy, _)| (*round, 100.0 * accuracy.get()));
    [accuracy.collect(), points.iter().map(|(round, _, loss)| (*round, loss.get())).collect()]
}

fn draw(area: &Area<'_>, title: &str, [accuracy, loss]: &[Vec<(f64, f64)>; 2], rounds: &[Round]) -> Drawn {
    area.fill(&WHITE)?;
    let area = area.margin(8, 0, 0, 0).titled(title, ("sans-serif", 20))?;
    let (upper, lower) = area.split_vertically(area.dim_in_pixel().1 / 2);
    let curve = |label, colour, points: &[(f64, f64)]| Curve { label, colour, points: points.to_vec() };
    let clients = client_ranges(rounds);
    let mean: Vec<_> = clients.iter().map(|range| (range.round, range.mean)).collect();
    let mean = (!mean.is_empty()).then(|| curve("held-out accuracy", HELD_OUT, &mean));
    let accuracies: Vec<_> = [curve("test accuracy", ACCURACY, accuracy)].into_iter().chain(mean).collect();
    panel(&upper, "accuracy, %", &accuracies, &clients)?;
    let training: Vec<_> = rounds.iter().map(|round| (round.round as f64, round.training_loss.get())).collect();
    let losses = [curve("test loss", TEST_LOSS, loss), curve("training loss", TRAINING_LOSS, &training)];
    panel(&lower, "loss", &losses, &[])
}

/// Returns the accuracies on held-out examples of the clients that train, in each round that scored them.
fn client_ranges(rounds: &[Round]) -> Vec<ClientRange> {
    let range = |round: &Round| {
        let scores = round.held_out.as_ref()?;
        let best = scores.accuracies().fold(0.0, |best, accuracy| if accuracy > best { accuracy } else { best });
        let [worst, mean] = [scores.accuracy.worst, scores.accuracy.mean].map(|share| 100.0 * share.get());
        Some(ClientRange { round: round.round as f64, worst, best: 100.0 * best, mean })
    };
    rounds.iter().filter_map(range).collect()
}

/// Draws curves with their axes, and behind them the band of the clients.
fn panel(area: &Area<'_>, axis: &str, curves: &[Curve<'_>], clients: &[ClientRange]) -> Drawn {
    let rounds = range(curves.iter().flat_map(|curve| &curve.points).map(|point| point.0), 0.02);
    let ends = clients.iter().flat_map(|range| [range.worst, range.best]);
    let values = range(curves.iter().flat_map(|curve| &curve.points).map(|point| point.1).chain(ends), 0.08);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(rounds, values)?;
    chart
        .configure_mesh()
        .x_desc("round")
        .y_desc(axis)
        .x_labels(10)
        .y_labels(7)
        // Ticks between two rounds have no label: there is no half round.
        .y_label_formatter(&|&y| tick(y))
        .x_label_formatter(&|x| if (x - x.round()).abs() < 1e-6 { format!("{x:.0}") } else { String::new() })
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 16))
        .light_line_style(WHITE)
        .draw()?;
    draw_band(&mut chart, clients)?;
    curves.iter().try_for_each(|curve| draw_curve(&mut chart, curve))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .label_font(("sans-serif", 15))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

/// Draws the band from the worst client to the best one; over a single round it is a line.
fn draw_band(chart: &mut Chart<'_, '_>, clients: &[ClientRange]) -> Drawn {
    if clients.is_empty() {
        return Ok(());
    }
    let fill = HELD_OUT.mix(0.25).filled();
    let upper = clients.iter().map(|range| (range.round, range.best));
    let lower = clients.iter().rev().map(|range| (range.round, range.worst));
    let outline: Vec<_> = upper.chain(lower).collect();
    let band = match clients {
        [_] => chart.draw_series([PathElement::new(outline, HELD_OUT.mix(0.5).stroke_width(4))])?,
        _ => chart.draw_series([Polygon::new(outline, fill)])?,
    };
    band.label("worst to best client").legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 18, y + 5)], fill));
    Ok(())
}

fn draw_curve(chart: &mut Chart<'_, '_>, curve: &Curve<'_>) -> Drawn {
    let Curve { label, colour, points } = curve;
    let line = ShapeStyle::from(colour).stroke_width(2);
    chart
        .draw_series(LineSeries::new(points.iter().copied(), line))?
        .label(*label)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], line));
    if points.len() <= 50 {
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
    }
    Ok(())
}

/// Returns the text of a tick, short whatever its magnitude: ticks are sums, such as 0.7000000000000001.
fn tick(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        return format!("{value:.2e}");
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns the range of `values`, with that part of it as a margin on both sides. The range is never empty. It is never
/// so narrow that f64 has too few numbers in it for the ticks of an axis, since the ticks would never end.
fn range(values: impl Iterator<Item = f64>, margin: f64) -> std::ops::Range<f64> {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values {
        low = if value < low { value } else { low };
        high = if value > high { value } else { high };
    }
    let greatest = if high > -low { high } else { -low };
    let room = if high - low > 1e-6 * greatest {
        margin * (high - low)
    } else if greatest > 1.0 {
        greatest / 2.0
    } else {
        0.5
    };
    low - room..high + room
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedpipe_record::{
        client_scores::{ClientScore, ClientScores},
        finite::Finite,
    };

    fn round(round: u64, accuracy: f64, loss: f64) -> Round {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let (accuracy, loss) = (finite(accuracy), finite(loss));
        Round { accuracy, loss, training_loss: loss, clients: 4, ..Round::blank(round) }
    }

    #[test]
    fn text_is_drawn_without_any_system_font() {
        let picture = png("title", None, &[round(1, 0.8, 0.6)]).unwrap();
        let blank = png("", None, &[round(1, 0.8, 0.6)]).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture != blank);
    }

    #[test]
    fn the_test_curves_begin_with_the_initial_weights() {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let initial = InitialScore { accuracy: finite(0.125), loss: finite(2.5) };
        let [accuracy, loss] = test_curves(Some(initial), &[round(1, 0.75, 0.5)]);
        assert_eq!((accuracy, loss), (vec![(0.0, 12.5), (1.0, 75.0)], vec![(0.0, 2.5), (1.0, 0.5)]));
    }

    /// Returns the round with clients of which each predicted so many of four examples.
    fn scored(round: Round, correct: &[u64]) -> Round {
        let score = |(client, &correct)| ClientScore { client, examples: 4, correct, loss_sum: 1.0 };
        let scores: Vec<_> = (0..).zip(correct).map(score).collect();
        Round { held_out: ClientScores::new(&scores).unwrap(), ..round }
    }

    #[test]
    fn the_band_goes_from_the_worst_client_to_the_best() {
        let rounds = [scored(round(1, 0.5, 1.0), &[1, 3, 2]), round(2, 0.5, 1.0), scored(round(3, 0.5, 1.0), &[4])];
        let range = |round, worst, best, mean| ClientRange { round, worst, best, mean };
        assert_eq!(client_ranges(&rounds), [range(1.0, 25.0, 75.0, 50.0), range(3.0, 100.0, 100.0, 100.0)]);
        let plain = png("title", None, &[round(1, 0.5, 1.0), round(2, 0.5, 1.0)]).unwrap();
        for count in [1, 3] {
            assert_ne!(png("title", None, &rounds[..count]).unwrap(), plain);
        }
    }

    #[test]
    fn one_round_and_a_flat_line_have_a_range() {
        assert_eq!(range([0.5].into_iter(), 0.1), 0.0..1.0);
        assert_eq!(range([2.0].into_iter(), 0.1), 1.0..3.0);
        assert_eq!(range([1.0, 2.0].into_iter(), 0.1), 0.9..2.1);
    }

    #[test]
    fn ticks_are_short() {
        let texts = [0.1 + 0.6, 80.0, 0.0, 2.5, -0.25, 1e-7, f64::from(f32::MAX)].map(tick);
        assert_eq!(texts, ["0.7", "80", "0", "2.5", "-0.25", "1.00e-7", "3.40e38"]);
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
