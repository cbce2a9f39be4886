//! A picture in memory, drawn with a font of our own, since a machine may have none.

use std::sync::Once;

use anyhow::anyhow;
use plotters::{
    coord::Shift,
    prelude::*,
    style::{FontStyle, register_font},
};

const FONT: &[u8] = include_bytes!("../assets/DejaVuSans-ascii.ttf");

pub(crate) type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
pub(crate) type Drawn = Result<(), Box<dyn std::error::Error>>;

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
