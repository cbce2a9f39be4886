//! `compare.png`: the curves of groups of runs in one picture, as means with bands of one standard deviation.

use fedpipe_record::{
    measure::{CurveAxis, Measure},
    number_text::rounded,
};
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{
    axes::{chart, range},
    canvas::{Area, Drawn, drawable, png_of},
    comparison::{Comparison, MeanCurve},
    statistics::Spread,
};

/// The width of the picture, and the height of the panels above the legend.
const WIDTH: u32 = 1260;
const PANELS: u32 = 620;
/// The height of the title, of a line of the legend, and of the gap below an entry.
const TITLE: u32 = 40;
const LINE: u32 = 20;
const GAP: u32 = 6;
/// The most entries of the legend. More curves would not be told apart.
const MOST_ENTRIES: usize = 40;
/// The characters of a line in a legend of two columns, and of one.
const HALF: usize = 64;
const FULL: usize = 136;
/// The most lines of a group's name in the legend. The numbers of the groups are in the table of `fedpipe compare`.
const MOST_LINES: usize = 6;

/// The colours of Okabe and Ito, which the colour-blind tell apart, without yellow.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// A group as it is drawn.
struct Drawing {
    colour: RGBColor,
    label: String,
    /// The last value of the first measure, in words.
    result: String,
    /// The curve of each measure.
    curves: Vec<MeanCurve>,
}

/// Returns the picture of a comparison over an axis as a PNG file. Each measure of rounds has a panel; the time of a
/// whole run has no curve.
///
/// # Errors
/// Returns those of drawing.
pub fn compare(
    comparison: &Comparison,
    (measures, axis): (&[Measure], CurveAxis),
    title: &str,
) -> anyhow::Result<Vec<u8>> {
    let has_points = |measure: &Measure| comparison.runs().any(|run| !run.curve(*measure, axis).is_empty());
    let measures: Vec<Measure> = measures.iter().copied().filter(has_points).collect();
    let count = comparison.groups.len();
    let drawings: Vec<Drawing> = (0..count).map(|place| drawing(comparison, (&measures, axis), place)).collect();
    let columns = if drawings.iter().all(|drawing| drawing.label.chars().count() <= HALF) { 2 } else { 1 };
    let rows = rows(&drawings, columns);
    let height = TITLE + PANELS + rows.iter().map(|row| row.height).sum::<u32>() + 2 * LINE;
    png_of((WIDTH, height), |area| {
        area.fill(&WHITE)?;
        area.draw(&Text::new(shortened(&drawable(title), 110), (16, TITLE as i32 / 2), text(20)))?;
        let (_, below) = area.split_vertically(TITLE);
        let (upper, lower) = below.split_vertically(PANELS);
        let panels = upper.split_evenly((measures.len().max(1), 1));
        let has_test_set = comparison.runs().all(|run| run.has_test_set);
        for (place, (measure, panel)) in measures.iter().zip(&panels).enumerate() {
            draw_panel(panel, (axis, axis_name(*measure, has_test_set)), &drawings, place)?;
        }
        draw_legend(&lower, &rows, drawings.len())
    })
}

fn drawing(comparison: &Comparison, (measures, axis): (&[Measure], CurveAxis), place: usize) -> Drawing {
    let group = &comparison.groups[place];
    let result = measures.first().and_then(|measure| Some(result_of(*measure, &group.spread(*measure)?)));
    Drawing {
        colour: colour(place, comparison.groups.len()),
        label: drawable(&format!("{}  {}", place + 1, group.label(&comparison.keys))),
        result: result.unwrap_or_else(|| "no round".to_owned()),
        curves: measures.iter().map(|measure| group.curve(*measure, axis)).collect(),
    }
}

/// Returns the last value in words that the font of the picture has.
fn result_of(measure: Measure, spread: &Spread) -> String {
    let Spread { count, mean, sd } = spread;
    let unit = if measure.is_percent() { " %" } else { "" };
    let sd = sd.map_or_else(String::new, |sd| format!(", sd {}", rounded(sd, 2)));
    format!("{measure} {}{unit}{sd}, n {count}", rounded(*mean, 2))
}

/// Returns the colour of a group. Many groups have hues around the circle, dark and light in turn.
fn colour(place: usize, count: usize) -> RGBColor {
    if count <= COLOURS.len() {
        return COLOURS[place];
    }
    let lightness = if place.is_multiple_of(2) { 0.36 } else { 0.56 };
    let (red, green, blue) = HSLColor(place as f64 / count as f64, 0.75, lightness).to_backend_color().rgb;
    RGBColor(red, green, blue)
}

/// Returns `true` for every second group.
fn is_dashed(place: usize) -> bool {
    !place.is_multiple_of(2)
}

