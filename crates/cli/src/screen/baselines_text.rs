//! The lines about an experiment and its baselines, as pure functions of groups of runs.

use fedpipe_record::run_overview::Measure;
use fedpipe_report::comparison::Comparison;

use crate::screen::{
    compare_text::test_lines,
    sweep_text::{GroupRow, group_table},
};

/// The sentences without which the table may be misread.
const NOTES: [&str; 2] = [
    "local: each client trains alone, for the local steps of the federated run; a score is the mean over the clients",
    "centralised: one client has all rows, also those that the partition leaves out, and trains in each round on as many \
     examples as the sampled clients together; its held-out rows are others",
];

/// Returns the two measures of the table, and its lines: a line for each baseline, of `planned` runs, and the tests of
/// paired seeds.
pub(crate) fn table_lines(comparison: &Comparison, planned: usize) -> ([Measure; 2], Vec<String>) {
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
    (measures, [group_table(&heads, &rows, measures), notes, test_lines(comparison, measures[0])].concat())
}

/// Returns the main measure, and the one beside it: the score on held-out examples if every run has it, or the loss.
///
/// If clients have models of their own, the main measure is that of the models that they use.
fn measures(comparison: &Comparison) -> [Measure; 2] {
    let runs = || comparison.groups.iter().flat_map(|group| &group.runs);
    let has_held_out = runs().all(|run| run.last(Measure::HeldOut).is_some());
    if has_held_out && runs().any(|run| run.rounds.iter().any(|round| round.personal.is_some())) {
        return [Measure::Personal, comparison.main_measure()];
    }
    match comparison.main_measure() {
        Measure::Loss => [Measure::Loss, Measure::Loss],
        main if has_held_out => [main, Measure::HeldOut],
        main => [main, Measure::Loss],
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_record::{
        configuration::Configuration,
        finite::Finite,
        round_line::Round,
        run_overview::{RunOverview, RunStatus},
    };
    use fedpipe_report::comparison::Group;

    use super::*;

    fn run(seed: u64, accuracy: f64) -> RunOverview {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let round = Round { accuracy: Some(finite(accuracy)), loss: finite(1.0 - accuracy), ..Round::blank(1) };
        RunOverview {
            directory: "x".into(),
            began: None,
            state: RunStatus::Finished,
            failure: None,
            configuration: Configuration::default(),
            model: "mlp".into(),
            identity: Configuration::default(),
            seeds: [seed; 4],
            clients: 4,
            rounds: vec![round],
            initial: None,
            seconds: 1.0,
            weights_sha256: None,
        }
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
