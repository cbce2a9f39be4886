//! The lines of a comparison, as pure functions of groups of runs.

use fedpipe_data::counted;
use fedpipe_record::{measure::Measure, number_text::significant};
use fedpipe_report::{
    comparison::{Comparison, short},
    statistics::{Paired, Student},
};

use crate::screen::{
    sweep_text::{GroupRow, group_table, table_measures},
    text_table::{Column, lines},
};

/// Returns the keys in which the groups differ, and a table with a line for each group.
pub(crate) fn group_lines(comparison: &Comparison, measure: Measure) -> Vec<String> {
    let runs: usize = comparison.groups.iter().map(|group| group.runs.len()).sum();
    let groups = counted(comparison.groups.len(), "configuration");
    let keys = if comparison.keys.is_empty() { "nothing but seeds".to_owned() } else { comparison.keys.join(", ") };
    let head = match comparison.groups.len() {
        1 => format!("{groups} of {}", counted(runs, "run")),
        _ => format!("{groups} of {}, which differ in {keys}", counted(runs, "run")),
    };
    let row = |number: usize| {
        let group = &comparison.groups[number];
        let values = group.values.iter().map(|value| shown(value.as_deref().unwrap_or("none")));
        GroupRow {
            values: [(number + 1).to_string()].into_iter().chain(values).collect(),
            planned: group.runs.len(),
            runs: group.runs.iter().collect(),
        }
    };
    let rows: Vec<GroupRow<'_>> = (0..comparison.groups.len()).map(row).collect();
    let heads: Vec<String> =
        ["group".to_owned()].into_iter().chain(comparison.keys.iter().map(|key| short(key))).collect();
    [vec![head], group_table(&heads, &rows, &table_measures(measure, comparison.runs()))].concat()
}

/// Returns a hash in short.
fn shown(value: &str) -> String {
    let is_hash = value.len() == 64 && value.chars().all(|c| c.is_ascii_hexdigit());
    if is_hash { value[..8].to_owned() } else { value.to_owned() }
}

/// Returns the table of the tests against the first group; empty for one group.
pub(crate) fn test_lines(comparison: &Comparison, measure: Measure) -> Vec<String> {
    let [base, others @ ..] = comparison.groups.as_slice() else { return Vec::new() };
    if others.is_empty() {
        return Vec::new();
    }
    let columns = [
        Column::left("group"),
        Column::right("pairs"),
        Column::right("difference"),
        Column::left("95 % interval"),
        Column::right("p of t-test"),
        Column::right("p of sign flips"),
    ];
    let compared: Vec<Option<Paired>> = others.iter().map(|group| group.compared_with(base, measure)).collect();
    let rows: Vec<Vec<String>> =
        (2..).zip(&compared).map(|(number, paired)| row(number, paired.as_ref(), measure)).collect();
    let unit = if measure.is_percent() { " in percentage points" } else { "" };
    let head = format!("{measure}{unit} less that of group 1 with the same seeds:");
    let mut text = [vec![head], lines(&columns, &rows)].concat();
    text.extend(notes(&compared, others.len()));
    text
}

fn row(number: usize, paired: Option<&Paired>, measure: Measure) -> Vec<String> {
    let none = || "–".to_owned();
    let Some(Paired { pairs, mean, student, sign_flip_p }) = paired else {
        return vec![number.to_string(), "0".to_owned(), none(), none(), none(), none()];
    };
    let interval = student.map_or_else(none, |Student { interval: (low, high), .. }| {
        format!("{} to {}", signed(measure, low), signed(measure, high))
    });
    vec![
        number.to_string(),
        pairs.to_string(),
        signed(measure, *mean),
        interval,
        student.map_or_else(none, |student| p_text(student.p)),
        sign_flip_p.filter(|_| *pairs > 1).map_or_else(none, p_text),
    ]
}

/// Returns the sentences without which the table may be misread.
fn notes(compared: &[Option<Paired>], tests: usize) -> Vec<String> {
    let mut notes = Vec::new();
    let pairs = compared.iter().map(|paired| paired.map_or(0, |paired| paired.pairs));
    let (least, most) = (pairs.clone().min().unwrap_or(0), pairs.max().unwrap_or(0));
    if least < 2 {
        notes.push("a test needs two pairs: runs of both groups with the same seeds".to_owned());
    }
    if (2..=5).contains(&most) {
        let smallest = p_text(2.0 / f64::from(1_u32 << most));
        notes.push(format!(
            "the sign flips of {} have no p below {smallest}; more seeds tell more",
            counted(most, "pair")
        ));
    }
    if tests > 1 && most >= 2 {
        notes.push(format!("p is not corrected for {tests} tests"));
    }
    notes
}

