//! The lines about a sweep and about groups of runs, as pure functions of their records.

use fedpipe_data::counted;
use fedpipe_record::{
    number_text::significant,
    run_overview::{Measure, RunOverview, RunStatus},
    sweep::{Axis, Sweep, SweepRun},
};
use fedpipe_report::{
    comparison::{best, short},
    statistics::{Spread, spread},
};

use crate::screen::text_table::{Column, lines};

/// Returns the line about the values of a key.
pub(crate) fn axis_line(axis: &Axis) -> String {
    const MOST: usize = 12;
    let shown: Vec<&str> = axis.values.iter().take(MOST).map(String::as_str).collect();
    let rest =
        axis.values.last().filter(|_| axis.values.len() > MOST).map_or_else(String::new, |last| format!(", … {last}"));
    format!("{} = {}{rest}  ({})", axis.key, shown.join(", "), counted(axis.values.len(), "value"))
}

/// Returns the line about a run that ended.
pub(crate) fn run_line(run: &SweepRun, sweep: &Sweep, overview: Option<&RunOverview>) -> String {
    let axes = sweep.axes.iter().filter(|axis| axis.values.len() > 1);
    let values = axes.filter_map(|axis| Some(format!("{}={}", short(&axis.key), run.values.get(&axis.key)?)));
    let values: Vec<String> = values.collect();
    let result = overview.map_or_else(String::new, |run| {
        let score =
            [Measure::Accuracy, Measure::Rmse].into_iter().find_map(|measure| Some((measure, run.last(measure)?)));
        let score =
            score.map_or_else(String::new, |(measure, value)| format!("  {measure} {}", number(measure, value)));
        format!("{score}  {:.2} s", run.seconds)
    });
    format!("{}  {}{result}", run.name, values.join(" "))
}

/// Returns the table of a sweep: a line for each configuration, over its finished runs. The best is marked.
pub(crate) fn sweep_table(sweep: &Sweep, overviews: &[Option<RunOverview>]) -> Vec<String> {
    let finished = |run: &SweepRun| {
        let place = sweep.runs.iter().position(|other| other.name == run.name)?;
        overviews[place].as_ref().filter(|run| run.state == RunStatus::Finished)
    };
    let configurations = sweep.configurations();
    let groups: Vec<Vec<&RunOverview>> =
        configurations.iter().map(|runs| runs.iter().filter_map(|run| finished(run)).collect()).collect();
    let values = |runs: &[&SweepRun]| -> Vec<String> {
        let first = runs.first();
        sweep
            .varied()
            .map(|axis| first.and_then(|run| run.values.get(&axis.key)).cloned().unwrap_or_default())
            .collect()
    };
    let rows: Vec<GroupRow<'_>> = configurations
        .iter()
        .zip(&groups)
        .map(|(planned, runs)| GroupRow { values: values(planned), planned: planned.len(), runs: runs.clone() })
        .collect();
    let heads: Vec<String> = sweep.varied().map(|axis| short(&axis.key)).collect();
    group_table(&heads, &rows, measures(&groups))
}

/// A line of a table of groups.
#[derive(Debug)]
pub(crate) struct GroupRow<'r> {
    /// The values of the keys that tell the groups apart.
    pub(crate) values: Vec<String>,
    /// The runs that the group is to have.
    pub(crate) planned: usize,
    /// The runs that are finished.
    pub(crate) runs: Vec<&'r RunOverview>,
}

/// Returns the measures that every run has, the main one first.
fn measures(groups: &[Vec<&RunOverview>]) -> [Measure; 2] {
    let has = |measure: Measure| groups.iter().flatten().all(|run| run.last(measure).is_some());
    [if has(Measure::Accuracy) { Measure::Accuracy } else { Measure::Rmse }, Measure::Loss]
}