/// Returns the name of the vertical axis. Where a run has no test set, its score is that of the clients' own examples.
fn axis_name(measure: Measure, has_test_set: bool) -> String {
    let (is_of_test_set, name) = match measure {
        Measure::Accuracy => (true, "accuracy, %"),
        Measure::Loss => (true, "loss"),
        Measure::Rmse => (true, "RMSE"),
        Measure::R2 => (true, "R2"),
        Measure::HeldOut => (false, "held-out accuracy, %"),
        Measure::Personal => (false, "personal accuracy, %"),
        Measure::PersonalRmse => (false, "personal RMSE"),
        Measure::Seconds
        | Measure::VirtualSeconds
        | Measure::RoundsToTarget
        | Measure::SecondsToTarget
        | Measure::VirtualSecondsToTarget => (false, ""),
    };
    if is_of_test_set && has_test_set { format!("test {name}") } else { name.to_owned() }
}

/// Returns the band of a curve: place, lower and upper end. A point of one run has none.
fn band(curve: &MeanCurve) -> Vec<(f64, f64, f64)> {
    let ends = |(place, spread): &(f64, Spread)| {
        let sd = spread.sd?;
        Some((*place, spread.mean - sd, spread.mean + sd))
    };
    curve.points.iter().filter_map(ends).collect()
}

fn draw_panel(area: &Area<'_>, (axis, name): (CurveAxis, String), drawings: &[Drawing], place: usize) -> Drawn {
    let curves = || drawings.iter().map(|drawing| &drawing.curves[place]);
    let points = || curves().flat_map(|curve| &curve.points);
    if points().next().is_none() {
        return Ok(());
    }
    let ends = curves().flat_map(band).flat_map(|(_, low, high)| [low, high]);
    let places = range(points().map(|(place, _)| *place), 0.02);
    let values = range(points().map(|(_, spread)| spread.mean).chain(ends), 0.06);
    let mut chart = chart(area, 8, (places, values), (axis, &name))?;
    let strength = if drawings.len() > COLOURS.len() { 0.08 } else { 0.18 };
    for drawing in drawings {
        let band = band(&drawing.curves[place]);
        let upper = band.iter().map(|(place, _, high)| (*place, *high));
        let lower = band.iter().rev().map(|(place, low, _)| (*place, *low));
        let outline: Vec<(f64, f64)> = upper.chain(lower).collect();
        match band.len() {
            0 => {}
            1 => drop(chart.draw_series([PathElement::new(outline, drawing.colour.mix(0.5).stroke_width(4))])?),
            _ => drop(chart.draw_series([Polygon::new(outline, drawing.colour.mix(strength).filled())])?),
        }
    }
    for (number, drawing) in drawings.iter().enumerate() {
        let points: Vec<(f64, f64)> =
            drawing.curves[place].points.iter().map(|(x, spread)| (*x, spread.mean)).collect();
        let (line, style) = (points.iter().copied(), drawing.colour.stroke_width(2));
        // A dashed curve shows another one beneath it.
        if is_dashed(number) {
            chart.draw_series(DashedLineSeries::new(line, 8, 6, style))?;
        } else {
            chart.draw_series(LineSeries::new(line, style))?;
        }
        if points.len() <= 25 {
            chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, drawing.colour.filled())))?;
        }
    }
    Ok(())
}

/// A row of the legend: its entries side by side, each with the lines of its name.
struct Row<'d> {
    height: u32,
    /// The place of the group, the group, and the lines of its name.
    entries: Vec<(usize, &'d Drawing, Vec<String>)>,
}

fn rows(drawings: &[Drawing], columns: usize) -> Vec<Row<'_>> {
    let longest = if columns == 1 { FULL } else { HALF };
    let shown = drawings.iter().take(MOST_ENTRIES).enumerate();
    let entries: Vec<(usize, &Drawing, Vec<String>)> =
        shown.map(|(place, drawing)| (place, drawing, wrapped(&drawing.label, longest))).collect();
    let height = |entries: &[(usize, &Drawing, Vec<String>)]| {
        let lines = entries.iter().map(|(_, _, lines)| lines.len()).max().unwrap_or(0) as u32;
        (lines + 1) * LINE + GAP
    };
    entries.chunks(columns).map(|entries| Row { height: height(entries), entries: entries.to_vec() }).collect()
}

fn draw_legend(area: &Area<'_>, rows: &[Row<'_>], groups: usize) -> Drawn {
    let mut top = LINE as i32 / 2;
    for Row { height, entries } in rows {
        for (column, (place, drawing, lines)) in entries.iter().enumerate() {
            let left = 16 + column as i32 * (WIDTH / 2) as i32;
            let middle = if is_dashed(*place) { [9, 17] } else { [13, 13] };
            let style = drawing.colour.stroke_width(4);
            area.draw(&PathElement::new([(left, top), (left + middle[0], top)], style))?;
            area.draw(&PathElement::new([(left + middle[1], top), (left + 26, top)], style))?;
            let mut below = top;
            for line in lines {
                area.draw(&Text::new(line.clone(), (left + 34, below), text(16)))?;
                below += LINE as i32;
            }
            area.draw(&Text::new(drawing.result.clone(), (left + 34, below), text(14).color(&BLACK.mix(0.65))))?;
        }
        top += *height as i32;
    }
    if groups > MOST_ENTRIES {
        area.draw(&Text::new(format!("and {} more", groups - MOST_ENTRIES), (50, top), text(16)))?;
    }
    Ok(())
}

