//! The speed chart of the README: seconds from start to end of each system, from the newest comparison in
//! `target/bench.jsonl`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use plotters::{
    prelude::*,
    style::{FontStyle, register_font},
};
use serde_json::Value;

const FONT: &[u8] = include_bytes!("../../../report/assets/DejaVuSans-latin.ttf");
const WIDTH: u32 = 860;
/// Of a bar with the space below it.
const ROW: i32 = 34;
const TOP: i32 = 44;
const BARS_FROM: i32 = 340;
const BARS_TO: i32 = 740;
const OURS: RGBColor = RGBColor(0, 114, 178);
const PEERS: RGBColor = RGBColor(170, 170, 170);

/// A system and its median seconds.
type Bar = (String, f64);

/// Draws the systems of `work` to a PNG file.
///
/// # Errors
/// Returns an error if no comparison of that work is in `lines`, and those of drawing and writing.
pub(crate) fn draw(lines: &str, work: &str, to: &Path) -> Result<()> {
    let bars = newest(lines, work);
    ensure!(
        bars.len() > 1,
        "no comparison of {work} is in target/bench.jsonl; run `just bench --peers --only 4` first"
    );
    register_font("sans-serif", FontStyle::Normal, FONT).ok();
    let size = (WIDTH, (TOP + ROW * bars.len() as i32 + 12) as u32);
    let mut pixels = vec![0; (size.0 * size.1 * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        let drawn = area.fill(&WHITE).map_err(Into::into).and_then(|()| fill(&area, work, &bars));
        drawn.map_err(|error| anyhow::anyhow!("cannot draw the chart: {error}"))?;
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size.0, size.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)?;
    std::fs::write(to, file).with_context(|| format!("cannot write {}", to.display()))
}

/// Returns the systems of the last comparison, which begins with fedpipe, the fastest first.
fn newest(lines: &str, work: &str) -> Vec<Bar> {
    let mut bars = Vec::new();
    for line in lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let (Some(system), Some(total)) = (line["system"].as_str(), line["total s"].as_str()) else { continue };
        if line["work"] != work {
            continue;
        }
        if system == "fedpipe" {
            bars.clear();
        }
        let median = total.split(' ').next().and_then(|median| median.parse().ok());
        bars.extend(median.map(|median| (system.to_owned(), median)));
    }
    bars.sort_by(|a: &Bar, b: &Bar| a.1.total_cmp(&b.1));
    bars
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

fn fill(area: &Area<'_>, work: &str, bars: &[Bar]) -> Result<(), Box<dyn std::error::Error>> {
    let text = |size: i32, colour: RGBColor| ("sans-serif", size).into_font().color(&colour);
    let title = format!("Fashion-MNIST, MLP, {work}: seconds from start to end");
    area.draw_text(&title, &text(17, BLACK), (12, 12))?;
    let most = bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
    let ours = bars.iter().find(|bar| bar.0 == "fedpipe").map_or(most, |bar| bar.1);
    for (index, (system, seconds)) in bars.iter().enumerate() {
        let y = TOP + ROW * index as i32;
        let colour = if system == "fedpipe" { OURS } else { PEERS };
        let end = BARS_FROM + (f64::from(BARS_TO - BARS_FROM) * seconds / most).max(2.0) as i32;
        area.draw_text(system, &text(14, BLACK), (12, y + 5))?;
        area.draw(&Rectangle::new([(BARS_FROM, y), (end, y + ROW - 10)], colour.filled()))?;
        let label = if system == "fedpipe" {
            format!("{seconds:.2} s")
        } else {
            format!("{seconds:.1} s ({:.1} ×)", seconds / ours)
        };
        area.draw_text(&label, &text(14, BLACK), (end + 8, y + 5))?;
    }
    area.present()?;
    Ok(())
}
