//! The lines about an experiment and its baselines, as pure functions of groups of runs.

use fedpipe_record::measure::Measure;
use fedpipe_report::comparison::Comparison;

use crate::screen::{
    compare_text::test_lines,
    sweep_text::{GroupRow, group_table, table_measures},
};

/// The sentences without which the table may be misread.
const NOTES: [&str; 2] = [
    "local: each client trains alone, for the local steps of the federated run; a score is the mean over the clients",
    "centralised: one client has all rows, also those that the partition leaves out, and trains in each round on as many \
     examples as the sampled clients together; its held-out rows are others",
];

/// Returns the measures of the table, and its lines: a line for each baseline, of `planned` runs, and the tests of
/// paired seeds.
pub(crate) fn table_lines(comparison: &Comparison, planned: usize) -> (Vec<Measure>, Vec<String>) {
    let rows: Vec<GroupRow<'_>> = (1..)
        .zip(&comparison.groups)
        .map(|(number, group)| GroupRow {
            values: [number.to_string()].into_iter().chain(group.values.iter().flatten().cloned()).collect(),
            planned,
            runs: group.runs.iter().collect(),
        })
        .collect();
    let measures = measures(comparison);
    let heads = ["group".to_owned()].into_iter().chain(comparison.keys.iter().cloned()).collect::<Vec<_>>();
    let notes = NOTES.map(str::to_owned).to_vec();
    let lines = [group_table(&heads, &rows, &measures), notes, test_lines(comparison, measures[0])].concat();
    (measures, lines)
}

/// Returns the main measure, and the one beside it: the score on held-out examples if every run has it, or the loss.
///
/// If clients have models of their own, the main measure is that of the models that they use.
fn measures(comparison: &Comparison) -> Vec<Measure> {
    let runs = || comparison.runs();
    let has_held_out = runs().all(|run| run.last(Measure::Personal).is_some());
    let main = comparison.main_measure();
    if has_held_out && runs().any(|run| run.rounds.iter().any(|round| round.personal.is_some())) {
        let has_main = main != Measure::Personal && runs().any(|run| run.last(main).is_some());
        return [Measure::Personal].into_iter().chain(has_main.then_some(main)).collect();
    }
    match main {
        Measure::Accuracy | Measure::Rmse if has_held_out => vec![main, Measure::HeldOut],
        main => table_measures(main, runs()),
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_record::{finite::Finite, round_line::Round, run_overview::RunOverview};
    use fedpipe_report::comparison::Group;

    use super::*;

    fn run(seed: u64, accuracy: f64) -> RunOverview {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let (accuracy, loss) = (Some(finite(accuracy)), Some(finite(1.0 - accuracy)));
        let round = Round { accuracy, loss, ..Round::blank(1) };
        RunOverview { seeds: [seed; 4], ..RunOverview::blank(vec![round]) }
    }

    #[test]
    fn a_baseline_has_a_line_and_is_paired_with_the_experiment_by_seed() {
        let group = |name: &str, accuracies: &[f64]| Group {
            values: vec![Some(name.to_owned())],
            runs: (0..).zip(accuracies).map(|(seed, accuracy)| run(seed, *accuracy)).collect(),
        };
        let groups = vec![group("federated", &[0.8, 0.82]), group("local", &[0.7, 0.7]), group("centralised", &[0.9])];
        let comparison = Comparison { keys: vec!["baseline".into()], groups, repeated: 0 };
        let (measures, lines) = table_lines(&comparison, 2);
        assert_eq!(measures, [Measure::Accuracy, Measure::Loss]);
        let expected = [
            "   group  baseline          n  accuracy, %   loss             seconds",
            "   1      federated         2  81.00 ± 1.41  0.1900 ± 0.0141     1.00",
            "   2      local             2  70.00 ± 0.00  0.3000 ± 0.0000     1.00",
            "*  3      centralised  1 of 2  90.00         0.1000              1.00",
            "* the best mean accuracy; mean ± sample standard deviation over n runs",
        ];
        assert_eq!(lines[..5], expected);
        assert_eq!(lines[5..7], NOTES);
        assert!(lines.iter().any(|line| line.starts_with("2          2      −11.00")), "{lines:#?}");
    }
}