/// Returns a table with a line for each group. The best mean of the first measure is marked.
pub(crate) fn group_table(heads: &[String], rows: &[GroupRow<'_>], measures: [Measure; 2]) -> Vec<String> {
    let spread_of = |row: &GroupRow<'_>, measure: Measure| {
        let values: Vec<f64> = row.runs.iter().filter_map(|run| run.last(measure)).collect();
        spread(&values)
    };
    let main = measures[0];
    let tasks: Vec<_> = rows.iter().map(|row| row.runs.first().map(|run| run.task())).collect();
    // Groups with another dataset or target are not compared.
    let is_best = |place: usize| {
        let of_task = |other: usize| spread_of(&rows[other], main).filter(|_| tasks[other] == tasks[place]);
        let has_rivals = tasks.iter().filter(|task| **task == tasks[place]).count() > 1;
        has_rivals && best(main, (0..rows.len()).map(|other| of_task(other).map(|spread| spread.mean))) == Some(place)
    };
    let numbers = [
        Column::right("n"),
        Column::left(head(measures[0])),
        Column::left(head(measures[1])),
        Column::right("seconds"),
    ];
    let columns: Vec<Column> =
        [Column::left("")].into_iter().chain(heads.iter().map(Column::left)).chain(numbers).collect();
    let cells = |(place, row): (usize, &GroupRow<'_>)| {
        let mark = if is_best(place) { "*" } else { "" }.to_owned();
        let count = row.runs.len();
        let n = if count == row.planned { count.to_string() } else { format!("{count} of {}", row.planned) };
        let seconds: Vec<f64> = row.runs.iter().map(|run| run.seconds).collect();
        let seconds = spread(&seconds).map_or_else(String::new, |spread| format!("{:.2}", spread.mean));
        let scores =
            measures.map(|measure| spread_of(row, measure).map_or_else(String::new, |of| spread_text(measure, &of)));
        [mark].into_iter().chain(row.values.clone()).chain([n]).chain(scores).chain([seconds]).collect()
    };
    let rows_text: Vec<Vec<String>> = rows.iter().enumerate().map(cells).collect();
    let mut table = lines(&columns, &rows_text);
    let have_one_task = tasks.iter().flatten().all(|task| Some(task) == tasks.iter().flatten().next());
    let of = if have_one_task { "" } else { " of its dataset and target" };
    let is_marked = (0..rows.len()).any(is_best) || have_one_task && rows.len() > 1;
    let mark = if is_marked { format!("* the best mean {main}{of}; ") } else { String::new() };
    table.push(format!("{mark}mean ± sample standard deviation over n runs"));
    table
}

fn head(measure: Measure) -> &'static str {
    match measure {
        Measure::Accuracy => "accuracy, %",
        Measure::Loss => "loss",
        Measure::Rmse => "RMSE",
        Measure::R2 => "R²",
        Measure::HeldOut => "held out, %",
        Measure::Personal => "personal, %",
    }
}

fn number(measure: Measure, value: f64) -> String {
    if measure.is_percent() { format!("{value:.2}") } else { significant(value) }
}

fn spread_text(measure: Measure, spread: &Spread) -> String {
    let sd = spread.sd.map_or_else(String::new, |sd| format!(" ± {}", number(measure, sd)));
    number(measure, spread.mean) + &sd
}

#[cfg(test)]
mod tests {
    use fedpipe_record::{configuration::Configuration, finite::Finite, round_line::Round};

    use super::*;

    fn axis(key: &str, values: &[&str]) -> Axis {
        Axis { key: key.to_owned(), values: values.iter().map(|value| (*value).to_owned()).collect() }
    }

    fn run(accuracy: f64, state: RunStatus) -> RunOverview {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let round = Round { accuracy: Some(finite(accuracy)), loss: finite(0.5), ..Round::blank(1) };
        RunOverview {
            directory: "x".into(),
            began: None,
            state,
            failure: None,
            configuration: Configuration::default(),
            model: "mlp".into(),
            identity: Configuration::default(),
            seeds: [0; 4],
            clients: 4,
            rounds: vec![round],
            initial: None,
            seconds: 1.25,
            weights_sha256: None,
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_configuration_and_marks_the_best() {
        let sweep =
            Sweep::new(vec![axis("local.lr", &["0.1", "0.5"]), axis("rounds", &["3"]), axis("seed", &["0", "1"])]);
        let overviews = [
            Some(run(0.8, RunStatus::Finished)),
            Some(run(0.82, RunStatus::Finished)),
            Some(run(0.9, RunStatus::Finished)),
            Some(run(0.1, RunStatus::Interrupted)),
        ];
        let expected = [
            "   lr        n  accuracy, %   loss             seconds",
            "   0.1       2  81.00 ± 1.41  0.5000 ± 0.0000     1.25",
            "*  0.5  1 of 2  90.00         0.5000              1.25",
            "* the best mean accuracy; mean ± sample standard deviation over n runs",
        ];
        assert_eq!(sweep_table(&sweep, &overviews), expected);
        assert_eq!(
            run_line(&sweep.runs[3], &sweep, overviews[1].as_ref()),
            "003  lr=0.5 seed=1  accuracy 82.00  1.25 s"
        );
    }

    #[test]
    fn one_configuration_is_not_the_best_and_none_finished_is_a_table_too() {
        let sweep = Sweep::new(vec![axis("seed", &["0", "1"])]);
        let table = sweep_table(&sweep, &[None, None]);
        assert_eq!(table[1], "  0 of 2");
        assert_eq!(table[2], "mean ± sample standard deviation over n runs");
    }

    #[test]
    fn a_range_is_shown_with_its_end() {
        assert_eq!(axis_line(&axis("seed", &["0", "1", "2"])), "seed = 0, 1, 2  (3 values)");
        let many: Vec<String> = (0..100).map(|seed| seed.to_string()).collect();
        let line = axis_line(&Axis { key: "seed".into(), values: many });
        assert_eq!(line, "seed = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, … 99  (100 values)");
    }
}
