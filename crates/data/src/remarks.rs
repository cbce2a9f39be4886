//! Sentences about contents of a dataset that may be a mistake, and are no error.

use std::collections::BTreeSet;

use crate::counted::counted;
use crate::dataset::ReadSplits;
use crate::split::{Split, SplitFeatures, SplitTargets};

/// The most names in a sentence.
const MOST_NAMES: usize = 5;

/// Returns the remarks about the splits of a dataset, the training examples first.
pub(crate) fn remarks(splits: &ReadSplits) -> Vec<String> {
    [constant_columns(splits), row_numbers(splits), one_class(splits), untested_classes(splits)]
        .into_iter()
        .flatten()
        .collect()
}

/// Names the columns of a table that have one value. Pixels at the border of images are often constant.
fn constant_columns(splits: &ReadSplits) -> Option<String> {
    let (count, names) = columns(splits, &|values| values.windows(2).all(|pair| pair[0] == pair[1]))?;
    Some(format!("{count} of the training set with one value: {names}"))
}

/// The least number of rows of which ascending numbers are no chance.
const FEW_ROWS: usize = 10;

/// Names the columns of a table that ascend by whole numbers from row to row, as the number of the row does.
fn row_numbers(splits: &ReadSplits) -> Option<String> {
    let ascends = |pair: &[f32]| pair[0] < pair[1] && pair[0].fract() == 0.0 && pair[1].fract() == 0.0;
    let is_number = |values: &[f32]| values.len() >= FEW_ROWS && values.windows(2).all(ascends);
    let (count, names) = columns(splits, &is_number)?;
    Some(format!("{count} of the training set that may be the number of the row, which no model should see: {names}"))
}

/// Returns the number of columns of a table whose training values are so, and their names.
fn columns(splits: &ReadSplits, is_so: &dyn Fn(&[f32]) -> bool) -> Option<(String, String)> {
    let Split { shape, features: SplitFeatures::F32(values), .. } = &splits.train else { return None };
    let [columns] = shape[..] else { return None };
    let found = |column: &usize| {
        let values: Vec<f32> = values.iter().skip(*column).step_by(columns).copied().collect();
        !values.is_empty() && is_so(&values)
    };
    let name = |column: usize| splits.feature_names.get(column).cloned().unwrap_or_else(|| column.to_string());
    let names: Vec<String> = (0..columns).filter(found).map(name).collect();
    (!names.is_empty()).then(|| (counted(names.len(), "column"), listed(&names)))
}

/// Returns a sentence if all training examples are of one class.
fn one_class(splits: &ReadSplits) -> Option<String> {
    let SplitTargets::Classes(labels) = &splits.train.targets else { return None };
    let label = *labels.first().filter(|first| labels.iter().all(|label| label == *first))?;
    let name = splits.class_names.get(label as usize).cloned().unwrap_or_else(|| label.to_string());
    Some(format!("training examples of one class alone, {name}, so that there is nothing to learn"))
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
            drawn_from: None,
            test_files: Default::default(),
        }
    }

    #[test]
    fn constant_columns_and_untested_classes_are_said() {
        let one_class = "training examples of one class alone, cat, so that there is nothing to learn";
        assert_eq!(remarks(&splits(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0, 0, 0])), [one_class]);
        let found = remarks(&splits(&[1.0, 2.0, 3.0, 2.0, 5.0, 2.0], [0, 2, 1]));
        let expected =
            ["1 column of the training set with one value: size", "2 classes without a test example: dog, emu"];
        assert_eq!(found, expected);
        let names: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        assert_eq!(listed(&names), "0, 1, 2, 3, 4 and 2 more");
    }
}
