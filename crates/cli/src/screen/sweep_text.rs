//! The lines about a sweep and about groups of runs, as pure functions of their records.

use std::collections::BTreeSet;

use fedpipe_data::counted;
use fedpipe_record::{
    measure::Measure,
    number_text::significant,
    run_overview::{RunOverview, RunStatus},
    sweep::{Axis, Sweep, SweepRun},
    target::TargetTime,
};
use fedpipe_report::{
    comparison::{best, main_measure, short},
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
        let measure = main_measure([run].into_iter());
        let score =
            run.last(measure).map_or_else(String::new, |value| format!("  {measure} {}", number(measure, value)));
        let end = run.last(Measure::VirtualSeconds);
        let end = end.map_or_else(String::new, |end| format!("  virtual {end:.2} s"));
        format!("{score}  {:.2} s{end}", run.seconds)
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
    let runs = groups.iter().flatten().copied();
    group_table(&heads, &rows, &table_measures(main_measure(runs.clone()), runs))
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

/// Returns the main measure, and the one beside it that a run has: the loss, or a score beside the loss and a time.
pub(crate) fn table_measures<'r>(main: Measure, runs: impl Iterator<Item = &'r RunOverview> + Clone) -> Vec<Measure> {
    let is_score = main != Measure::Loss && !main.is_time();
    let other = if is_score { Measure::Loss } else { main_measure(runs.clone()) };
    let has_other = other != main && runs.into_iter().any(|run| run.last(other).is_some());
    [main].into_iter().chain(has_other.then_some(other)).collect()
}

/// Returns the times that stand beside some measures: the seconds, the virtual ones of runs with a clock, and those up
/// to a target.
pub(crate) fn times<'r>(runs: impl Iterator<Item = &'r RunOverview> + Clone, measures: &[Measure]) -> Vec<Measure> {
    let has_target = runs.clone().any(|run| run.target.is_some());
    let has_clock = runs.into_iter().any(|run| run.last(Measure::VirtualSeconds).is_some());
    let is_there = |time: &Measure| match time {
        Measure::RoundsToTarget | Measure::SecondsToTarget => has_target,
        Measure::VirtualSeconds => has_clock,
        Measure::VirtualSecondsToTarget => has_target && has_clock,
        _ => true,
    };
    Measure::TIMES.into_iter().filter(is_there).filter(|time| !measures.contains(time)).collect()
}

/// Returns a table with a line for each group. The best mean of the first measure is marked. A group of which not every
/// run has the measure is not the best.
pub(crate) fn group_table(heads: &[String], rows: &[GroupRow<'_>], measures: &[Measure]) -> Vec<String> {
    let spread_of = |row: &GroupRow<'_>, measure: Measure| {
        let values: Vec<f64> = row.runs.iter().filter_map(|run| run.last(measure)).collect();
        spread(&values)
    };
    let main = measures[0];
    let tasks: Vec<_> = rows.iter().map(|row| row.runs.first().map(|run| run.task())).collect();
    // Groups with another dataset or target are not compared.
    let is_best = |place: usize| {
        let of_all = |other: usize| spread_of(&rows[other], main).filter(|of| of.count == rows[other].runs.len());
        let of_task = |other: usize| of_all(other).filter(|_| tasks[other] == tasks[place]);
        let has_rivals = tasks.iter().filter(|task| **task == tasks[place]).count() > 1;
        has_rivals && best(main, (0..rows.len()).map(|other| of_task(other).map(|spread| spread.mean))) == Some(place)
    };
    let runs = rows.iter().flat_map(|row| &row.runs).copied();
    let times = times(runs.clone(), measures);
    let numbers = measures.iter().map(|measure| Column::left(head(*measure)));
    let numbers =
        [Column::right("n")].into_iter().chain(numbers).chain(times.iter().map(|time| Column::right(head(*time))));
    let columns: Vec<Column> =
        [Column::left("")].into_iter().chain(heads.iter().map(Column::left)).chain(numbers).collect();
    let cells = |(place, row): (usize, &GroupRow<'_>)| {
        let mark = if is_best(place) { "*" } else { "" }.to_owned();
        let count = row.runs.len();
        let n = if count == row.planned { count.to_string() } else { format!("{count} of {}", row.planned) };
        let scores = measures.iter().chain(&times).map(|measure| match spread_of(row, *measure) {
            Some(of) if *measure == Measure::Seconds => number(*measure, of.mean),
            Some(of) => spread_text(*measure, &of, count),
            None => String::new(),
        });
        [mark].into_iter().chain(row.values.clone()).chain([n]).chain(scores).collect()
    };
    let rows_text: Vec<Vec<String>> = rows.iter().enumerate().map(cells).collect();
    let mut table = lines(&columns, &rows_text);
    let have_one_task = tasks.iter().flatten().all(|task| Some(task) == tasks.iter().flatten().next());
    let of = if have_one_task { "" } else { " of its dataset and target" };
    let is_marked = (0..rows.len()).any(is_best) || have_one_task && rows.len() > 1;
    let mark = if is_marked { format!("* the best mean {main}{of}; ") } else { String::new() };
    table.push(format!("{mark}mean ± sample standard deviation over n runs"));
    table.extend(target_note(&runs.collect::<Vec<_>>()));
    table
}

