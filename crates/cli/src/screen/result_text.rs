//! The scores and predictions of a result as text, as pure functions.

use fedpipe_host::ExampleScores;
use fedpipe_record::number_text::significant;
use serde_json::{Map, json};

use crate::screen::{run_text::quality, score_text::class_lines};

/// The outputs of a model for one example.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outputs<'c> {
    /// The names of the classes, and the probability of each.
    Classes(&'c [String], Vec<f64>),
    /// The prediction of a real target.
    Real(f32),
}

/// Returns the lines about the scores of some examples; `names` are those of the classes.
pub(crate) fn score_lines_of(scores: &ExampleScores, names: &[String]) -> Vec<String> {
    let all = format!("{}  loss {}", quality(scores.accuracy, scores.regression, 0), significant(scores.loss.get()));
    scores.by_class.iter().flat_map(|scores| class_lines(scores, names)).chain([all]).collect()
}

/// Returns the softmax of class scores.
pub(crate) fn probabilities(scores: &[f32]) -> Vec<f64> {
    let greatest = scores.iter().fold(f32::NEG_INFINITY, |most, &score| if score > most { score } else { most });
    let parts: Vec<f64> = scores.iter().map(|&score| libm::exp(f64::from(score) - f64::from(greatest))).collect();
    let sum = parts.iter().fold(0.0, |sum, part| sum + part);
    parts.into_iter().map(|part| part / sum).collect()
}

/// Returns the places of the classes from the most to the least probable; of equal ones the lowest comes first.
fn ranked(probabilities: &[f64]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..probabilities.len()).collect();
    places.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    places
}

/// Returns the line about an example for people, with its `top` classes.
pub(crate) fn text_line(name: &str, outputs: &Outputs<'_>, top: usize) -> String {
    match outputs {
        Outputs::Real(value) => format!("{name}  {value}"),
        Outputs::Classes(classes, probabilities) => {
            let class = |&place: &usize| format!("{} {:.1} %", classes[place], 100.0 * probabilities[place]);
            let shown: Vec<String> = ranked(probabilities).iter().take(top).map(class).collect();
            format!("{name}  {}", shown.join("  "))
        }
    }
}

/// Returns the line of JSON about an example.
pub(crate) fn json_line(name: &str, outputs: &Outputs<'_>) -> String {
    let line = match outputs {
        Outputs::Real(value) => json!({ "example": name, "prediction": value }),
        Outputs::Classes(classes, probabilities) => {
            let all: Map<_, _> = classes.iter().cloned().zip(probabilities.iter().map(|p| json!(p))).collect();
            json!({ "example": name, "prediction": classes[ranked(probabilities)[0]], "probabilities": all })
        }
    };
    line.to_string()
}

/// Returns the names of the columns.
pub(crate) fn csv_head(classes: &[String]) -> String {
    let columns = ["example", "prediction"].into_iter().map(str::to_owned).chain(classes.iter().cloned());
    columns.map(|column| csv_cell(&column)).collect::<Vec<_>>().join(",")
}

/// Returns the line about an example with commas.
pub(crate) fn csv_line(name: &str, outputs: &Outputs<'_>) -> String {
    let cells = match outputs {
        Outputs::Real(value) => vec![name.to_owned(), value.to_string()],
        Outputs::Classes(classes, probabilities) => {
            let first = [name.to_owned(), classes[ranked(probabilities)[0]].clone()];
            first.into_iter().chain(probabilities.iter().map(f64::to_string)).collect()
        }
    };
    cells.iter().map(|cell| csv_cell(cell)).collect::<Vec<_>>().join(",")
}

/// Returns a cell, in quotation marks if it has a character with a meaning (RFC 4180).
fn csv_cell(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_the_softmax_and_never_overflow() {
        let close = |given: Vec<f64>, expected: &[f64]| given.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7);
        assert!(close(probabilities(&[0.0, libm::logf(3.0)]), &[0.25, 0.75]));
        assert!(close(probabilities(&[1e38, 1e38, -1e38]), &[0.5, 0.5, 0.0]));
    }

    #[test]
    fn an_example_has_its_most_probable_classes_first() {
        let classes = ["cat", "a, b", "dog"].map(str::to_owned);
        let outputs = Outputs::Classes(&classes, vec![0.25, 0.625, 0.125]);
        assert_eq!(text_line("x.png", &outputs, 2), "x.png  a, b 62.5 %  cat 25.0 %");
        assert_eq!(
            json_line("x.png", &outputs),
            r#"{"example":"x.png","prediction":"a, b","probabilities":{"a, b":0.625,"cat":0.25,"dog":0.125}}"#
        );
        assert_eq!(csv_head(&classes), "example,prediction,cat,\"a, b\",dog");
        assert_eq!(csv_line("x.png", &outputs), "x.png,\"a, b\",0.25,0.625,0.125");
        let real = Outputs::Real(1.5);
        assert_eq!(text_line("t.csv:0", &real, 3), "t.csv:0  1.5");
        assert_eq!(json_line("t.csv:0", &real), r#"{"example":"t.csv:0","prediction":1.5}"#);
        assert_eq!((csv_head(&[]), csv_line("t.csv:0", &real)), ("example,prediction".into(), "t.csv:0,1.5".into()));
    }
}
