//! `fedpipe compare`: the differences of runs in configuration and in result, tests of paired seeds, and a picture.

use std::{path::Path, process::ExitCode};

use fedpipe_data::counted;
use fedpipe_host::{Error, Result};
use fedpipe_record::{
    file::write_whole,
    measure::{CurveAxis, Measure},
    run_overview::{RunOverview, RunStatus},
};
use fedpipe_report::{compare_picture::compare, comparison::Comparison};

use crate::{
    args::runs_args::CompareArgs,
    commands::list_runs::read_runs,
    screen::{
        compare_text::{group_lines, test_lines},
        output::{print_error, print_result},
    },
};

/// Compares the runs that `args` name.
pub(crate) fn compare_runs(args: &CompareArgs) -> Result<ExitCode> {
    let runs = finished_runs(args)?;
    let comparison = Comparison::of(runs);
    if comparison.repeated > 0 {
        let repeated = counted(comparison.repeated, "run");
        print_error(format_args!("warning: {repeated} left out, which repeat another run with its seeds"));
    }
    if !comparison.has_one_task() {
        print_error(
            "warning: the runs differ in dataset or target, so that their results have no order; give runs of one \
             dataset, or --where data=NAME",
        );
    }
    let measure = args.measure.unwrap_or_else(|| comparison.main_measure());
    if comparison.groups.iter().all(|group| group.spread(measure).is_none()) {
        return Err(Error::Usage(format!("no run has the measure {measure}; give another --measure")));
    }
    let axis = args.by.unwrap_or_else(|| comparison.main_axis());
    check_axis(&comparison, axis)?;
    let lines = [group_lines(&comparison, measure), test_lines(&comparison, measure)].concat();
    print_result(lines.join("\n"))?;
    draw(&args.picture, &comparison, (measure, axis))?;
    let by = if axis == CurveAxis::Round { String::new() } else { format!(", by {},", axis.name()) };
    print_result(format_args!("the picture{by} is in {}", args.picture.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses virtual time if no run has a clock, and warns of the runs without one.
fn check_axis(comparison: &Comparison, axis: CurveAxis) -> Result<()> {
    let lacks_clock = |run: &&RunOverview| run.last(Measure::VirtualSeconds).is_none();
    let (all, without) = (comparison.runs().count(), comparison.runs().filter(lacks_clock).count());
    match without {
        _ if axis != CurveAxis::VirtualSeconds => Ok(()),
        without if without == all => {
            Err(Error::Usage(format!("--by {axis} needs runs with --clock, and no run has one; give another --by")))
        }
        0 => Ok(()),
        without => {
            let left_out = counted(without, "run");
            print_error(format_args!("warning: {left_out} without --clock left out of the picture by {}", axis.name()));
            Ok(())
        }
    }
}

/// Returns the finished runs. The last result of another run is that of a part of its rounds.
fn finished_runs(args: &CompareArgs) -> Result<Vec<RunOverview>> {
    let mut runs = Vec::new();
    for directory in &args.directories {
        runs.extend(read_runs(directory, directory, &args.conditions)?);
    }
    if let Some(target) = args.until {
        runs = runs.into_iter().map(|run| run.with_target(target)).collect();
    }
    let all = runs.len();
    runs.retain(|run| run.state == RunStatus::Finished);
    if all > runs.len() {
        let left_out = counted(all - runs.len(), "run");
        print_error(format_args!("warning: {left_out} left out, which did not finish; `fedpipe runs` lists them"));
    }
    if runs.is_empty() {
        return Err(Error::Usage(
            "no finished run is found; give run directories, or sweeps with finished runs".into(),
        ));
    }
    Ok(runs)
}

/// Draws the curves of a measure and of the loss. A time has no curve: those of the main score are in its place.
fn draw(path: &Path, comparison: &Comparison, (measure, axis): (Measure, CurveAxis)) -> Result<()> {
    let score = if measure.is_time() { comparison.main_measure() } else { measure };
    let measures = if score == Measure::Loss { vec![score] } else { vec![score, Measure::Loss] };
    let groups = counted(comparison.groups.len(), "configuration");
    let runs = counted(comparison.runs().count(), "run");
    let title = format!("{groups}, {runs}: mean, and a band of one standard deviation");
    let picture = compare(comparison, (&measures, axis), &title).map_err(Error::System)?;
    write_whole(path, &picture)
        .map_err(|error| Error::Output(format!("cannot write {}: {error}; give another --picture", path.display())))
}