/// Returns the note about the target of some runs; `None` if none has one.
fn target_note(runs: &[&RunOverview]) -> Option<String> {
    let times = || runs.iter().filter_map(|run| run.target.as_ref());
    let name = |TargetTime { target, on, .. }: &TargetTime| format!("{} on {on}", target.score());
    let targets: BTreeSet<String> = times().map(name).collect();
    let targets: Vec<String> = targets.into_iter().collect();
    let note = match targets.as_slice() {
        [] => return None,
        [one] => format!("the target is {one}"),
        many => format!("the targets are {}", many.join(", ")),
    };
    let (all, reached) = (times().count(), times().filter(|time| time.round.is_some()).count());
    let missed = format!("; {reached} of {} reached it, and a time to it is the mean over those", counted(all, "run"));
    Some(if reached < all { note + &missed } else { note })
}

pub(crate) fn head(measure: Measure) -> &'static str {
    match measure {
        Measure::Accuracy => "accuracy, %",
        Measure::Loss => "loss",
        Measure::Rmse => "RMSE",
        Measure::R2 => "R²",
        Measure::HeldOut => "held out, %",
        Measure::Personal => "personal, %",
        Measure::PersonalRmse => "personal RMSE",
        Measure::Seconds => "seconds",
        Measure::VirtualSeconds => "virtual s",
        Measure::RoundsToTarget => "rounds to target",
        Measure::SecondsToTarget => "s to target",
        Measure::VirtualSecondsToTarget => "virtual s to target",
    }
}

pub(crate) fn number(measure: Measure, value: f64) -> String {
    match measure {
        Measure::RoundsToTarget => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        _ if measure.is_percent() || measure.is_time() => format!("{value:.2}"),
        _ => significant(value),
    }
}

/// Returns the mean and the deviation over the runs that have the measure, of `all` runs.
fn spread_text(measure: Measure, spread: &Spread, all: usize) -> String {
    let sd = spread.sd.map_or_else(String::new, |sd| format!(" ± {}", number(measure, sd)));
    let some = if spread.count < all { format!(" ({} of {all})", spread.count) } else { String::new() };
    number(measure, spread.mean) + &sd + &some
}

#[cfg(test)]
mod tests {
    use fedpipe_record::{finite::Finite, round_line::Round};

    use super::*;

    fn axis(key: &str, values: &[&str]) -> Axis {
        Axis { key: key.to_owned(), values: values.iter().map(|value| (*value).to_owned()).collect() }
    }

    fn run(accuracy: f64, state: RunStatus) -> RunOverview {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let round = Round { accuracy: Some(finite(accuracy)), loss: Some(finite(0.5)), ..Round::blank(1) };
        RunOverview { state, seconds: 1.25, ..RunOverview::blank(vec![round]) }
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
    fn times_stand_beside_the_scores_and_a_group_that_missed_the_target_is_not_the_best() {
        let timed = |accuracy: f64, end: f64| {
            let mut run = run(accuracy, RunStatus::Finished);
            run.rounds[0].virtual_seconds = Some(Finite::try_from(end).unwrap());
            run.with_target("accuracy=0.8,stop=false".parse().unwrap())
        };
        let groups = [[timed(0.8, 30.0), timed(0.9, 40.0)], [timed(0.7, 10.0), timed(0.95, 20.0)]];
        let rows = groups.each_ref().map(|runs| GroupRow {
            values: vec![runs.len().to_string()],
            planned: 2,
            runs: runs.iter().collect(),
        });
        let runs = || groups.iter().flatten();
        let measures = table_measures(Measure::VirtualSecondsToTarget, runs());
        assert_eq!(measures, [Measure::VirtualSecondsToTarget, Measure::Accuracy]);
        let expected = [
            "   g  n  virtual s to target  accuracy, %    rounds to target  seconds        s to target      virtual s",
            "*  2  2  35.00 ± 7.07         85.00 ± 7.07            1 ± 0     1.25        0.00 ± 0.00   35.00 ± 7.07",
            "   2  2  20.00 (1 of 2)       82.50 ± 17.68      1 (1 of 2)     1.25      0.00 (1 of 2)   15.00 ± 7.07",
            "* the best mean virtual-seconds-to-target; mean ± sample standard deviation over n runs",
            "the target is accuracy=0.8 on the test set; 3 of 4 runs reached it, and a time to it is the mean over those",
        ];
        let squeezed = |lines: &[String]| -> Vec<String> {
            lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
        };
        let expected = expected.map(str::to_owned);
        assert_eq!(squeezed(&group_table(&["g".to_owned()], &rows, &measures)), squeezed(&expected));
    }

    #[test]
    fn a_range_is_shown_with_its_end() {
        assert_eq!(axis_line(&axis("seed", &["0", "1", "2"])), "seed = 0, 1, 2  (3 values)");
        let many: Vec<String> = (0..100).map(|seed| seed.to_string()).collect();
        let line = axis_line(&Axis { key: "seed".into(), values: many });
        assert_eq!(line, "seed = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, … 99  (100 values)");
    }
}
