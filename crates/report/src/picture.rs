//! `result.png`: accuracy, or RMSE, MAE and R², and loss by round. A legend stands beside each panel.

use fedpipe_record::{
    history::History,
    measure::CurveAxis,
    round_line::{InitialScore, Round},
};
use plotters::prelude::*;

use crate::{
    axes::{Chart, chart, range},
    canvas::{Area, Drawn, drawable, png_of},
    score_panels::{ClientBand, Curve, Panel, TestNames, panels},
};

const SIZE: (u32, u32) = (1020, 640);
/// The width of the legends.
const LEGEND: u32 = 190;

/// An entry of a legend.
type Entry = (&'static str, ShapeStyle);

/// Returns the picture of the run with this history as a PNG file; `None` before the first round is complete.
///
/// # Errors
/// Returns those of drawing.
pub fn result(history: &History) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(summary) = &history.finished else { return Ok(None) };
    let names = &TestNames::of(history.stretch_of_last_round().experiment.has_test_set());
    let png = || png(&summary.title(), names, history.initial, &history.rounds);
    (!history.rounds.is_empty()).then(png).transpose()
}

/// Returns a picture of at least one round as a PNG file; `title` stands above it.
fn png(title: &str, names: &TestNames, initial: Option<InitialScore>, rounds: &[Round]) -> anyhow::Result<Vec<u8>> {
    png_of(SIZE, |area| draw(area, title, &panels(names, initial, rounds)))
}

fn draw(area: &Area<'_>, title: &str, panels: &[Panel]) -> Drawn {
    area.fill(&WHITE)?;
    let area = area.margin(8, 0, 0, 0).titled(&drawable(title), ("sans-serif", 20))?;
    let parts = area.split_evenly((panels.len().max(1), 1));
    panels.iter().zip(parts).try_for_each(|(panel, area)| draw_panel(&area, panel))
}

fn draw_panel(area: &Area<'_>, Panel { axis, curves, clients }: &Panel) -> Drawn {
    let rounds = range(curves.iter().flat_map(|curve| &curve.points).map(|point| point.0), 0.02);
    let ends = clients.ranges.iter().flat_map(|range| [range.worst, range.best]);
    let values = range(curves.iter().flat_map(|curve| &curve.points).map(|point| point.1).chain(ends), 0.08);
    let (plot, legend) = area.split_horizontally(SIZE.0 - LEGEND);
    let mut chart = chart(&plot, 12, (rounds, values), (CurveAxis::Round, axis))?;
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
fn draw_band(chart: &mut Chart<'_, '_>, band: &ClientBand) -> Result<Option<Entry>, Box<dyn std::error::Error>> {
    let ClientBand { colour, ranges: clients } = band;
    let fill = colour.mix(0.25).filled();
    let upper = clients.iter().map(|range| (range.round, range.best));
    let lower = clients.iter().rev().map(|range| (range.round, range.worst));
    let outline: Vec<_> = upper.chain(lower).collect();
    match clients.as_slice() {
        [] => return Ok(None),
        [_] => chart.draw_series([PathElement::new(outline, colour.mix(0.5).stroke_width(4))])?,
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
    use crate::score_panels::tests::{round, scored};

    fn png(title: &str, rounds: &[Round]) -> anyhow::Result<Vec<u8>> {
        super::png(title, &TestNames::OF_TEST_SET, None, rounds)
    }

    #[test]
    fn text_is_drawn_without_any_system_font() {
        let picture = png("title", &[round(1, 0.8, 0.6)]).unwrap();
        let blank = png("", &[round(1, 0.8, 0.6)]).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture != blank);
    }

    #[test]
    fn a_band_is_drawn_and_rounds_without_a_score_are_too() {
        let rounds = [scored(round(1, 0.5, 1.0), &[1, 3, 2]), round(2, 0.5, 1.0), scored(round(3, 0.5, 1.0), &[4])];
        let plain = png("title", &[round(1, 0.5, 1.0), round(2, 0.5, 1.0)]).unwrap();
        for count in [1, 3] {
            assert_ne!(png("title", &rounds[..count]).unwrap(), plain);
        }
        let nothing = Round { accuracy: None, loss: None, training_loss: None, ..round(1, 0.0, 0.0) };
        assert!(png("title", &[nothing]).unwrap().starts_with(b"\x89PNG"));
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
            assert!(png("title", &rounds).unwrap().starts_with(b"\x89PNG"), "{losses:?}");
        }
    }
}
