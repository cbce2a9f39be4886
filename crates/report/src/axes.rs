//! Charts over the rounds or the time of a run: their axes, ranges and ticks.

use std::ops::Range;

use fedpipe_record::measure::CurveAxis;
use plotters::{
    coord::{
        ranged1d::{BoldPoints, Ranged},
        types::RangedCoordf64,
    },
    prelude::*,
};

use crate::canvas::Area;

/// The most ticks of a vertical axis.
const TICKS: usize = 7;

pub(crate) type Chart<'a, 'b> = ChartContext<'a, BitMapBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws the axes of a chart of `values` over an axis, of which the vertical one has this name.
///
/// # Errors
/// Returns those of drawing.
pub(crate) fn chart<'a, 'b>(
    area: &'a Area<'b>,
    margin: u32,
    (places, values): (Range<f64>, Range<f64>),
    (axis, name): (CurveAxis, &str),
) -> Result<Chart<'a, 'b>, Box<dyn std::error::Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin(margin)
        .x_label_area_size(44)
        .y_label_area_size(axis_width(area, &values))
        .build_cartesian_2d(places, values)?;
    chart
        .configure_mesh()
        .x_desc(axis.name())
        .y_desc(name)
        .x_labels(10)
        .y_labels(TICKS)
        // Ticks between two rounds have no label: there is no half round.
        .x_label_formatter(&|x| match axis {
            CurveAxis::Round if (x - x.round()).abs() >= 1e-6 => String::new(),
            CurveAxis::Round => format!("{x:.0}"),
            _ => tick(*x),
        })
        .y_label_formatter(&|&y| tick(y))
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 16))
        .light_line_style(WHITE)
        .draw()?;
    Ok(chart)
}

/// Returns the width of the area left of a vertical axis that has room for its name and for the labels of its ticks.
fn axis_width(area: &Area<'_>, values: &Range<f64>) -> u32 {
    const NAME: u32 = 34;
    const LEAST: u32 = 64;
    let style = ("sans-serif", 15).into_text_style(&(0, 0));
    let coordinates = RangedCoordf64::from(values.clone());
    let labels = coordinates.key_points(BoldPoints(TICKS)).into_iter().map(tick);
    let widths = labels.filter_map(|text| area.estimate_text_size(&text, &style).ok()).map(|(width, _)| width);
    (NAME + widths.max().unwrap_or(0)).max(LEAST)
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
pub(crate) fn range(values: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
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
    use crate::canvas::png_of;

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
    fn wide_labels_have_a_wider_area() {
        png_of((400, 300), |area| {
            assert_eq!(axis_width(area, &(0.0..1.0)), 64);
            assert!(axis_width(area, &(0.0..4e15)) > 80);
            Ok(())
        })
        .unwrap();
    }
}
