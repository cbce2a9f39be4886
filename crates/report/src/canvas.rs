//! A picture in memory, drawn with a font of our own, since a machine may have none.

use std::{ops::Range, sync::Once};

use anyhow::anyhow;
use plotters::{
    coord::{
        Shift,
        ranged1d::{BoldPoints, Ranged},
        types::RangedCoordf64,
    },
    prelude::*,
    style::{FontStyle, register_font},
};

const FONT: &[u8] = include_bytes!("../assets/DejaVuSans-latin.ttf");

pub(crate) type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
pub(crate) type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Returns a text that the font has in full: another character is its escape, such as `\u{65e5}`.
pub(crate) fn drawable(text: &str) -> String {
    let in_font = |c: char| matches!(c, ' '..='~' | '\u{a1}'..='\u{17f}' | '–' | '…') && c != '\u{ad}';
    text.chars()
        .flat_map(|c| {
            let kept = in_font(c).then_some(c);
            kept.into_iter().chain(kept.is_none().then(|| c.escape_unicode()).into_iter().flatten())
        })
        .collect()
}

/// Returns the width of the area left of a vertical axis that has room for its name and for the labels of its ticks.
pub(crate) fn axis_width(area: &Area<'_>, values: &Range<f64>, ticks: usize, label: impl Fn(f64) -> String) -> u32 {
    const NAME: u32 = 34;
    const LEAST: u32 = 64;
    let style = ("sans-serif", 15).into_text_style(&(0, 0));
    let coordinates = RangedCoordf64::from(values.clone());
    let labels = coordinates.key_points(BoldPoints(ticks)).into_iter().map(label);
    let widths = labels.filter_map(|text| area.estimate_text_size(&text, &style).ok()).map(|(width, _)| width);
    (NAME + widths.max().unwrap_or(0)).max(LEAST)
}

/// Returns a picture of this size, in pixels, as a PNG file.
///
/// # Errors
/// Returns those of drawing.
pub(crate) fn png_of(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> anyhow::Result<Vec<u8>> {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        // The only error is a font that cannot be read, and a test draws with this one.
        let _ = register_font("sans-serif", FontStyle::Normal, FONT);
    });
    let mut pixels = vec![0; (size.0 * size.1 * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        let drawn = draw(&area).and_then(|()| Ok(area.present()?));
        drawn.map_err(|error| anyhow!("cannot draw: {error}"))?;
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size.0, size.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture_of(text: &str) -> Vec<u8> {
        png_of((60, 40), |area| {
            // A style looks its font up, so that the font must be registered.
            let style = ("sans-serif", 20).into_text_style(&(0, 0));
            area.fill(&WHITE)?;
            Ok(area.draw(&Text::new(text.to_owned(), (5, 5), style))?)
        })
        .unwrap()
    }

    #[test]
    fn a_character_that_is_not_escaped_is_visible() {
        let blank = picture_of("");
        let kept = ('!'..='\u{2fff}').filter(|c| drawable(&c.to_string()) == c.to_string());
        let unseen: Vec<char> = kept.clone().filter(|c| picture_of(&c.to_string()) == blank).collect();
        assert!(unseen.is_empty() && kept.count() > 300, "{unseen:?}");
    }

    #[test]
    fn a_character_that_the_font_lacks_is_escaped() {
        assert_eq!(drawable("Äpfel – straße, Łódź"), "Äpfel – straße, Łódź");
        assert_eq!(drawable("日 a\nb"), "\\u{65e5} a\\u{a}b");
    }

    #[test]
    fn wide_labels_have_a_wider_area() {
        png_of((400, 300), |area| {
            let width = |high: f64, label: fn(f64) -> String| axis_width(area, &(0.0..high), 7, label);
            assert_eq!(width(1.0, |value| format!("{value:.1}")), 64);
            assert!(width(4e15, |value| format!("{value:.2e}")) > 80);
            Ok(())
        })
        .unwrap();
    }
}
