//! The lines that say how the files of a dataset were understood.

use fedpipe_data::{DatasetInfo, DatasetTarget, FeatureType};

use crate::screen::{run_text::dataset_line, score_text::held_out_line};

/// The most names of classes in a line.
const MOST_NAMES: usize = 10;

/// Returns the lines about a dealt dataset: its sizes, how the files of the user were understood (`is_own`), and the
/// held-out examples.
pub(crate) fn dealt_lines(dataset: &DatasetInfo, is_own: bool, sizes: &[u64], held_out: &[u64]) -> Vec<String> {
    let understood = is_own.then(|| dataset_lines(dataset)).into_iter().flatten();
    [dataset_line(dataset, sizes)].into_iter().chain(understood).chain(held_out_line(sizes, held_out)).collect()
}

/// Returns the line about the examples and the line about the targets.
fn dataset_lines(dataset: &DatasetInfo) -> [String; 2] {
    let sizes: Vec<String> = dataset.shape.iter().map(usize::to_string).collect();
    let shape = sizes.join("×");
    let [least, most] = dataset.range.unwrap_or_default();
    let features = match (dataset.features, &dataset.standardisation) {
        (_, Some(_)) => format!("features from {least} to {most}, standardised by the training examples"),
        (FeatureType::U8, None) => format!("bytes from {least} to {most}, which a model sees as x / 255"),
        (FeatureType::F32, None) => format!("features from {least} to {most}, which a model sees as they are"),
    };
    [format!("examples of the shape {shape}: {features}"), target_line(&dataset.target)]
}

fn target_line(target: &DatasetTarget) -> String {
    let DatasetTarget::Classes { classes, class_names } = target else { return "targets: real numbers".to_owned() };
    match class_names.len().checked_sub(MOST_NAMES) {
        _ if class_names.is_empty() => format!("classes: {classes}, the labels 0 to {}", classes.saturating_sub(1)),
        None | Some(0) => format!("classes: {classes}, the labels 0 to {} for {}", classes - 1, class_names.join(", ")),
        Some(more) => {
            let shown = class_names[..MOST_NAMES].join(", ");
            format!("classes: {classes}, the labels 0 to {} for {shown} and {more} more", classes - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_data::Standardisation;

    use super::*;

    #[test]
    fn the_shape_the_range_and_the_classes_are_said() {
        let json = serde_json::json!({
            "name": "x", "sha256": "", "shape": [28, 28], "classes": 10, "range": [0.0, 255.0], "train_examples": 1,
            "test_examples": 1, "sample": false,
        });
        let bytes: DatasetInfo = serde_json::from_value(json).unwrap();
        assert_eq!(
            dataset_lines(&bytes),
            [
                "examples of the shape 28×28: bytes from 0 to 255, which a model sees as x / 255",
                "classes: 10, the labels 0 to 9",
            ]
        );
        assert_eq!(
            dealt_lines(&bytes, true, &[4, 0], &[1, 5])[2..],
            ["classes: 10, the labels 0 to 9", "1 training example held out, 1 client with 5 examples never trained"]
        );
        assert_eq!(
            dealt_lines(&bytes, false, &[4, 0], &[]),
            ["x: 1 training and 1 test example; 1 of 2 clients with 4 each"]
        );
        let named = |names: &[&str]| DatasetTarget::Classes {
            classes: names.len() as u32,
            class_names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let floats = DatasetInfo {
            features: FeatureType::F32,
            shape: vec![4],
            range: Some([-1.5, 7.25]),
            target: named(&["cat", "dog"]),
            ..bytes
        };
        assert_eq!(
            dataset_lines(&floats),
            [
                "examples of the shape 4: features from -1.5 to 7.25, which a model sees as they are",
                "classes: 2, the labels 0 to 1 for cat, dog",
            ]
        );
        let by = Standardisation { mean: vec![0.0; 4], sd: vec![1.0; 4] };
        let target = named(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]);
        let [examples, classes] = dataset_lines(&DatasetInfo { standardisation: Some(by), target, ..floats });
        assert!(examples.ends_with("from -1.5 to 7.25, standardised by the training examples"), "{examples}");
        assert_eq!(classes, "classes: 12, the labels 0 to 11 for a, b, c, d, e, f, g, h, i, j and 2 more");
        assert_eq!(target_line(&DatasetTarget::REAL), "targets: real numbers");
    }
}
