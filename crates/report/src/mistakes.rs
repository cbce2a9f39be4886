//! Examples that a model takes for another class, as a page shows them.

use base64::{Engine, engine::general_purpose::STANDARD};
use fedpipe_record::number_text::rounded;
use serde::Serialize;

/// The examples of a page, with a sentence about them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mistakes {
    /// The sentence.
    pub text: String,
    /// The examples.
    pub all: Vec<Mistake>,
}

/// An example that was taken for another class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mistake {
    /// The picture, as the address of its data; none for an example that is no image.
    image: Option<String>,
    /// The features of an example that is no image.
    values: String,
    /// The name of its class.
    label: String,
    /// The name of the class that it was taken for.
    prediction: String,
    /// The probability that the model gives to that class.
    share: String,
}

/// The features of an example.
#[derive(Debug, Clone, Copy)]
pub enum ExampleFeatures<'e> {
    /// Bytes, which are pixels if the shape is that of an image.
    U8(&'e [u8]),
    /// Numbers.
    F32(&'e [f32]),
}

impl Mistake {
    /// Returns an example of the class `label` that was taken for another one with this probability.
    ///
    /// # Errors
    /// Returns those of encoding a picture.
    pub fn new(
        (shape, features): (&[usize], ExampleFeatures<'_>),
        label: &str,
        (prediction, probability): (&str, f64),
    ) -> anyhow::Result<Self> {
        let pixels = match features {
            ExampleFeatures::U8(bytes) => bytes.to_vec(),
            ExampleFeatures::F32(values) => stretched(values),
        };
        let image = match *shape {
            [height, width] => Some((height, width, png::ColorType::Grayscale)),
            [height, width, 1] => Some((height, width, png::ColorType::Grayscale)),
            [height, width, 3] => Some((height, width, png::ColorType::Rgb)),
            _ => None,
        };
        let image = image.map(|(height, width, colour)| png_address(&pixels, (width, height), colour)).transpose()?;
        let values = if image.is_some() { String::new() } else { shown(features) };
        let share = format!("({:.0} %)", 100.0 * probability);
        Ok(Self { image, values, label: label.to_owned(), prediction: prediction.to_owned(), share })
    }
}

/// Returns numbers as pixels, of which the least is black and the greatest is white.
fn stretched(values: &[f32]) -> Vec<u8> {
    let least = values.iter().fold(f32::INFINITY, |least, &value| if value < least { value } else { least });
    let most = values.iter().fold(f32::NEG_INFINITY, |most, &value| if value > most { value } else { most });
    values.iter().map(|value| (255.0 * (value - least) / (most - least)) as u8).collect()
}

fn png_address(pixels: &[u8], (width, height): (usize, usize), colour: png::ColorType) -> anyhow::Result<String> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(colour);
    encoder.write_header()?.write_image_data(pixels)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(&file)))
}

/// Returns the first features as text.
fn shown(features: ExampleFeatures<'_>) -> String {
    const MOST: usize = 12;
    let (count, first): (usize, Vec<String>) = match features {
        ExampleFeatures::U8(bytes) => (bytes.len(), bytes.iter().take(MOST).map(u8::to_string).collect()),
        ExampleFeatures::F32(values) => {
            (values.len(), values.iter().take(MOST).map(|value| rounded(f64::from(*value), 4)).collect())
        }
    };
    let rest = if count > MOST { " …" } else { "" };
    format!("{}{rest}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_picture_and_a_row_is_text() {
        let image = Mistake::new((&[2, 2], ExampleFeatures::U8(&[0, 1, 2, 3])), "cat", ("dog", 0.75)).unwrap();
        assert!(image.image.unwrap().starts_with("data:image/png;base64,iVBORw0KGgo"));
        assert_eq!((image.values.as_str(), image.share.as_str()), ("", "(75 %)"));
        let row = Mistake::new((&[2], ExampleFeatures::F32(&[0.5, -1.0])), "a", ("b", 1.0)).unwrap();
        assert_eq!((row.image, row.values.as_str()), (None, "0.5000, -1.0000"));
        assert_eq!(stretched(&[-1.0, 0.0, 1.0]), [0, 127, 255]);
    }
}