fn signed(measure: Measure, value: f64) -> String {
    let sign = if value < 0.0 { "−" } else { "+" };
    let size = value.abs();
    if measure.is_percent() { format!("{sign}{size:.2}") } else { format!("{sign}{}", significant(size)) }
}

fn p_text(p: f64) -> String {
    if p < 1e-4 { format!("{p:.1e}") } else { format!("{p:.4}") }
}

#[cfg(test)]
mod tests {
    use fedpipe_record::{configuration::Configuration, finite::Finite, round_line::Round, run_overview::RunOverview};

    use super::*;

    fn run(lr: &str, seed: u64, accuracy: f64) -> RunOverview {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let mut configuration = Configuration::default();
        configuration.insert("local.lr", lr.to_owned());
        let (accuracy, loss) = (Some(finite(accuracy)), Some(finite(1.0 - accuracy)));
        let round = Round { accuracy, loss, ..Round::blank(1) };
        RunOverview { configuration, seeds: [seed; 4], ..RunOverview::blank(vec![round]) }
    }

    fn comparison(runs: &[(&str, u64, f64)]) -> Comparison {
        Comparison::of(runs.iter().map(|(lr, seed, accuracy)| run(lr, *seed, *accuracy)).collect())
    }

    #[test]
    fn groups_are_compared_with_the_first() {
        let comparison = comparison(&[
            ("0.1", 0, 0.80),
            ("0.1", 1, 0.82),
            ("0.1", 2, 0.81),
            ("0.5", 0, 0.83),
            ("0.5", 1, 0.83),
            ("0.5", 2, 0.86),
        ]);
        let expected = [
            "2 configurations of 6 runs, which differ in local.lr",
            "   group  lr   n  accuracy, %   loss             seconds",
            "   1      0.1  3  81.00 ± 1.00  0.1900 ± 0.0100     1.00",
            "*  2      0.5  3  84.00 ± 1.73  0.1600 ± 0.0173     1.00",
            "* the best mean accuracy; mean ± sample standard deviation over n runs",
        ];
        assert_eq!(group_lines(&comparison, Measure::Accuracy), expected);
        let expected = [
            "accuracy in percentage points less that of group 1 with the same seeds:",
            "group  pairs  difference  95 % interval   p of t-test  p of sign flips",
            "2          3       +3.00  −1.97 to +7.97       0.1217           0.2500",
            "the sign flips of 3 pairs have no p below 0.2500; more seeds tell more",
        ];
        assert_eq!(test_lines(&comparison, Measure::Accuracy), expected);
    }

    #[test]
    fn the_best_is_one_of_its_dataset() {
        let on = |dataset: &str, lr, accuracy| {
            let mut run = run(lr, 0, accuracy);
            run.identity.insert("dataset", dataset.to_owned());
            run
        };
        let comparison = Comparison::of(vec![on("a", "0.1", 0.8), on("a", "0.5", 0.7), on("b", "0.1", 0.9)]);
        let lines = group_lines(&comparison, Measure::Loss);
        let marked: Vec<&str> = lines[2..5].iter().map(|line| &line[..4]).collect();
        assert_eq!((marked, comparison.has_one_task()), (vec!["*  1", "   2", "   3"], false), "{lines:?}");
        assert!(lines[5].starts_with("* the best mean loss of its dataset and target; "), "{lines:?}");
        let two = Comparison::of(vec![on("a", "0.1", 0.8), on("b", "0.1", 0.9)]);
        assert!(!group_lines(&two, Measure::Loss).join("\n").contains('*'));
    }

    #[test]
    fn groups_without_pairs_have_no_test() {
        let comparison = comparison(&[("0.1", 0, 0.8), ("0.5", 1, 0.9)]);
        let lines = test_lines(&comparison, Measure::Loss);
        assert_eq!(lines[2], "2          0           –  –                        –                –");
        assert_eq!(lines[3], "a test needs two pairs: runs of both groups with the same seeds");
        assert!(test_lines(&Comparison::of(vec![run("0.1", 0, 0.8)]), Measure::Loss).is_empty());
    }
}
