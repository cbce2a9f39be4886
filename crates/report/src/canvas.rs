//! A picture in memory, drawn with a font of our own, since a machine may have none.

use std::sync::Once;

use anyhow::anyhow;
use plotters::{
    coord::Shift,
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
}