/// Returns the lines of a text, broken between words where a line would be too long.
fn wrapped(text: &str, longest: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let last = lines.len() - 1;
        let has_room = lines[last].chars().count() + word.trim_end().chars().count() <= longest;
        if has_room || lines[last].is_empty() {
            lines[last] += word;
        } else {
            lines.push(word.to_owned());
        }
    }
    if lines.len() > MOST_LINES {
        lines.truncate(MOST_LINES);
        lines[MOST_LINES - 1] += "..";
    }
    lines.iter().map(|line| shortened(line.trim_end(), longest)).collect()
}

fn text(height: i32) -> TextStyle<'static> {
    ("sans-serif", height).into_text_style(&(0, 0)).pos(Pos::new(HPos::Left, VPos::Center))
}

/// Returns the start of a text that is too long for its place.
fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest - 2).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::tests::run;

    fn comparison(groups: usize, seeds: u64, rounds: usize) -> Comparison {
        let accuracies = |group: usize, seed: u64| -> Vec<f64> {
            let value = |round: usize| 90.0 - 40.0 / (round + 1) as f64 - group as f64 + seed as f64 / 3.0;
            (0..rounds).map(value).collect()
        };
        let runs = (0..groups)
            .flat_map(|group| (0..seeds).map(move |seed| run(&format!("0.{group}"), seed, &accuracies(group, seed))));
        Comparison::of(runs.collect())
    }

    /// With `FEDPIPE_PICTURES=DIR`, the pictures are left in that folder, to be looked at.
    #[test]
    fn any_number_of_groups_and_runs_is_drawn() {
        for (groups, seeds, rounds) in
            [(1, 1, 1), (1, 3, 1), (2, 5, 10), (7, 3, 30), (12, 5, 100), (60, 2, 5), (2, 1, 0)]
        {
            let comparison = comparison(groups, seeds, rounds);
            let measures = [Measure::Accuracy, Measure::Loss];
            let picture = compare(&comparison, (&measures, CurveAxis::Round), "mlp on sample").unwrap();
            assert!(picture.starts_with(b"\x89PNG"), "{groups} groups of {seeds}, {rounds} rounds");
            if let Some(folder) = std::env::var_os("FEDPIPE_PICTURES") {
                let name = format!("compare-{groups}-{seeds}-{rounds}.png");
                std::fs::write(std::path::Path::new(&folder).join(name), picture).unwrap();
            }
        }
    }

    #[test]
    fn a_band_is_one_standard_deviation_on_both_sides() {
        let comparison = Comparison::of(vec![run("0.1", 0, &[50.0, 60.0]), run("0.1", 1, &[54.0, 60.0])]);
        let curve = |comparison: &Comparison| comparison.groups[0].curve(Measure::Accuracy, CurveAxis::Round);
        let band = band(&curve(&comparison));
        let sd = 8.0_f64.sqrt();
        assert!((band[0].1 - (52.0 - sd)).abs() < 1e-9 && (band[0].2 - (52.0 + sd)).abs() < 1e-9, "{band:?}");
        assert_eq!((band[1].1, band[1].2), (60.0, 60.0));
        assert!(super::band(&curve(&Comparison::of(vec![run("0.1", 0, &[50.0])]))).is_empty());
    }

    #[test]
    fn names_that_begin_alike_are_told_apart_in_the_legend() {
        let label = |number: u32, end: &str| {
            format!("{number}  partition=dirichlet:alpha=0.3 strategy=fedavg server=adam:rate=0.{end}")
        };
        let lines = wrapped(&label(1, "5"), 44);
        assert_eq!(lines, ["1  partition=dirichlet:alpha=0.3", "strategy=fedavg server=adam:rate=0.5"]);
        assert_ne!(lines, wrapped(&label(1, "6"), 44));
        let many = wrapped(&"word ".repeat(1000), 44);
        assert!(many.len() == MOST_LINES && many[MOST_LINES - 1].ends_with(".."), "{many:?}");
        assert_eq!([12.345, -2.5e30].map(|number| rounded(number, 2)), ["12.35", "-2.50e30"]);
    }

    #[test]
    fn groups_have_colours_of_their_own() {
        for count in [1, 7, 8, 40] {
            let mut colours: Vec<_> = (0..count).map(|place| colour(place, count)).map(|c| (c.0, c.1, c.2)).collect();
            colours.sort_unstable();
            colours.dedup();
            assert_eq!(colours.len(), count);
        }
    }
}
