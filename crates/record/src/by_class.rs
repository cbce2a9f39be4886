//! The scores of the final weights by class, from the predictions for the test set.

use serde::{Deserialize, Serialize};

use crate::finite::Finite;

/// The scores by class. The lists have one entry a class. An undefined ratio is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ByClass {
    /// The examples by label (row) and prediction (column).
    pub confusion: Vec<Vec<u64>>,
    /// The share of the examples predicted as the class that have its label.
    pub precision: Vec<Finite>,
    /// The share of the examples with the label of the class that are predicted as the class.
    pub recall: Vec<Finite>,
    /// The harmonic mean of precision and recall.
    pub f1: Vec<Finite>,
    /// The mean of `f1` over the classes that are a label or a prediction of some example.
    pub macro_f1: Finite,
    /// The area under the ROC curve of class 1, where there are two classes; `None` if the scores of the examples are
    /// not known, or all examples have one label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc: Option<Finite>,
}

impl ByClass {
    /// Returns the scores of a confusion matrix: (classes, classes), with the `scores` of the examples of two classes.
    pub fn new(confusion: &[u64], classes: usize, scores: Option<[Vec<f32>; 2]>) -> Self {
        let hits = |class: usize| confusion[class * classes + class];
        let labelled = |class: usize| confusion[class * classes..][..classes].iter().sum::<u64>();
        let predicted = |class: usize| confusion.iter().skip(class).step_by(classes).sum::<u64>();
        let all = || 0..classes;
        let f1 = |class: usize| ratio(2 * hits(class), labelled(class) + predicted(class));
        let present: Vec<usize> = all().filter(|&class| labelled(class) + predicted(class) > 0).collect();
        let sum = present.iter().fold(0.0, |sum, &class| sum + f1(class).get());
        Self {
            confusion: confusion.chunks(classes).map(<[u64]>::to_vec).collect(),
            precision: all().map(|class| ratio(hits(class), predicted(class))).collect(),
            recall: all().map(|class| ratio(hits(class), labelled(class))).collect(),
            f1: all().map(f1).collect(),
            macro_f1: Finite::try_from(sum / present.len() as f64).unwrap_or(Finite::ZERO),
            auc: scores.and_then(|[negative, positive]| auc(negative, positive)),
        }
    }
}

/// Returns the ratio of two counts; 0 for an empty whole.
fn ratio(part: u64, whole: u64) -> Finite {
    Finite::try_from(part as f64 / whole as f64).unwrap_or(Finite::ZERO)
}

/// Returns the share of the pairs of a `negative` and a `positive` score in which the positive one is greater; a tie
/// counts half. `None` without a pair.
fn auc(mut negative: Vec<f32>, positive: Vec<f32>) -> Option<Finite> {
    negative.sort_by(f32::total_cmp);
    // Twice the number of pairs that are won, so that a tie is a whole number.
    let won = positive.iter().fold(0_u128, |sum, score| {
        let less = negative.partition_point(|other| other < score);
        let not_greater = negative.partition_point(|other| other <= score);
        sum + (less + not_greater) as u128
    });
    let pairs = 2 * negative.len() as u128 * positive.len() as u128;
    Finite::try_from(won as f64 / pairs as f64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A case of `by_class.py`, which scikit-learn has scored.
    #[derive(Deserialize)]
    struct Case {
        classes: usize,
        labels: Vec<usize>,
        predictions: Vec<usize>,
        scores: Option<Vec<f32>>,
        confusion: Vec<Vec<u64>>,
        precision: Vec<f64>,
        recall: Vec<f64>,
        f1: Vec<f64>,
        macro_f1: f64,
        auc: Option<f64>,
    }

    fn close(given: &[Finite], expected: &[f64]) -> bool {
        given.len() == expected.len() && given.iter().zip(expected).all(|(a, b)| (a.get() - b).abs() < 1e-15)
    }

    #[test]
    fn scores_are_those_of_scikit_learn() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../by_class.json")).unwrap();
        assert_eq!(cases.iter().filter(|case| case.auc.is_some()).count(), 3);
        for case in cases {
            let mut confusion = vec![0; case.classes * case.classes];
            let pairs = case.labels.iter().zip(&case.predictions);
            pairs.for_each(|(label, prediction)| confusion[label * case.classes + prediction] += 1);
            let by_label = case.scores.map(|scores| {
                [0, 1].map(|class| {
                    let with_label = case.labels.iter().zip(&scores).filter(|(label, _)| **label == class);
                    with_label.map(|(_, score)| *score).collect()
                })
            });
            let found = ByClass::new(&confusion, case.classes, by_label);
            assert_eq!(found.confusion, case.confusion);
            assert!(close(&found.precision, &case.precision), "{:?}", found.precision);
            assert!(close(&found.recall, &case.recall), "{:?}", found.recall);
            assert!(close(&found.f1, &case.f1), "{:?}", found.f1);
            assert!(close(&[found.macro_f1], &[case.macro_f1]), "{:?}", found.macro_f1);
            assert!(close(found.auc.as_slice(), case.auc.as_slice()), "{:?} {:?}", found.auc, case.auc);
        }
    }

    #[test]
    fn examples_of_one_label_have_no_area() {
        assert_eq!(auc(vec![1.0], vec![]), None);
        assert_eq!(auc(vec![], vec![1.0]), None);
        assert_eq!(auc(vec![-1.0, 0.0], vec![0.0]).map(Finite::get), Some(0.75));
        assert_eq!(auc(vec![-0.0], vec![0.0]).map(Finite::get), Some(0.5), "the two zeros are equal");
    }
}
