//! Sentences about contents of a dataset that may be a mistake, and are no error.

use std::collections::BTreeSet;

use crate::counted::counted;
use crate::dataset::ReadSplits;
use crate::split::{Split, SplitFeatures};

/// The most names in a sentence.
const MOST_NAMES: usize = 5;

/// Returns the remarks about the splits of a dataset, the training examples first.
pub(crate) fn remarks(splits: &ReadSplits) -> Vec<String> {
    [constant_columns(splits), untested_classes(splits)].into_iter().flatten().collect()
}

/// Names the columns of a table that have one value. Pixels at the border of images are often constant.
fn constant_columns(splits: &ReadSplits) -> Option<String> {
    let Split { shape, features: SplitFeatures::F32(values), .. } = &splits.train else { return None };
    let [columns] = shape[..] else { return None };
    let first = values.get(..columns)?;
    let is_constant = |column: &usize| values.iter().skip(*column).step_by(columns).all(|x| *x == first[*column]);
    let name = |column: usize| splits.feature_names.get(column).cloned().unwrap_or_else(|| column.to_string());
    let names: Vec<String> = (0..columns).filter(is_constant).map(name).collect();
    let found = counted(names.len(), "column");
    (!names.is_empty()).then(|| format!("{found} of the training set with one value: {}", listed(&names)))
}

/// Names the classes that training examples have and no test example.
fn untested_classes(splits: &ReadSplits) -> Option<String> {
    let [train, test] = [&splits.train, &splits.test].map(|split| split.labels().iter().collect::<BTreeSet<_>>());
    let name = |&&label: &&u32| splits.class_names.get(label as usize).cloned().unwrap_or_else(|| label.to_string());
    let names: Vec<String> = train.difference(&test).map(name).collect();
    let found = counted(names.len(), "class");
    (!names.is_empty()).then(|| format!("{found} without a test example: {}", listed(&names)))
}

fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(MOST_NAMES);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::SplitTargets;

    fn splits(train: &[f32], labels: [u32; 3]) -> ReadSplits {
        let split = |values: &[f32], labels: &[u32]| Split {
            shape: vec![values.len() / labels.len()],
            features: SplitFeatures::F32(values.to_vec()),
            targets: SplitTargets::Classes(labels.to_vec()),
            clients: None,
        };
        ReadSplits {
            train: split(train, &labels),
            test: split(&[0.0, 0.0], &[0]),
            class_names: vec!["cat".into(), "dog".into(), "emu".into()],
            feature_names: vec!["age".into(), "size".into()],
            sha256: None,
            test_files: Default::default(),
        }
    }

    #[test]
    fn constant_columns_and_untested_classes_are_said() {
        assert_eq!(remarks(&splits(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0, 0, 0])), [""; 0]);
        let found = remarks(&splits(&[1.0, 2.0, 3.0, 2.0, 5.0, 2.0], [0, 2, 1]));
        let expected =
            ["1 column of the training set with one value: size", "2 classes without a test example: dog, emu"];
        assert_eq!(found, expected);
        let names: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        assert_eq!(listed(&names), "0, 1, 2, 3, 4 and 2 more");
    }
}
